"""The smoke scale end to end, twice, and its report."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Smoke
from helpers_workflow import snakemake

pytestmark = pytest.mark.slow

FIGURES = ("1a", "1b", "1c", "1d", "1e", "1f")
JOBS = {
    "prepare_data": 1,
    "train_run": 10,
    "find_inversion": 10,
    "measure_geometry": 10,
    **{f"fig_stragglers_{figure}": 1 for figure in FIGURES},
    "measure_claims": 1,
    "scorecard": 1,
    "all": 1,
}


def test_dry_run_lists_the_jobs(smoke: Smoke) -> None:
    assert smoke.planned.status == 0, smoke.planned.text
    assert smoke.planned.counts == JOBS
    runs = {job.partition("/")[2] for job in smoke.planned.jobs if job.startswith("train_run/")}
    assert runs >= {"main", "blocks_0", "blocks_1", "adam_0001", "random_labels"}


def test_smoke_run_succeeds_and_runs_those_jobs(smoke: Smoke) -> None:
    assert smoke.first.status == 0, smoke.first.text[-3000:]
    assert smoke.first.counts == JOBS
    print(f"smoke run: {smoke.first.seconds:.0f} s")


def test_second_run_does_nothing(smoke: Smoke) -> None:
    assert smoke.second.status == 0
    assert "Nothing to be done" in smoke.second.text
    assert smoke.second.counts == {}


def test_one_line_says_what_is_ahead(smoke: Smoke) -> None:
    lines = [line for line in smoke.first.text.splitlines() if line.startswith("scale smoke: ")]
    assert len(lines) == 1
    pattern = (
        r"scale smoke: \d+ jobs, about \d+\.\d\d CPU hours and \d+\.\d\d GB in .*results/smoke "
    )
    assert re.match(pattern, lines[0])


def test_every_figure_is_there_in_all_forms(smoke: Smoke) -> None:
    folder = smoke.project / "results" / "smoke" / "figures" / "stragglers"
    for figure in FIGURES:
        assert (folder / f"fig{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"fig{figure}.svg").read_text()
        with open(folder / f"fig{figure}.csv", newline="") as file:
            assert len(list(csv.reader(file))) > 2
        caption = (folder / f"fig{figure}.rst").read_text()
        for part in ("The paper", "Measured here", "Scale smoke", "generated data", "n = "):
            assert part in caption, f"{part} in the caption of {figure}"


def test_scorecard_calls_generated_data_indicative_at_best(smoke: Smoke) -> None:
    with open(smoke.project / "results" / "smoke" / "scorecard" / "scorecard.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 15
    assert {row["verdict"] for row in rows} <= {"indicative", "not run at this scale"}


def test_jobs_left_logs_benchmarks_and_no_state(smoke: Smoke) -> None:
    results = smoke.project / "results" / "smoke"
    assert "epoch 120 of 120" in (results / "logs/train_run/stragglers/main.log").read_text()
    assert (results / "benchmarks/train_run/stragglers/main.tsv").is_file()
    assert not [path for path in (results / "state").rglob("*") if path.is_file()]


def test_manifest_names_code_config_and_versions(smoke: Smoke) -> None:
    path = smoke.project / "results/smoke/runs/stragglers/main/manifest.json"
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["config"]["run"]["seeds"] == 6
    assert len(provenance["code"]) == 16
    assert provenance["threads"] == 1
    assert "torch" in provenance["versions"]
    assert str(smoke.project) not in path.read_text()


def test_geometry_from_stored_activations_is_what_training_recorded(smoke: Smoke) -> None:
    from pipeline.store.reader import open_store

    results = smoke.project / "results" / "smoke"
    for run in ("main", "adam_0005", "random_labels"):
        recorded = open_store(results / "runs" / "stragglers" / run)
        again = open_store(results / "geometry" / "stragglers" / run)
        epochs = recorded["checkpoint_epoch"].values
        recorded = recorded.sel(seed=recorded["stored_seed"].values, epoch=epochs)
        for name in ("radius_plus", "radius_minus", "distance"):
            ours = again[name].transpose("seed", "epoch", "layer").values
            theirs = recorded[name].transpose("seed", "epoch", "layer").values
            assert ours.shape == (2, len(epochs), 1)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_report_holds_figures_captions_and_scorecard(shared_project: Path) -> None:
    said = snakemake(shared_project, options=("--report", "report.html"))
    assert said.status == 0, said.text[-2000:]
    page = (shared_project / "report.html").read_text()
    for text in (
        "Trajectories of class manifolds",
        "scale <strong>smoke</strong>",
        "Class manifold dynamics is non-monotonic",
        "Measured here",
        "Figures: stragglers",
        "Each number of the papers",
        "scorecard.html",
        *(f"fig{figure}.png" for figure in FIGURES),
    ):
        assert text in page, text
    assert page.count("data:image/png") >= len(FIGURES)
    assert 'src="http' not in page
