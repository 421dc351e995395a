"""Data that could not be had: their runs hold the reason, and all others go on without them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers_workflow import ROOT
from made_up_jobs import (
    REASON,
    SAMPLES,
    SEEDS,
    small_config,
    train,
    write_data,
    write_substituted,
    write_unavailable,
)

from pipeline.config import run_parameters
from pipeline.maintenance import export_figure, verify_stores
from pipeline.run_texts import data_text
from pipeline.runs import load_runs
from pipeline.scorecard import NO_DATA, decide
from pipeline.store import manifest
from pipeline.store.reader import open_store


def run_main(script: str, **parts: Any) -> None:
    """The function main of a rule's script."""
    fake = SimpleNamespace(rule=script, threads=1, **parts)
    runpy.run_path(str(ROOT / "workflow/scripts" / f"{script}.py"))["main"](fake)


def store(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(store=str(folder / "store"), manifest=str(folder / "manifest.json"))


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return small_config()


@pytest.fixture(scope="module")
def parameters(config: dict[str, Any]) -> dict[str, Any]:
    return run_parameters(config, "stragglers", "main")


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any], parameters: dict[str, Any]
) -> Path:
    """A run ``main`` and a run ``kmnist`` without data, and the inversions of both groups."""
    root = tmp_path_factory.mktemp("results")
    write_data(root / "data/generated", config)
    write_unavailable(root / "data/kmnist")
    train(parameters, root / "data/generated", root / "runs/main")
    train(parameters, root / "data/kmnist", root / "runs/kmnist")
    for group, members in {
        "main": ["main"],
        "kmnist": ["kmnist"],
        "both": ["kmnist", "main"],
    }.items():
        manifests = [str(root / "runs" / name / "manifest.json") for name in members]
        run_main(
            "find_inversion",
            input=SimpleNamespace(manifests=manifests),
            output=store(root / "inversion" / group),
            params=SimpleNamespace(config={"layer": 1}, code="c"),
        )
    return root


def entries(results: Path, config: dict[str, Any], *members: tuple[str, str]) -> list[dict]:
    """What figures and claims are told of runs, given as (group, name)."""
    return [
        {
            "group": group,
            "name": name,
            "config": config["stragglers"]["runs"]["main"],
            "trajectories": str(results / "runs" / name),
            "inversion": str(results / "inversion" / group),
            "data": str(results / "data/generated"),
        }
        for group, name in members
    ]


def test_a_run_without_data_holds_the_reason(results: Path) -> None:
    content = manifest.read(results / "runs/kmnist")
    assert content["attrs"]["unavailable"] == REASON
    assert content["attrs"]["run"] == "main"
    assert content["arrays"] == {}
    assert content["provenance"]["config"]["run"]["samples"] == SAMPLES
    assert not (results / "runs/kmnist/state").exists()


