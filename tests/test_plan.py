"""Estimates of jobs, time, memory and disk, and refusing to start on a full disk."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers_workflow import ROOT

from pipeline import plan_classifier
from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.estimate import START_SECONDS, Estimate
from pipeline.plan import (
    check_disk,
    check_memory,
    format_plan,
    job_count,
    job_estimate,
    memory_together,
    plan_row,
    plan_table,
    preparation_memory,
    run_summary,
    start_summary,
)
from pipeline.training.schedule import checkpoint_epochs


@pytest.fixture(scope="module")
def scales() -> dict[str, dict[str, Any]]:
    return {name: load_config(ROOT, {"scale": name}) for name in ("smoke", "laptop", "paper")}


@pytest.fixture
def config(scales: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return copy.deepcopy(scales["laptop"])


def changed(config: dict[str, Any], **run: Any) -> Estimate:
    other = copy.deepcopy(config)
    other["stragglers"]["runs"]["main"] |= run
    return job_estimate(other, "stragglers", "main")


def test_every_data_set_can_be_prepared_on_a_laptop(scales: dict[str, dict[str, Any]]) -> None:
    needed = {name: preparation_memory(one) for name, one in scales["paper"]["datasets"].items()}
    assert max(needed.values()) < 8000, needed  # ImageNet's files stay in place
    pictures = {**scales["paper"]["datasets"]["imagenet"], "in_place": False}
    assert preparation_memory(pictures) == pytest.approx(2.5 * 1331167 * 224**2 * 3 / 1e6, rel=0.01)


def test_disk_is_what_the_variables_hold(config: dict[str, Any]) -> None:
    run = config["stragglers"]["runs"]["main"]
    assert (run["seeds"], run["epochs"], run["samples"], run["width"]) == (100, 500, 8192, 20)
    series = 100 * 501 * (8192 / 8 + 6 * 8)  # misclassified bits; six float64 curves
    epochs = len(checkpoint_epochs(run["checkpoints"], 500))  # 24 but for those that coincide
    assert 20 <= epochs <= 24
    weights = 784 * 20 + 20 * 2
    stored = 2 * epochs * (8192 * 20 + 8192 + weights) * 4  # activations, predictions, weights
    stored += 100 * weights * 4  # of all seeds, at the end
    estimate = job_estimate(config, "stragglers", "main")
    # twice: the saved state holds the arrays again until the store is complete
    assert estimate.disk_mb == pytest.approx(2 * (series + stored) / 1e6)


def test_time_is_proportional_to_seeds_and_epochs(config: dict[str, Any]) -> None:
    base = changed(config).seconds - START_SECONDS
    assert changed(config, seeds=200).seconds - START_SECONDS == pytest.approx(2 * base)
    assert changed(config, epochs=1000).seconds - START_SECONDS == pytest.approx(2 * base)
    assert changed(config, precision="float64").seconds > changed(config).seconds
    assert changed(config, batch_size=32).seconds > changed(config).seconds
    config["compute"]["threads"] = 2
    assert changed(config).seconds - START_SECONDS == pytest.approx(base / 2)


def test_memory_grows_with_the_batch_not_with_the_seeds(config: dict[str, Any]) -> None:
    config["compute"]["ensemble_size"] = 10
    config["stragglers"]["runs"]["main"]["final_weights"] = False
    few, many = changed(config, seeds=10), changed(config, seeds=1000)
    assert many.memory_mb <= few.memory_mb + 1
    config["compute"]["ensemble_size"] = 1000
    assert changed(config, seeds=1000).memory_mb > few.memory_mb
    assert changed(config, seeds=1000).memory_mb < 16000


def test_final_weights_take_room_for_every_seed(config: dict[str, Any]) -> None:
    with_weights, without = (
        changed(config, seeds=1000),
        changed(config, seeds=1000, final_weights=False),
    )
    bytes_ = 1000 * (784 * 20 + 20 * 2) * 4
    assert with_weights.disk_mb - without.disk_mb == pytest.approx(2 * bytes_ / 1e6)
    assert with_weights.memory_mb - without.memory_mb == pytest.approx(2 * bytes_ / 1e6, abs=1)


def test_time_limit_has_a_margin_and_a_minimum(config: dict[str, Any]) -> None:
    assert Estimate(1.0, 100, 1.0).minutes == 10
    assert Estimate(3600.0, 100, 1.0).minutes == 180
    assert isinstance(job_estimate(config, "stragglers", "main").minutes, int)


def test_table_has_a_row_per_run_and_scales_are_ordered(scales: dict[str, dict[str, Any]]) -> None:
    for config in scales.values():
        rows = plan_table(config)
        wanted = [(paper, run) for paper in config["papers"] for run in config[paper]["runs"]]
        assert [(row["paper"], row["run"]) for row in rows] == wanted
        assert all(row["cpu_hours"] >= row["gpu_hours"] >= 0 for row in rows)
    hours = [
        sum(row["cpu_hours"] for row in plan_table(scales[name]))
        for name in ("smoke", "laptop", "paper")
    ]
    assert hours == sorted(hours)
    assert hours[1] < 2 * (45 + 90 + 75) / 60  # two cores, minutes of each paper


def test_jobs_are_counted(scales: dict[str, dict[str, Any]]) -> None:
    config, counted = scales["smoke"], []
    for paper in (config[name] for name in config["papers"]):
        stored = [run.get("stored_seeds", 0) for run in paper["runs"].values()]
        shown = [*paper["figures"].values(), *paper["claims"]]
        analyses = {name for entry in shown for name in entry["analyses"]} & set(paper["analyses"])
        for name, entry in reversed(paper["analyses"].items()):
            analyses |= set(entry["analyses"]) if name in analyses else set()
        # training, geometry where activations are stored; inversions of each group, analyses that
        # figures or claims name, and figures; claims
        counted += [len(stored), len(analyses), len(paper["figures"]), 1]
        if config["trainers"][paper["trainer"]]["inversion"]:
            counted += [len(stored) - stored.count(0), len(paper["groups"])]
    datasets = {
        run["dataset"] for name in config["papers"] for run in config[name]["runs"].values()
    }
    assert job_count(config) == len(datasets) + sum(counted) + 1  # scorecard


def test_a_paper_without_runs_has_a_plan(scales: dict[str, dict[str, Any]]) -> None:
    config = copy.deepcopy({**scales["smoke"], "papers": ["memorization"]})
    paper = config["memorization"]
    paper |= {"runs": {}, "groups": {}, "figures": {"1B": paper["figures"]["1B"]}}
    paper["claims"] = [claim for claim in paper["claims"] if claim["figure"] == "1B"]
    assert format_plan(plan_table(config), "the summary") == "the summary"
    assert job_count(config) == 4  # analysis, figure, claims, scorecard


def classifier(config: dict[str, Any], **run: Any) -> Estimate:
    other = copy.deepcopy(config)
    other["memorization"]["runs"]["vgg16"] |= run
    return job_estimate(other, "memorization", "vgg16")


def test_a_classifier_costs_what_its_network_does(config: dict[str, Any]) -> None:
    base = classifier(config, width=1.0, stop_accuracy=None, recorded_seeds=0)
    # VGG-16 for 32 x 32 images: 0.313 billion products in its convolutions, 0.019 above them
    size = plan_classifier.vgg16([32, 32, 3], 10, 1.0)
    assert size.products == pytest.approx(0.333e9, rel=0.02)
    kept = 2 * 3 * 20 * size.parameters * 4  # twice: the state holds them until the store is whole
    assert base.disk_mb == pytest.approx(kept / 1e6, rel=0.01)
    more = classifier(config, width=1.0, stop_accuracy=None, recorded_seeds=0, seeds=6)
    assert more.seconds - START_SECONDS == pytest.approx(2 * (base.seconds - START_SECONDS))
    assert classifier(config, width=0.5).seconds < base.seconds
    assert classifier(config, precision="float32").seconds > classifier(config).seconds


@pytest.mark.parametrize("name", list(plan_classifier.SIZES))
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_sizes_are_those_of_the_networks(name: str, width: float) -> None:
    from pipeline.models import memorization

    vectors = name == "feed_forward"
    network = getattr(memorization, name)((1024,) if vectors else (3, 32, 32), 100, width)
    size = plan_classifier.SIZES[name]([1024] if vectors else [32, 32, 3], 100, width)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert size.parameters == pytest.approx(counted, rel=0.03)


def test_table_is_aligned_and_ends_with_the_summary(scales: dict[str, dict[str, Any]]) -> None:
    rows = plan_table(scales["smoke"])
    lines = format_plan(rows, "that is all").splitlines()
    assert lines[-1] == "that is all"
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[0].split() == list(rows[0])
    assert len(lines) == len(rows) + 2


def test_summary_names_scale_jobs_and_folder(scales: dict[str, dict[str, Any]]) -> None:
    text = run_summary(scales["laptop"], Path("/somewhere"))
    assert "\n" not in text
    assert text.startswith(f"scale laptop: {job_count(scales['laptop'])} jobs, about ")
    assert "/somewhere/results/laptop" in text


def test_a_start_tells_of_what_is_to_run_alone(config: dict[str, Any]) -> None:
    row = plan_row(config, "stragglers", "main")
    text = start_summary(config, [("stragglers", "main")], 3, Path("/somewhere"))
    assert text == (
        f"scale laptop: 3 jobs, about {row['cpu_hours']:.2f} CPU hours of training (less where it stops "
        f"early) and {row['disk_gb']:.2f} GB in /somewhere/results/laptop"
    )


RUNS = [("stragglers", "main"), ("stragglers", "sgd_32")]


def needed_gb(config: dict[str, Any]) -> float:
    return 1.2 * sum(job_estimate(config, *run).disk_mb for run in RUNS) / 1e3


@pytest.mark.parametrize("share", [0.9, 1.5])
def test_a_full_disk_is_refused(
    config: dict[str, Any], share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = needed_gb(config)
    asked = []

    def disk_usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=share * needed * 1e9)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    if share < 1:
        said = rf"needs about {needed:.3f} GB in .*results/laptop, .* {share * needed:.3f} GB free"
        with pytest.raises(PipelineError, match=said):
            check_disk(config, RUNS, tmp_path)
        check_disk(config, RUNS[1:], tmp_path)  # nothing else is to run
    else:
        check_disk(config, RUNS, tmp_path)
    assert set(asked) == {tmp_path}  # the nearest folder that exists


@pytest.mark.parametrize("kind", ["runs", "state"])
def test_what_a_run_holds_already_needs_no_room_again(
    config: dict[str, Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = needed_gb(config)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0.5 * needed * 1e9))
    for paper, name in [("stragglers", "blocks_0"), ("stragglers", "main")]:
        with pytest.raises(PipelineError):
            check_disk(config, RUNS, tmp_path)
        folder = tmp_path / "results" / "laptop" / kind / paper / name / "deeper"
        folder.mkdir(parents=True)
        with open(folder / "chunk", "wb") as file:
            file.truncate(math.ceil(0.6 * needed * 1e9))  # sparse: takes no disk
    check_disk(config, RUNS, tmp_path)


@pytest.mark.parametrize("options", [{"depth": []}, {"base": "?"}, {"depth": None}])
def test_options_that_fit_no_network_are_one_sentence(options: dict[str, Any]) -> None:
    config = load_config(
        ROOT, {"scale": "smoke", "networks": {"small_resnet": {"options": options}}}
    )
    runs = config["prediction_space"]["runs"]
    name = next(name for name, run in runs.items() if run["network"] == "small_resnet")
    with pytest.raises(PipelineError, match=r"networks\.small_resnet\.options = .* do not fit"):
        job_estimate(config, "prediction_space", name)


def test_a_job_that_is_larger_than_the_machine_is_refused() -> None:
    jobs = [("train_run", "results/a/store", 900), ("run_analysis", "results/b/store", 2000)]
    check_memory(jobs, 2000.0)
    with pytest.raises(
        PipelineError, match=r"run_analysis \(results/b/store\) needs about 2000 MB"
    ):
        check_memory(jobs, 1999.0)
    with pytest.raises(PipelineError, match=r"there are 500 MB here: .* or lower the run's size"):
        check_memory(jobs, 500.0)


def test_jobs_side_by_side_are_told_when_they_do_not_fit() -> None:
    jobs = [(700, 1), (900, 2), (300, 1), (200, 1)]
    assert memory_together(jobs, 1, 700.0) is None
    assert memory_together(jobs, 3, 1600.0) is None
    told = memory_together(jobs, 3, 1599.0)
    assert told is not None
    assert "on 3 cores need 1600 MB" in told
    assert "--resources mem_mb=1599 " in told
    assert "need 1900 MB" in str(memory_together(jobs, 4, 1000.0))
    assert memory_together([], 4, 1000.0) is None
    # one job on both cores may need less than two side by side
    assert "need 1400 MB" in str(memory_together([(900, 2), (700, 1), (700, 1)], 2, 1000.0))
