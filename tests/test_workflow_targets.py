"""Targets about the results: plan, verify, disk use, benchmarks, rule graph, export, cleaning."""

from __future__ import annotations

import csv
import re
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import expected_jobs
import pytest
from expected_jobs import PAPER, all_jobs, figures, jobs_after, smoke_config
from helpers_workflow import Said, dry_run, edited, snakemake

pytestmark = pytest.mark.slow

RESULTS = Path("results/smoke")
EXPORT = RESULTS / "export/stragglers"
PRINTED = ("plan", "verify", "disk_use", "benchmark", "rulegraph")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return smoke_config()


@pytest.fixture(scope="module")
def printed(shared_project: Path) -> Said:
    """What the targets print, all in one run; the library's copy in the project is marked."""
    source = shared_project / "src/pipeline/maintenance.py"
    with edited(source, "{'files':>6}  store", "{'files':>6}  stores of the copy"):
        said = snakemake(
            shared_project,
            *PRINTED,
            str(EXPORT / "fig1b.nc"),
            options=("--cores", "1"),
        )
    assert said.status == 0, said.text
    return said


def test_targets_run_and_nothing_else(printed: Said) -> None:
    assert printed.counts == dict.fromkeys((*PRINTED, "export_figure"), 1)


def test_plan_prints_runs_and_totals(printed: Said, config: dict[str, Any]) -> None:
    lines = printed.text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["paper", "run"])
    assert lines[start].split()[2:] == [
        *("dataset", "seeds", "epochs", "cpu_hours", "gpu_hours", "memory_mb", "disk_gb")
    ]
    runs = [(paper, run) for paper in config["papers"] for run in config[paper]["runs"]]
    end = start + 1 + len(runs)
    assert [tuple(line.split()[:2]) for line in lines[start + 1 : end]] == runs
    jobs = len(all_jobs(config)) - 1  # but the target "all" itself
    assert lines[end].startswith(f"scale smoke: {jobs} jobs, about 0.")


def test_printed_targets_run_whenever_asked(printed: Said, shared_project: Path) -> None:
    assert dry_run(shared_project, *PRINTED).counts == dict.fromkeys(PRINTED, 1)


def test_maintenance_says_nothing_of_what_is_ahead(printed: Said, shared_project: Path) -> None:
    said = snakemake(shared_project, "plan")
    assert said.text.count("scale smoke: ") == 1  # the plan's own last line


def test_verify_counts_the_stores(printed: Said, config: dict[str, Any]) -> None:
    storing = ("prepare_data", "train_run", "find_inversion", "measure_geometry", "run_analysis")
    stores = sum(expected_jobs.counts(all_jobs(config))[rule] for rule in storing)
    assert f"{stores} stores below results/smoke agree with their manifests" in printed.text


def test_disk_use_lists_stores_and_the_copys_library_is_used(printed: Said) -> None:
    assert "stores of the copy" in printed.text
    assert "results/smoke/runs/stragglers/main\n" in printed.text
    assert " total\n" in printed.text