def test_a_pruned_run_lacks_what_its_source_lacks(
    results: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    pruned = run_parameters(config, "stragglers", "pruned_3")
    places = {"source": results / "runs/kmnist", "inversions": results / "inversion/kmnist"}
    content = train(pruned, results / "data/generated", tmp_path, **places)
    assert content["attrs"]["unavailable"] == REASON
    assert content["arrays"] == {}


@pytest.mark.parametrize(("block", "enough"), [(0, True), (1, True), (2, False)])
def test_more_samples_than_a_substitute_has(
    results: Path, parameters: dict[str, Any], tmp_path: Path, block: int, enough: bool
) -> None:
    data = write_substituted(tmp_path / "data", results / "data/generated", 2 * SAMPLES)
    run = parameters["run"] | {"block": block, "epochs": 2, "stored_seeds": 0}
    content = train(parameters | {"run": run}, data, tmp_path / "run")
    if enough:
        assert content["attrs"]["substitution"] == "others stand in for KMNIST."
        assert content["arrays"]["train_error"]["shape"] == [SEEDS, 3]
        return
    reason = content["attrs"]["unavailable"]
    assert reason.startswith(f"generated with {3 * SAMPLES} training samples: {2 * SAMPLES} could")
    assert "others stand in for KMNIST" in reason
    assert content["arrays"] == {}


def test_inversions_of_a_group_go_on(results: Path) -> None:
    both = open_store(results / "inversion/both", lazy=False)
    assert both.attrs["runs"] == ["main"]
    assert both["phi"].shape == (1, SEEDS)
    alone = open_store(results / "inversion/main", lazy=False)
    np.testing.assert_array_equal(both["phi"].values, alone["phi"].values)
    none = open_store(results / "inversion/kmnist", lazy=False)
    assert (none.attrs["runs"], len(none.data_vars)) == ([], 0)


def test_recomputed_geometry_goes_on(results: Path, tmp_path: Path) -> None:
    for name, sizes in {"main": SEEDS - 1, "kmnist": None}.items():
        run_main(
            "measure_geometry",
            input=store(results / "runs" / name),
            output=store(tmp_path / name),
            params=SimpleNamespace(workers=1, code="c"),
        )
        found = open_store(tmp_path / name)
        assert found.sizes.get("seed") == sizes
    assert manifest.read(tmp_path / "kmnist")["attrs"]["unavailable"] == REASON
    assert verify_stores(tmp_path).startswith("2 stores")


def test_runs_are_told_apart(results: Path, config: dict[str, Any]) -> None:
    table = entries(results, config, ("kmnist", "kmnist"), ("main", "main"), ("both", "kmnist"))
    data = load_runs(table)
    assert {group: [run.name for run in runs] for group, runs in data.items()} == {
        "kmnist": [],
        "main": ["main"],
        "both": [],
    }
    assert data.unavailable == {"kmnist": REASON}
    text = data_text(data["main"], data.unavailable)
    assert text.endswith(f"1 run left out: {REASON.rstrip('.')}")
    assert "left out" not in data_text(data["main"])


def figure_entry(*groups: str) -> dict[str, Any]:
    return {
        "title": "t",
        "paper": "p",
        "section": "s",
        "function": "pipeline.figures.stragglers.data_sets:fig3a",
        "runs": list(groups),
        "analyses": [],
        "options": {"lowest_error": 0.2},
    }


def test_a_figure_goes_on_and_says_what_is_missing(
    results: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    base = tmp_path / "fig3a"
    table = entries(results, config, ("main", "main"), ("kmnist", "kmnist"))
    run_main(
        "plot_figure",
        output=SimpleNamespace(png=f"{base}.png"),
        params=SimpleNamespace(
            figure=figure_entry("main", "kmnist"), runs=table, analyses={}, scale="smoke"
        ),
    )
    assert base.with_suffix(".png").stat().st_size > 1000
    caption = base.with_suffix(".rst").read_text(encoding="utf-8")
    assert "1 run left out: KMNIST was not found in any source" in caption
    assert f"n = {SEEDS} independent networks" in caption
    export_figure(base.with_suffix(".csv"), table, "t", tmp_path / "a.nc", tmp_path / "a.csv")
    assert (tmp_path / "a.nc").stat().st_size > 1000


def test_a_figure_of_nothing_else_is_an_empty_frame_with_the_reason(
    results: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    base = tmp_path / "fig3a"
    table = entries(results, config, ("kmnist", "kmnist"))
    run_main(
        "plot_figure",
        output=SimpleNamespace(png=f"{base}.png"),
        params=SimpleNamespace(
            figure=figure_entry("kmnist"), runs=table, analyses={}, scale="smoke"
        ),
    )
    assert "Nothing could be drawn" in base.with_suffix(".svg").read_text("utf-8")  # in lines
    assert REASON in base.with_suffix(".csv").read_text("utf-8")
    assert f"Nothing could be drawn: {REASON}" in base.with_suffix(".rst").read_text("utf-8")
    export_figure(base.with_suffix(".csv"), table, "t", tmp_path / "a.nc", tmp_path / "a.csv")
    assert (tmp_path / "a.nc").stat().st_size > 1000


def test_an_analysis_of_nothing_else_holds_the_reason(
    results: Path, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the script sets it
    entry = config["stragglers"]["analyses"]["stability"]
    for groups in (["kmnist"], ["kmnist", "main"]):
        folder = tmp_path / "_".join(groups)
        table = entries(results, config, *((group, group) for group in groups))
        chosen = {
            "analysis": {**entry, "runs": groups, "options": {"epochs": [1, 3, 5]}},
            "seed": 1,
        }
        run_main(
            "run_analysis",
            output=store(folder),
            params=SimpleNamespace(
                runs=table, analyses={}, cache=str(tmp_path), config=chosen, threads=1, code="c"
            ),
        )
    nothing, one = (open_store(tmp_path / name) for name in ("kmnist", "kmnist_main"))
    assert (nothing.attrs["unavailable"], len(nothing.data_vars)) == (REASON, 0)
    assert "unavailable" not in one.attrs
    assert one.sizes["curve"] == 1


def test_claims_go_on_and_those_without_data_say_so(
    results: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    def claim(name: str, *groups: str) -> dict[str, Any]:
        function = "pipeline.claims.stragglers.dynamics:straggler_count"
        about = {"kind": "about", "value": 800.0, "figure": "1b", "quantity": "q", "section": "s"}
        return {"id": name, "function": function, "runs": list(groups), "analyses": []} | about

    table = entries(results, config, ("main", "main"), ("kmnist", "kmnist"))
    path = tmp_path / "claims.json"
    claims = [claim("here", "main"), claim("gone", "kmnist"), claim("half", "main", "kmnist")]
    run_main(
        "measure_claims",
        output=[str(path)],
        wildcards=SimpleNamespace(paper="stragglers"),
        params=SimpleNamespace(claims=claims, runs=table, analyses={}, scale="smoke"),
    )
    here, gone, half = json.loads(path.read_text(encoding="utf-8"))["claims"]
    assert here["measurement"]["n"] == SEEDS
    for row in (gone, half):
        assert row["measurement"] is None
        assert decide(row) == (NO_DATA, f"not measured: {REASON}")
