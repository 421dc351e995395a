"""The drills of docs/reliability.md, few of each; `make drills` runs the full counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drills.configs import config_drill, names_place
from drills.data import flipped_data_drill, interrupted_download_drill, pickle_drill
from drills.kills import RESULTS, SHORT_TARGETS, kill_drill
from drills.outcome import Impossible, Outcome, digests, table
from drills.processes import left_lock_drill, memory_drill, two_runs_drill
from drills.storage import (
    flipped_bits_drill,
    flipped_state_drill,
    full_disk_drill,
    unwritable_drill,
)

SEED = 2303


def check(*outcomes: Outcome) -> None:
    assert outcomes
    for one in outcomes:
        assert one.passed, one


@pytest.mark.slow
def test_kills(smoke: Any, tmp_path: Path) -> None:
    reference = digests(smoke.project / RESULTS)
    check(kill_drill(tmp_path, 3, SEED, reference, SHORT_TARGETS, exact=False))
    made = digests(tmp_path / "killed" / RESULTS)
    assert len(made) > 8
    assert made.keys() <= reference.keys()


@pytest.mark.slow
def test_two_runs(tmp_path: Path) -> None:
    check(two_runs_drill(tmp_path))


@pytest.mark.slow
def test_a_left_lock(tmp_path: Path) -> None:
    check(left_lock_drill(tmp_path, short=True))


# A disk that is too small from the start has its test in test_workflow_errors.py.
@pytest.mark.slow
@pytest.mark.parametrize("drill", [full_disk_drill, unwritable_drill])
def test_a_full_disk_and_an_unwritable_folder(
    drill: Callable[[Path], Outcome], tmp_path: Path
) -> None:
    try:
        check(drill(tmp_path))
    except Impossible as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
def test_flipped_bits_in_stores(smoke: Any, tmp_path: Path) -> None:
    found = flipped_bits_drill(tmp_path, smoke.project / RESULTS, 60, SEED)
    check(*found)
    assert len(found) == 3


def test_flipped_bits_in_states_and_data(tmp_path: Path) -> None:
    check(flipped_state_drill(tmp_path, 100, SEED), flipped_data_drill(tmp_path, 60, SEED))


def test_interrupted_downloads_and_pickles(tmp_path: Path) -> None:
    check(interrupted_download_drill(tmp_path, 10, SEED), pickle_drill(tmp_path))


@pytest.mark.slow
def test_memory_is_refused_before_a_job_starts(tmp_path: Path) -> None:
    check(memory_drill(tmp_path))


@pytest.mark.slow
def test_changed_configurations() -> None:
    check(config_drill(500, SEED))


@pytest.mark.parametrize(
    ("key", "sentence", "named"),
    [
        ("a.runs.b.epochs", "x: a.runs.b.epochs = 0 is not valid; ...", True),
        ("a.runs.b.epochs", "x: a.runs.b.seeds = 0 is not valid; ...", False),
        ("a.runs.b.epochs", "x: a.runs = 3 is not valid; valid is epochs.", False),
        ("a.runs.b", "x: a.runs.b.epochs = 0 is not valid; ...", False),
        ("papers", "x: papers[0] = 3 is not valid; ...", True),
        ("papers", "x: a.trainer = 3 is in no papers; ...", False),
        ("networks.vit.options.depth", "networks.vit.options = {'depth': 0} do not fit", True),
        ("networks.vit.options.depth", "networks.vit.options = {'width': 0} do not fit", False),
        ("datasets.mnist.samples.train", "more than the 5 train samples of mnist (run a)", True),
        ("datasets.mnist.samples.train", "more than the 5 train samples of kmnist (run a)", False),
    ],
)
def test_what_names_a_key(key: str, sentence: str, named: bool) -> None:
    assert names_place(sentence, tuple(key.split("."))) is named


@pytest.mark.slow
def test_cores_change_no_bit(smoke: Any, tmp_path: Path) -> None:
    from helpers_workflow import copy_project, snakemake

    project = copy_project(tmp_path / "project")
    target = str(RESULTS / "analyses/memorization/gradients_spheres/manifest.json")
    said = snakemake(project, target, options=("--cores", "1"))
    assert said.status == 0, said.text[-2000:]
    mine, theirs = digests(project / RESULTS), digests(smoke.project / RESULTS)
    assert mine
    assert {name: theirs[name] for name in mine} == mine


def test_a_drill_that_misses_something_fails() -> None:
    assert not Outcome("fault", 3, 2, 0, "").passed
    assert not Outcome("fault", 3, 3, 1, "").passed
    assert not Outcome("fault", 0, 0, 0, "").passed
    text = table([Outcome("fault", 3, 3, 0, "note"), ("disk", Impossible("no root"))])
    assert "| fault | 3 | 3 | 0 | note |" in text
    assert "| disk | 0 |  |  | not tried: no root |" in text