def test_benchmark_tabulates_every_job(
    printed: Said, shared_project: Path, config: dict[str, Any]
) -> None:
    with open(shared_project / RESULTS / "benchmark.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} jobs, " in printed.text
    counts = Counter(row["rule"] for row in rows if row["rule"] != "export_figure")
    wanted = expected_jobs.counts(all_jobs(config))
    assert counts["plot_figure"] == len(figures(config))
    assert counts["train_run"] == wanted["train_run"]
    assert counts["run_analysis"] == wanted["run_analysis"]
    assert counts.total() == sum(wanted.values()) - 1  # all but the target itself
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > 1
    assert "<table>" in (shared_project / RESULTS / "benchmark.html").read_text()


def test_rulegraph_names_the_rules(printed: Said, shared_project: Path) -> None:
    picture = (shared_project / RESULTS / "rulegraph.png").read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 1000
    assert height > 800
    text = (shared_project / RESULTS / "rulegraph.svg").read_text()
    rules = {rule for rule in expected_jobs.counts(all_jobs(smoke_config())) if "fig_" not in rule}
    assert rules >= {"find_inversion", "run_analysis"}
    for rule in rules:
        assert rule in text
    assert "fig_stragglers_1a" not in text  # all figures of a paper are one box


def test_export_opens_with_xarray(printed: Said, shared_project: Path) -> None:
    import numpy as np
    import pandas as pd
    import xarray as xr

    from pipeline.store.reader import open_store

    with xr.open_datatree(shared_project / EXPORT / "fig1b.nc", engine="netcdf4") as tree:
        tree.load()
    assert tree.attrs["title"] == "Class manifold dynamics is non-monotonic"
    table = pd.read_csv(shared_project / EXPORT / "fig1b.csv")
    pd.testing.assert_frame_equal(
        table, pd.read_csv(shared_project / RESULTS / "figures/stragglers/fig1b.csv")
    )
    assert tree.sizes["row"] == len(table)
    assert set(tree.data_vars) == set(table.columns)
    run = open_store(shared_project / RESULTS / "runs/stragglers/main")
    np.testing.assert_array_equal(tree["main/train_error"].values, run["train_error"].values)
    assert tree["main/radius_plus"].dims == ("seed", "epoch", "layer")


def test_export_target_takes_every_figure(source_project: Path, config: dict[str, Any]) -> None:
    counts = dry_run(source_project, "export").counts
    assert counts["export_figure"] == len(figures(config))


@pytest.mark.parametrize(
    "target", ["fig_stragglers_1c", "results/smoke/figures/stragglers/fig1c.svg"]
)
def test_one_figure_alone_by_name_and_path(source_project: Path, target: str) -> None:
    assert dry_run(source_project, target).counts == {
        "prepare_data": 1,
        "train_run": 2,
        "find_inversion": 1,
        "fig_stragglers_1c": 1,
    }


def test_a_figure_brings_its_analyses_and_what_its_runs_are_pruned_by(
    source_project: Path, config: dict[str, Any]
) -> None:
    jobs = dry_run(source_project, "fig_stragglers_S6").jobs
    entry, groups = config[PAPER]["figures"]["S6"], config[PAPER]["groups"]
    assert "main" not in entry["runs"]
    needed = ["main", *entry["runs"]]  # the stragglers of a fully connected network
    assert jobs == {
        "prepare_data/generated",
        *(f"train_run/{run}" for group in needed for run in groups[group]),
        *(f"find_inversion/{group}" for group in needed),
        *(f"run_analysis/{name}" for name in entry["analyses"]),
        "fig_stragglers_S6",
    }


def test_figures_of_a_paper(source_project: Path, config: dict[str, Any]) -> None:
    said = dry_run(source_project, "figures_stragglers")
    assert said.counts["train_run"] == len(config[PAPER]["runs"])
    assert {rule for rule in said.counts if rule.startswith("fig_")} == figures(config, PAPER)
    assert not {"measure_claims", "scorecard", "measure_geometry"} & set(said.counts)


def test_clean_deletes_the_papers_results_and_no_others(
    project: Path, config: dict[str, Any]
) -> None:
    said = snakemake(project, "clean_stragglers")
    assert said.status == 0, said.text
    (deleted,) = re.findall(r"^deleted: (.*)$", said.text, re.MULTILINE)
    kinds = ("runs", "geometry", "inversion", "analyses", "figures")
    assert {f"results/smoke/{kind}/stragglers" for kind in kinds} <= set(deleted.split(", "))
    assert "CPU hours" not in said.text
    left = {path.relative_to(project / RESULTS).parts for path in (project / RESULTS).rglob("*.*")}
    # requests are written at every start
    kept = {"data", "logs", "benchmarks", "scorecard", "requests"}
    assert not [parts for parts in left if parts[0] not in kept and parts[1].startswith(PAPER)]
    assert (project / RESULTS / "data/generated/manifest.json").is_file()
    assert (project / RESULTS / "figures/memorization/fig1B.png").is_file()
    paper = config[PAPER]
    assert dry_run(project).jobs == jobs_after(config, paper["runs"], paper["analyses"])
    shutil.rmtree(project / "results")
    said = snakemake(project, "clean_stragglers")
    assert said.status == 0
    assert "nothing" in said.text
