"""Every rule script outside of Snakemake: one small run from images to the scorecard and the export."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers_scripts import RUN, Names, logging_restored, run_script, store, stores
from helpers_workflow import ROOT, chunk, flip_bit

from pipeline.config import load_config, run_parameters
from pipeline.store.reader import open_store

SCRIPTS = {path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    small = {"epochs": 80, "samples": 512, "seeds": 3, "checkpoints": {"count": 5}}
    return load_config(
        ROOT,
        {
            "scale": "smoke",
            "datasets": {
                "generated": {
                    "options": {"train_samples": 1024, "test_samples": 128},
                    "samples": {"train": 1024, "test": 128},
                }
            },
            "stragglers": {"defaults": small, "runs": {"main": {"seeds": 3}}},
        },
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> Path:
    """Data, trajectories, geometry, inversion, figure, claims and scorecard of one run."""
    root = tmp_path_factory.mktemp("results")
    folder = {
        kind: root / kind / "stragglers" / "main" for kind in ("runs", "geometry", "inversion")
    }
    folder["data"] = root / "data" / "generated"
    run_script(
        "prepare_data",
        root / "logs/prepare_data.log",
        output=store(folder["data"]),
        params=SimpleNamespace(
            entry=config["datasets"]["generated"], root="data", sources=["folder"], code="c"
        ),
    )
    run_script(
        "train_run",
        root / "logs/train_run.log",
        input=store(folder["data"]),
        output=store(folder["runs"]),
        params=SimpleNamespace(
            parameters=run_parameters(config, "stragglers", "main"),
            trainer=config["trainers"]["ensemble"]["function"],
            state=str(root / "state"),
            code="c",
        ),
    )
    for name, kind, given, params in (
        ("measure_geometry", "geometry", store(folder["runs"]), {"workers": 1}),
        ("find_inversion", "inversion", stores(folder["runs"]), {"config": {"layer": 1}}),
    ):
        run_script(
            name,
            root / f"logs/{name}.log",
            input=given,
            output=store(folder[kind]),
            params=SimpleNamespace(code="c", **params),
        )
    return root


def table(config: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    run = config["stragglers"]["runs"]["main"]
    kinds = {"trajectories": "runs", "inversion": "inversion"}
    folders = {name: str(root / kind / "stragglers/main") for name, kind in kinds.items()}
    folders["data"] = str(root / "data/generated")
    return [{"group": "main", "name": "main", "config": run, **folders}]


@pytest.fixture(scope="module")
def figure(results: Path, config: dict[str, Any]) -> Path:
    """The figure's path without its suffix."""
    base = results / "figures" / "stragglers" / "fig1b"
    forms = {suffix: f"{base}.{suffix}" for suffix in ("png", "svg", "csv", "rst")}
    run_script(
        "plot_figure",
        results / "logs/plot_figure.log",
        output=Names(**forms),
        params=SimpleNamespace(
            figure=config["stragglers"]["figures"]["1b"],
            identifier="1b",
            paper="stragglers",
            runs=table(config, results),
            analyses={},
            scale="smoke",
            code="c",
        ),
    )
    return base


def test_prepare_data(results: Path) -> None:
    data = open_store(results / "data/generated")
    assert data["images"].shape == (1152, 28, 28)
    assert data["split"].values.sum() == 128


def test_train_run(results: Path) -> None:
    run = open_store(results / "runs/stragglers/main")
    assert dict(run["train_error"].sizes) == {"seed": 3, "epoch": 81}
    assert run["train_error"].values[:, -1].max() < run["train_error"].values[:, 0].min()
    assert not (results / "state").exists()
    assert "epoch 80 of 80" in (results / "logs/train_run.log").read_text()


def test_measure_geometry_agrees_with_training(results: Path) -> None:
    again = open_store(results / "geometry/stragglers/main")
    recorded = open_store(results / "runs/stragglers/main")
    for name in ("radius_plus", "radius_minus", "distance"):
        expected = recorded[name].sel(seed=again["seed"].values, epoch=again["epoch"].values)
        np.testing.assert_allclose(again[name].values, expected.values, rtol=0, atol=1e-6)


def test_find_inversion(results: Path) -> None:
    inversion = open_store(results / "inversion/stragglers/main")
    assert inversion["seed"].values.tolist() == [0, 1, 2]
    assert inversion.attrs["runs"] == ["main"]
    assert inversion["found"].values.all()
    assert inversion["phi"].shape == (1, 3)
    assert ((inversion["phi"].values >= 0) & (inversion["phi"].values < 0.5)).all()


@pytest.fixture(scope="module")
def analysis(results: Path, config: dict[str, Any]) -> Path:
    """The folder of an analysis of the run."""
    folder = results / "analyses" / "stragglers" / "stability"
    entry = config["stragglers"]["analyses"]["stability"]
    keys = ("function", "runs", "variables", "options")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # the script sets it
        run_script(
            "run_analysis",
            results / "logs/run_analysis.log",
            output=store(folder),
            params=SimpleNamespace(
                runs=table(config, results),
                analyses={},
                cache=str(results / "cache"),
                config={"analysis": {key: entry[key] for key in keys}, "runs": {}, "seed": 3},
                threads=1,
                code="c",
            ),
        )
    return folder


