"""The smoke scale end to end, twice, and its report."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import expected_jobs
import numpy as np
import pandas as pd
import pytest
from conftest import Smoke
from drills.outcome import differing, digests
from expected_jobs import PAPER, all_jobs, smoke_config
from helpers_workflow import copy_project, snakemake

pytestmark = pytest.mark.slow

RESULTS = Path("results/smoke")
UNMEASURED = {
    "no data": "not measured: .{20}",
    "not run at this scale": "no run of it at this scale",
}
FORMS = (".png", ".svg", ".csv", ".rst")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return smoke_config()


def test_dry_run_lists_the_jobs_of_the_configuration(smoke: Smoke, config: dict[str, Any]) -> None:
    assert smoke.planned.status == 0, smoke.planned.text
    assert smoke.planned.jobs == all_jobs(config)
    assert smoke.planned.counts == expected_jobs.counts(all_jobs(config))


def test_smoke_run_succeeds_and_runs_those_jobs(smoke: Smoke) -> None:
    assert smoke.first.status == 0, smoke.first.text[-3000:]
    assert smoke.first.counts == smoke.planned.counts
    print(f"smoke run: {smoke.first.seconds:.0f} s")


def test_second_run_does_nothing(smoke: Smoke) -> None:
    assert smoke.second.status == 0
    assert "Nothing to be done" in smoke.second.text
    assert smoke.second.counts == {}


@pytest.mark.long
def test_on_one_core_all_results_have_the_same_bits(smoke: Smoke, tmp_path: Path) -> None:
    """Of stores, tables, captions and pictures; the smoke run had all cores."""
    project = copy_project(tmp_path / "project")
    said = snakemake(project, options=("--cores", "1"))
    assert said.status == 0, said.text[-3000:]
    ours, reference = digests(project / RESULTS), digests(smoke.project / RESULTS)
    assert len(ours) > 600
    assert differing(ours, reference) == []


def test_one_line_says_what_is_ahead(smoke: Smoke) -> None:
    lines = [line for line in smoke.first.text.splitlines() if line.startswith("scale smoke: ")]
    assert len(lines) == 1
    pattern = (
        r"scale smoke: (\d+) jobs, about \d+\.\d\d CPU hours of training "
        r"\(less where it stops early\) and \d+\.\d\d GB in .*results/smoke$"
    )
    said = re.match(pattern, lines[0])
    assert said
    assert int(said[1]) == len(smoke.planned.jobs) - 1  # but the target "all" itself


def test_every_figure_is_there_in_all_forms(smoke: Smoke, config: dict[str, Any]) -> None:
    folder = smoke.project / RESULTS / "figures"
    wanted = {
        f"{paper}/fig{figure}{suffix}"
        for paper in config["papers"]
        for figure, entry in config[paper]["figures"].items()
        for suffix in (*FORMS, *([".html"] if entry.get("interactive") else []))
    }
    assert {path.relative_to(folder).as_posix() for path in folder.glob("*/*")} == wanted
    for path in folder.glob("*/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert "<svg" in path.with_suffix(".svg").read_text()
        table = pd.read_csv(path.with_suffix(".csv"))
        assert len(table) > 1, path
        assert table.shape[1] > 1, path


def test_every_caption_says_what_was_measured_and_from_what(
    smoke: Smoke, config: dict[str, Any]
) -> None:
    shown = [
        (paper, *item) for paper in config["papers"] for item in config[paper]["figures"].items()
    ]
    for paper, figure, entry in shown:
        caption = (smoke.project / RESULTS / "figures" / paper / f"fig{figure}.rst").read_text()
        parts = caption.split("\n\n")
        assert parts[0] == f"**{entry['title']}.**"
        assert [
            re.match(r"\*\*(The paper|Measured here|Made from)\b", p)[1] for p in parts[1:]
        ] == [*("The paper", "Measured here", "Made from")]
        assert re.search(r"\d", parts[2]), f"no number in {parts[2]}"
        assert not re.search(r"\bnan\b|\binf\b", caption), caption
        if not entry["runs"]:
            assert re.search(r"n = \d+ .*\. Scale smoke\. Data: generated", parts[3]), parts[3]
            continue
        networks = sum(
            config[paper]["runs"][run]["seeds"]
            for group in entry["runs"]
            for run in config[paper]["groups"][group]
        )
        counted = re.search(r"n = (\d+) .*networks.*; (?:(\d+) more|none diverged)", parts[3])
        assert counted, parts[3]
        assert int(counted[1]) + int(counted[2] or 0) == networks
        assert re.search(
            r"Scale smoke\. Data: substituted: (generated|a small synthetic task)", parts[3]
        ), parts[3]


def test_scorecard_has_every_claim_and_none_agrees_on_generated_data(
    smoke: Smoke, config: dict[str, Any]
) -> None:
    with open(smoke.project / RESULTS / "scorecard" / "scorecard.csv") as file:
        rows = list(csv.DictReader(file))
    claims = [claim for paper in config["papers"] for claim in config[paper]["claims"]]
    assert [row["id"] for row in rows] == [claim["id"] for claim in claims]
    # of networks; generated manifolds are the data of what is claimed without them
    verdicts = Counter(row["verdict"] for row in rows if row["paper"] == PAPER)
    assert set(verdicts) <= {"indicative", "no data"}
    assert verdicts["indicative"] > 4 * verdicts["no data"]
    for row in rows:
        if row["verdict"] in UNMEASURED:
            assert re.match(UNMEASURED[row["verdict"]], row["rule"])
            assert row["ours"] == ""
        else:
            assert np.isfinite(float(row["ours"]))


def test_no_job_warned(smoke: Smoke) -> None:
    def warnings() -> Iterator[str]:
        for path in (smoke.project / RESULTS / "logs").rglob("*.log"):
            lines = path.read_text().splitlines()
            yield from (
                f"{path.name}: {line}" for line in lines if re.search("WARNING|ERROR", line)
            )

    assert list(warnings()) == []


def test_jobs_left_logs_benchmarks_and_no_state(smoke: Smoke) -> None:
    results = smoke.project / RESULTS
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


def test_geometry_from_stored_activations_is_what_training_recorded(
    smoke: Smoke, config: dict[str, Any]
) -> None:
    from pipeline.store.reader import open_store

    results = smoke.project / RESULTS
    stored = {name for name, run in config[PAPER]["runs"].items() if run["stored_seeds"]}
    assert stored >= {"main", "adam_0005", "random_labels", "pruned_inversion", "sgd_64"}
    for run in stored:
        recorded = open_store(results / "runs" / PAPER / run)
        again = open_store(results / "geometry" / PAPER / run)
        epochs = recorded["checkpoint_epoch"].values
        recorded = recorded.sel(seed=recorded["stored_seed"].values, epoch=epochs)
        for name in ("radius_plus", "radius_minus", "distance"):
            ours = again[name].transpose("seed", "epoch", "layer").values
            theirs = recorded[name].transpose("seed", "epoch", "layer").values
            assert ours.shape == (2, len(epochs), 1), run
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_report_holds_figures_captions_and_scorecard(shared_project: Path) -> None:
    said = snakemake(shared_project, options=("--report", "report.html"))
    assert said.status == 0, said.text[-2000:]
    page = (shared_project / "report.html").read_text()
    config = smoke_config()
    figures = [name for paper in config["papers"] for name in config[paper]["figures"]]
    for text in (
        "Trajectories of class manifolds",
        "scale <strong>smoke</strong>",
        "Class manifold dynamics is non-monotonic",
        "Measured here",
        *(f"Figures: {paper}" for paper in config["papers"]),
        "Each number of the papers",
        "scorecard.html",
        *(f"fig{figure}.png" for figure in figures),
    ):
        assert text in page, text
    assert page.count("data:image/png") >= len(figures)
    assert 'src="http' not in page
