"""Checking, measuring, tabulating, exporting and deleting results."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers_workflow import chunk, flip_bit
from made_up_runs import make_trajectories

from pipeline.errors import StoreError
from pipeline.maintenance import clean, disk_use, export_figure, tabulate_benchmarks, verify_stores
from pipeline.provenance import provenance
from pipeline.store.writer import write_dataset

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for run in ("main", "other"):
        folder = tmp_path / "runs" / "paper" / run
        write_dataset(make_trajectories(3), folder, provenance(config={"run": run}))
    return tmp_path


def test_whole_stores_are_counted(results: Path) -> None:
    assert verify_stores(results) == f"2 stores below {results} agree with their manifests"


def test_all_problems_of_all_stores_are_listed(results: Path) -> None:
    main, other = results / "runs/paper/main", results / "runs/paper/other"
    flip_bit(chunk(main, "train_error"))
    (other / "manifest.json").unlink()
    with pytest.raises(StoreError) as caught:
        verify_stores(results)
    first, *problems = str(caught.value).splitlines()
    assert first == "2 problem(s) in 2 stores:"
    assert problems[0].startswith(f"{main}: ")
    assert "train_error" in problems[0]
    assert problems[1].startswith(f"{other}: ")


def test_a_manifest_without_its_store_is_a_problem(results: Path) -> None:
    store = results / "runs/paper/main/store"
    shutil.rmtree(store)
    with pytest.raises(StoreError, match=f"1 problem.* in 2 stores:\n.*{store}.* does not exist"):
        verify_stores(results)


def test_disk_use_adds_up_and_marks_saved_states(results: Path) -> None:
    state = results / "state" / "paper" / "main"
    state.mkdir(parents=True)
    (state / "group_0.pt").write_bytes(bytes(3_000_000))
    lines = disk_use(results).splitlines()
    assert lines[0].split() == ["MB", "files", "store"]
    assert {line.split()[2] for line in lines[1:3]} == {
        str(results / "runs/paper" / run) for run in ("main", "other")
    }
    assert lines[3].split()[:2] == ["3.0", "1"]
    assert "temporary" in lines[3]
    total = sum(path.stat().st_size for path in results.rglob("*") if path.is_file()) / 1e6
    assert float(lines[-1].split()[0]) == pytest.approx(total, abs=0.06)


def test_disk_use_of_nothing(tmp_path: Path) -> None:
    assert disk_use(tmp_path).splitlines()[-1].split() == ["0.0", "total"]


def test_benchmarks_are_sorted_and_unsampled_values_are_zero(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    for name, values in {
        "train_run/p/main.tsv": "7.5\t0:00:07\t500.5\t1\t1\t1\t1\t1\t1\t6.25",
        "train_run/p/<b>.tsv": "17.5\t0:00:17\t600.5\t1\t1\t1\t1\t1\t1\t16.25",
        "make_scorecard.tsv": "0.1\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\t-",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + values + "\n")
    text = tabulate_benchmarks(folder, tmp_path / "out" / "benchmark")
    assert text.startswith("3 jobs, 25 job-seconds, of which 25 training")
    with open(tmp_path / "out" / "benchmark.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["rule", "job", "seconds", "cpu_seconds", "peak_memory_mb"],
        ["train_run", "p/<b>", "17.5", "16.25", "600.5"],
        ["train_run", "p/main", "7.5", "6.25", "500.5"],
        ["make_scorecard", "make_scorecard", "0.1", "0.0", "0.0"],
    ]
    page = (tmp_path / "out" / "benchmark.html").read_text()
    assert "p/&lt;b&gt;" in page
    assert "<b>" not in page


def test_benchmarks_before_anything_ran(tmp_path: Path) -> None:
    assert tabulate_benchmarks(tmp_path / "none", tmp_path / "b").startswith("0 jobs")


def test_export_keeps_numbers_texts_and_curves(results: Path, tmp_path: Path) -> None:
    table = tmp_path / "fig.csv"
    pd.DataFrame({"curve": ["R+", None], "epoch": [1, 2], "value": [0.5, np.nan]}).to_csv(
        table, index=False
    )
    runs = [
        {"name": name, "trajectories": results / "runs/paper" / name} for name in ("main", "other")
    ]
    netcdf, copy = tmp_path / "fig.nc", tmp_path / "copy.csv"
    export_figure(table, runs, "A title", netcdf, copy)
    assert copy.read_bytes() == table.read_bytes()
    with xr.open_datatree(netcdf, engine="netcdf4") as tree:
        tree.load()
    assert tree.attrs["title"] == "A title"
    assert tree["curve"].values.tolist() == ["R+", ""]
    assert tree["epoch"].values.tolist() == [1, 2]
    np.testing.assert_array_equal(tree["value"].values, [0.5, np.nan])
    expected = make_trajectories(3)
    for name in ("main", "other"):
        for variable in ("train_error", "distance"):
            np.testing.assert_array_equal(tree[f"{name}/{variable}"].values, expected[variable])


def test_export_refuses_a_damaged_store(results: Path, tmp_path: Path) -> None:
    table = tmp_path / "fig.csv"
    table.write_text("a\n1\n")
    main = results / "runs/paper/main"
    flip_bit(chunk(main, "distance"))
    runs = [{"name": "main", "trajectories": main}]
    with pytest.raises(StoreError, match="distance"):
        export_figure(table, runs, "T", tmp_path / "fig.nc", tmp_path / "copy.csv")
    assert not (tmp_path / "fig.nc").exists()


def test_clean_deletes_folders_and_files_named_and_nothing_else(results: Path) -> None:
    claims = results / "claims.json"
    claims.write_text("{}")
    other = results / "runs/paper/other"
    text = clean([results / "runs/paper/main", claims, results / "never"])
    assert text == f"deleted: {results / 'runs/paper/main'}, {claims}"
    assert other.is_dir()
    assert not claims.exists()
    assert clean([results / "never"]) == "deleted: nothing (no results)"