def test_run_analysis(
    results: Path, analysis: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    from pipeline.analysis.stability import stability_curve
    from pipeline.runs import load_runs

    found = open_store(analysis)
    assert json.loads((analysis / "manifest.json").read_text())["provenance"]["config"]["seed"] == 3
    options = config["stragglers"]["analyses"]["stability"]["options"]
    data = load_runs(table(config, results), ["misclassified"])
    expected = stability_curve(data, {"seed": 3, **options})
    for name in expected.data_vars:
        np.testing.assert_array_equal(found[name].values, expected[name].values)
    # Figures and claims are given it by name.
    again = load_runs(table(config, results), analyses={"stability": str(analysis)})
    assert set(again.analyses) == {"stability"}
    assert set(again.analyses["stability"].data_vars) == set(expected.data_vars)


def test_plot_figure(figure: Path) -> None:
    assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "n = 3 independent networks; none diverged" in figure.with_suffix(".rst").read_text()


def test_measure_claims_and_make_scorecard(results: Path, config: dict[str, Any]) -> None:
    claims = [
        claim
        for claim in config["stragglers"]["claims"]
        if claim["runs"] == ["main"] and not claim["analyses"]
    ]
    measured = results / "claims" / "stragglers.json"
    run_script(
        "measure_claims",
        results / "logs/measure_claims.log",
        output=Names(str(measured)),
        params=SimpleNamespace(
            claims=claims,
            runs=table(config, results),
            analyses={},
            paper="stragglers",
            scale="smoke",
            code="c",
        ),
    )
    assert json.loads(measured.read_text())
    card = results / "scorecard"
    run_script(
        "make_scorecard",
        results / "logs/make_scorecard.log",
        input=Names(str(measured)),
        output=Names(csv=str(card / "scorecard.csv"), html=str(card / "scorecard.html")),
        params=SimpleNamespace(code="c"),
    )
    with open(card / "scorecard.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [claim["id"] for claim in claims]
    assert {row["verdict"] for row in rows} == {"indicative"}
    assert "straggler_overlap" in (card / "scorecard.html").read_text()


def test_export_figure(results: Path, figure: Path, config: dict[str, Any]) -> None:
    export = results / "export"
    export.mkdir()
    run_script(
        "export_figure",
        results / "logs/export_figure.log",
        input=Names(csv=str(figure.with_suffix(".csv"))),
        output=Names(nc=str(export / "fig1b.nc"), csv=str(export / "fig1b.csv")),
        params=SimpleNamespace(runs=table(config, results), title="A title", code="c"),
    )
    assert (export / "fig1b.nc").stat().st_size > 1000
    assert (export / "fig1b.csv").read_bytes() == figure.with_suffix(".csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "params", "printed"),
    [
        ("verify_stores", {"results": ""}, "5 stores below"),
        ("print_disk_use", {"results": ""}, "runs/stragglers/main"),
        (
            "print_plan",
            {"rows": [{"run": "main", "seeds": 3}], "summary": "all of it"},
            "all of it",
        ),
        ("tabulate_benchmarks", {"benchmarks": "benchmarks", "base": "b"}, "0 jobs"),
    ],
)
def test_printing_scripts(
    results: Path,
    analysis: Path,
    name: str,
    params: dict[str, Any],
    printed: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = {
        key: str(results / value) if key in ("results", "benchmarks", "base") else value
        for key, value in params.items()
    }
    run_script(name, results / f"logs/{name}.log", params=SimpleNamespace(code="c", **folders))
    assert printed in capsys.readouterr().out


@pytest.mark.slow
def test_draw_rulegraph(source_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source_project)
    run_script(
        "draw_rulegraph",
        Path("rulegraph.log"),
        params=SimpleNamespace(
            base="rulegraph",
            overrides={"scale": "smoke", "compute": {"threads": 1, "compile": False}},
            code="c",
        ),
    )
    assert Path("rulegraph.png").is_file()
    assert "train_run" in Path("rulegraph.svg").read_text()


def test_clean_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    run_script(
        "clean_results",
        tmp_path / "clean.log",
        params=SimpleNamespace(results=[str(tmp_path / "runs"), str(tmp_path / "no")], code="c"),
    )
    assert not (tmp_path / "runs").exists()
    assert "deleted: " in capsys.readouterr().out


# --- how scripts fail ----------------------------------------------------------------------------


@pytest.fixture
def damaged(results: Path) -> Iterator[Path]:
    folder = results / "runs/stragglers/main"
    path = chunk(folder, "train_error")
    content = path.read_bytes()
    flip_bit(path)
    yield folder
    path.write_bytes(content)


def test_an_error_of_ours_is_one_sentence_in_the_log_and_on_stderr(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "find.log"
    with pytest.raises(SystemExit) as caught:
        run_script(
            "find_inversion",
            log,
            input=stores(damaged),
            output=store(tmp_path / "out"),
            params=SimpleNamespace(code="c", config={"layer": 1}),
        )
    assert caught.value.code == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("find_inversion: The store in ")
    (logged,) = log.read_text().splitlines()
    assert logged.endswith(said.removeprefix("find_inversion: "))
    assert " ERROR " in logged
    assert not (tmp_path / "out").exists()


def test_any_other_error_leaves_its_traceback_in_the_log_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "plan.log"
    with pytest.raises(SystemExit):
        run_script("print_plan", log, params=SimpleNamespace(summary="no rows"))
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("print_plan: AttributeError: ")
    assert said.endswith(f"the traceback is in {log}")
    assert "Traceback" in log.read_text()


def test_warnings_go_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    from pipeline.scripting import run

    def main(snakemake: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("mind this", UserWarning, stacklevel=1)

    log = tmp_path / "log"
    with logging_restored():
        run(SimpleNamespace(rule="r", log=[str(log)]), main)
    assert "mind this" in log.read_text()
    assert capsys.readouterr().err == ""


def test_every_script_was_run_here() -> None:
    # each name stands in a call above; run alone, this test cannot look at what the others did
    text = Path(__file__).read_text()
    assert {name for name in SCRIPTS if f'"{name}"' in text} == SCRIPTS
    assert not RUN - SCRIPTS
