"""Wrong input stops even a dry run with one sentence; a failing job stops only what needs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_workflow import TRACEBACK, copy_project, dry_run, edited, settings, snakemake

PROFILE_LINE = "Using workflow specific profile"
RUNS = "main, blocks_0, blocks_1, adam_0001"
# what is asked for: configuration, target, what the sentence must name; every sentence on a key of the
# configuration is in test_config_errors.py
REFUSED = {
    "unknown key": (["compute={colour: red}"], "", ["command line", "compute.colour", "threads"]),
    "unknown scale": (["scale=huge"], "", ["command line", "huge", "smoke, laptop, paper"]),
    "unknown figure": ([], "fig_stragglers_9z", ["'9z'", "1a, 1b, 1c, 1d, 1e, 1f"]),
    "unknown figure's path": (
        [],
        "results/smoke/figures/stragglers/fig9z.png",
        ["'9z'", "1a, 1b, 1c, 1d, 1e, 1f"],
    ),
    "unknown run": ([], "results/smoke/runs/stragglers/nope/manifest.json", ["'nope'", RUNS]),
    "unknown data set": ([], "results/smoke/data/nope/manifest.json", ["'nope'", "mnist, "]),
    "unknown group": (
        [],
        "results/smoke/inversion/stragglers/blocks_0/manifest.json",
        ["'blocks_0' is no entry of runs", "main, blocks, adam_0001"],
    ),
    "geometry of a trainer without": (
        [],
        "results/smoke/geometry/memorization/vgg16/manifest.json",
        ["runs of memorization", "trainers with inversion: true", "its trainer, classifier"],
    ),
    "inversion of a trainer without": (
        [],
        "results/smoke/inversion/memorization/vgg16/manifest.json",
        ["runs of memorization", "trainers with inversion: true", "its trainer, classifier"],
    ),
    "unknown analysis": (
        [],
        "results/smoke/analyses/stragglers/nope/manifest.json",
        ["'nope' is no analysis", "stability, stability_datasets"],
    ),
    "analysis that does not exist": (
        ["stragglers={figures: {2d: {analyses: [stabilty]}}}"],
        "",
        ["command line", "stragglers.figures.2d.analyses", "stabilty", "stability"],
    ),
    "unknown export": ([], "results/smoke/export/stragglers/fig9z.nc", ["'9z'", "1a, 1b"]),
    "more memory than allowed": (
        ["compute={memory_mb: 500}"],
        "",
        ["MB of memory", "compute.memory_mb = 500"],
    ),
    "unknown function": (
        ["stragglers={figures: {1a: {function: 'pipeline.figures.nothing:fig'}}}"],
        "",
        ["pipeline.figures.nothing"],
    ),
}


def sentence(text: str) -> str:
    """The last line of what Snakemake said."""
    return [line for line in text.splitlines() if line.strip()][-1]


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_a_dry_run_refuses_with_one_sentence(source_project: Path, case: str) -> None:
    config, target, named = REFUSED[case]
    said = dry_run(source_project, *filter(None, [target]), config=config)
    assert said.status == 1, said.text
    assert not [word for word in (*TRACEBACK, "Error in", "Exception") if word in said.text]
    for word in named:
        assert word in sentence(said.text), said.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("config/config.yaml", "scale: laptop", "scale: [laptop", ["config/config.yaml, line"]),
        (
            "config/stragglers.yaml",
            "    depth: 2 #",
            "    deepth: 2 #",
            ["config/stragglers.yaml", "stragglers.defaults.deepth", "depth"],
        ),
        (
            "config/stragglers/figures.yaml",
            "      title: Training disentangles",
            "      titel: Training disentangles",
            ["config/stragglers/figures.yaml", "stragglers.figures.1a.titel", "title"],
        ),
        (
            "config/stragglers/analyses.yaml",
            "    stability: #",
            "    noise: #",
            ["config/stragglers/analyses.yaml", "line", "noise"],
        ),
        (
            "src/pipeline/training/group.py",
            "\nlog = ",
            "\nlog = = ",
            ["src/pipeline/training/group.py, line", "syntax error"],
        ),
    ],
)
def test_a_broken_file_is_named(
    source_project: Path, file: str, old: str, new: str, named: list[str]
) -> None:
    with edited(source_project / file, old, new):
        said = dry_run(source_project)
    assert said.status == 1
    assert not [word for word in TRACEBACK if word in said.text], said.text
    assert any(all(word in line for word in named) for line in said.text.splitlines()), said.text


@pytest.mark.slow
def test_missing_data_fail_in_one_sentence_and_others_go_on(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    empty = project / "nothing"
    empty.mkdir()
    config = (
        f"data={{root: {empty}, sources: [folder]}}",
        settings(adam_0001={"dataset": "fashion_mnist", "samples": 512}),
    )
    said = snakemake(
        project,
        "results/smoke/runs/stragglers/adam_0001/manifest.json",
        "results/smoke/data/generated/manifest.json",
        config=config,
    )
    assert said.status == 1
    told = [line for line in said.text.splitlines() if line.startswith("prepare_data: ")]
    assert len(told) == 1
    log = (project / "results/smoke/logs/prepare_data/fashion_mnist.log").read_text()
    for text in (told[0], log):
        assert "fashion_mnist was not found in any source" in text
        assert str(empty) in text
        assert not [word for word in TRACEBACK if word in text]
    assert len(log.splitlines()) == 1
    assert (project / "results/smoke/data/generated/manifest.json").is_file()
    assert not (project / "results/smoke/data/fashion_mnist/manifest.json").exists()


@pytest.mark.slow
def test_a_full_disk_is_refused_before_anything_runs(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    many = "{seeds: 1000000, stored_seeds: 1000000, width: 1.0}"  # hundreds of TB
    huge = (f"memorization={{runs: {{vgg16: {many}}}}}",)
    said = snakemake(project, "results/smoke/runs/memorization/vgg16/manifest.json", config=huge)
    assert said.status == 1
    assert "GB free" in sentence(said.text)
    assert "What is to run at scale smoke needs about" in sentence(said.text)
    assert "Finished" not in said.text
    assert not [word for word in TRACEBACK if word in said.text]
    # the refusal left no lock behind, and does not hold for what needs no such run
    said = snakemake(project, "results/smoke/data/generated/manifest.json", config=huge)
    assert said.status == 0, said.text
    assert "scale smoke: 1 job, about 0.00 CPU hours" in said.text
