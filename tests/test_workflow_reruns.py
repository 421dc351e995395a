"""What a change reruns: dry runs in a finished project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from helpers_workflow import dry_run, edited, settings, snakemake

pytestmark = pytest.mark.slow

FIGURES = {f"fig_stragglers_1{panel}" for panel in "abcdef"}
SUMMARY = {"measure_claims", "scorecard", "all"}
DATA = "results/smoke/data/generated/manifest.json"


def would_run(project: Path, *config: str) -> set[str]:
    said = dry_run(project, config=config)
    assert said.status == 0, said.text[-2000:]
    return said.jobs


def of_run(name: str) -> set[str]:
    return {f"{rule}/{name}" for rule in ("train_run", "find_inversion", "measure_geometry")}


def touch(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_file():
            os.utime(path)


@pytest.mark.parametrize(
    "change",
    [
        "stragglers={figures: {1b: {title: Another title}}}",
        "stragglers={figures: {1b: {options: {}, section: Elsewhere}}}",
    ],
)
def test_a_figures_entry_redraws_that_figure_only(shared_project: Path, change: str) -> None:
    assert would_run(shared_project, change) == {"fig_stragglers_1b", "all"}


def test_a_key_of_one_run_retrains_that_run_and_what_shows_it(shared_project: Path) -> None:
    jobs = would_run(shared_project, settings(adam_0001={"learning_rate": 0.002}))
    assert jobs == of_run("adam_0001") | {"fig_stragglers_1d"} | SUMMARY


def test_a_key_of_a_group_retrains_its_runs(shared_project: Path) -> None:
    jobs = would_run(shared_project, settings(blocks={"seeds": 4}))
    expected = of_run("blocks_0") | of_run("blocks_1") | {"fig_stragglers_1c"} | SUMMARY
    assert jobs == expected


def test_a_claims_threshold_measures_claims_again_only(shared_project: Path) -> None:
    change = "stragglers={claims: {block_invariance: {threshold: 0.03}}}"
    assert would_run(shared_project, change) == SUMMARY


@pytest.mark.parametrize(
    "changes",
    [
        ["compute={state_seconds: 1, memory_mb: 2500}"],
        ["stragglers={figures: {1a: {minutes: 99}}}"],
        ["datasets={mnist: {samples: {train: 60000, test: 9999}}}"],
        [
            "optimizers={other: {builder: 'pipeline.training.optimizers:gd', parameters: [], "
            "batches: full}}"
        ],
        [settings(adam_0001={"learning_rate": "1e-3"})],  # another spelling of the same number
    ],
)
def test_what_no_result_depends_on_reruns_nothing(shared_project: Path, changes: list[str]) -> None:
    assert would_run(shared_project, *changes) == set()


def test_another_root_seed_or_thread_count_retrains_every_run(shared_project: Path) -> None:
    for change in ("seed=7", "compute={threads: 2}"):
        jobs = would_run(shared_project, change)
        assert sum(job.startswith("train_run/") for job in jobs) == 10
        assert "prepare_data" not in jobs


def test_comments_docstrings_layout_and_touching_rerun_nothing(shared_project: Path) -> None:
    training = shared_project / "src/pipeline/training"
    script = shared_project / "workflow/scripts/train_run.py"
    with (
        edited(training / "group.py", '"""Training one group', '# a comment\n\n"""One group'),
        edited(training / "optimizers.py", "def gd(", "\n\n\n# plain\ndef gd("),
        edited(script, '"""Rule script: trains', '"""Another docstring: trains'),
    ):
        # as a switch to another branch and back leaves it: all files are newer than all results
        touch((shared_project / "src").rglob("*.py"))
        touch((shared_project / "workflow").rglob("*"))
        touch((shared_project / "config").rglob("*"))
        touch([shared_project / "Snakefile"])
        assert would_run(shared_project) == set()


def test_code_of_training_retrains(shared_project: Path) -> None:
    path = shared_project / "src/pipeline/training/optimizers.py"
    with edited(path, "", "\nANYTHING = 1\n"):
        jobs = would_run(shared_project)
    assert sum(job.startswith("train_run/") for job in jobs) == 10
    assert "prepare_data" not in jobs


def test_code_of_figures_redraws_figures_only(shared_project: Path) -> None:
    path = shared_project / "src/pipeline/figures/style.py"
    with edited(path, "", "\nANYTHING = 1\n"):
        assert would_run(shared_project) == FIGURES | {"all"}


def test_a_rules_script_reruns_that_rule(shared_project: Path) -> None:
    path = shared_project / "workflow/scripts/make_scorecard.py"
    with edited(path, "    write_csv(", "    rows = list(rows)\n    write_csv("):
        assert would_run(shared_project) == {"scorecard", "all"}


def test_without_snakemakes_records_the_manifests_say_what_is_stale(project: Path) -> None:
    shutil.rmtree(project / ".snakemake")
    assert would_run(project) == set()
    jobs = would_run(project, settings(adam_0001={"learning_rate": 0.002}))
    assert {job for job in jobs if job.startswith("train_run/")} == {"train_run/adam_0001"}
    assert {"find_inversion/adam_0001", "fig_stragglers_1d", "measure_claims"} <= jobs
    with edited(project / "src/pipeline/training/optimizers.py", "", "\nANYTHING = 1\n"):
        assert sum(job.startswith("train_run/") for job in would_run(project)) == 10
    with edited(project / "src/pipeline/training/optimizers.py", "", "\n# a comment\n"):
        assert would_run(project) == set()


def test_data_made_again_identically_retrain_nothing(project: Path) -> None:
    manifest = project / DATA
    before = manifest.read_bytes(), manifest.stat().st_mtime_ns
    said = snakemake(project, DATA, options=("--force",))
    assert said.status == 0, said.text
    assert said.counts == {"prepare_data": 1}
    assert manifest.read_bytes() == before[0]
    assert manifest.stat().st_mtime_ns > before[1]
    assert would_run(project) == set()
    touch((project / "results/smoke/data").rglob("*"))
    assert would_run(project) == set()
    manifest.write_bytes(before[0].replace(b"generated", b"GENERATED", 1))
    assert sum(job.startswith("train_run/") for job in would_run(project)) == 10


def test_a_missing_store_is_made_again(project: Path) -> None:
    shutil.rmtree(project / "results/smoke/runs/stragglers/adam_0005/store")
    assert "train_run/adam_0005" in would_run(project, "stragglers={figures: {1d: {title: T}}}")
    assert would_run(project) == set()  # nothing asked for needs it
