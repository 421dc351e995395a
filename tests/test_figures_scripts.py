"""The rule scripts from geometry to scorecard, each run outside of Snakemake on small stores."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_runs import CONFIG, make_trajectories

from pipeline.geometry.radii import METRICS, class_manifold_geometry
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"


class Output(list):
    """Snakemake's outputs: by position and by name."""

    def __init__(self, **names):
        super().__init__(str(path) for path in names.values())
        for name, path in names.items():
            setattr(self, name, str(path))


def run_script(name, folder, **parts):
    snakemake = SimpleNamespace(rule=name, log=[str(folder / f"{name}.log")], threads=1, **parts)
    runpy.run_path(str(SCRIPTS / f"{name}.py"), init_globals={"snakemake": snakemake})


def store(folder):
    return {"store": folder / "store", "manifest": folder / "manifest.json"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder that holds the trajectories of one run with stored activations."""
    root = tmp_path_factory.mktemp("results")
    dataset = make_trajectories(4, failed=(1,))
    h = np.random.default_rng(0).normal(size=(2, 1, 100, 3)).astype(np.float32)
    labels = np.where(np.arange(100) % 2, 1, -1).astype(np.int8)
    for checkpoint, epoch in enumerate((0, 60)):
        found = class_manifold_geometry(h[checkpoint, 0], labels)
        for name in METRICS:
            dataset[name][0, epoch, 0] = found[name]
    dataset["activations_1"] = (("checkpoint", "stored_seed", "sample", "unit_1"), h)
    dataset["binary_labels"] = ("sample", labels)
    dataset = dataset.assign_coords(
        stored_seed=[0], checkpoint_epoch=("checkpoint", np.array([0, 60]))
    )
    origin = {"config": {"run": CONFIG}, "seeds": {}, "commit": "abc", "dirty": False}
    write_dataset(dataset, root / "runs", origin)
    return root


@pytest.fixture(scope="module")
def inversion(results):
    run_script(
        "find_inversion",
        results,
        input=SimpleNamespace(manifests=[str(results / "runs" / "manifest.json")]),
        output=Output(**store(results / "inversion")),
        params=SimpleNamespace(config={"layer": 1}, code="c0de"),
    )
    return results / "inversion"


def test_measure_geometry(results):
    run_script(
        "measure_geometry",
        results,
        input=Output(**store(results / "runs")),
        output=Output(**store(results / "geometry")),
        params=SimpleNamespace(workers=1, code="c0de"),
    )
    measured = open_store(results / "geometry")
    assert measured.attrs["max_difference"] < 1e-13
    assert measured["distance"].shape == (1, 2, 1)


def test_find_inversion(results, inversion):
    found = open_store(inversion)
    assert list(found["seed"].values) == [0, 2, 3]
    assert (found.attrs["runs"], found.attrs["layers"]) == (["runs"], [1])
    assert found["found"].values.tolist() == [[True, True, True]]


def runs(results, inversion):
    shared = {"config": CONFIG, "trajectories": str(results / "runs"), "inversion": str(inversion)}
    return [{"group": "main", "name": "runs", **shared}]


def test_plot_figure(results, inversion):
    base = results / "figures" / "fig1b"
    entry = {
        "title": "t",
        "paper": "p",
        "section": "s",
        "options": {},
        "analyses": [],
        "function": "pipeline.figures.stragglers.dynamics:fig1b",
        "runs": ["main"],
    }
    outputs = {kind: f"{base}.{kind}" for kind in ("png", "svg", "csv", "rst")}
    run_script(
        "plot_figure",
        results,
        input=Output(),
        output=Output(**outputs),
        params=SimpleNamespace(
            figure=entry, runs=runs(results, inversion), analyses={}, scale="smoke"
        ),
    )
    assert all(Path(path).stat().st_size > 0 for path in outputs.values())
    assert "n = 3 independent networks; 1 more diverged" in Path(outputs["rst"]).read_text()


def test_claims_and_scorecard(results, inversion):
    def claim(name, group):
        function = f"pipeline.claims.stragglers.dynamics:{name}"
        about = {"kind": "about", "value": 12.0, "unit": "epochs", "figure": "1b", "quantity": "q"}
        return (
            {"id": name, "function": function, "runs": [group], "section": "s"}
            | about
            | {"analyses": []}
        )

    path = results / "claims" / "stragglers.json"
    run_script(
        "measure_claims",
        results,
        input=Output(),
        output=Output(json=path),
        wildcards=SimpleNamespace(paper="stragglers"),
        params=SimpleNamespace(
            claims=[
                *(claim(name, "main") for name in ("inversion_epoch", "straggler_overlap")),
                claim("block_invariance", "blocks"),
            ],
            runs=runs(results, inversion),
            analyses={},
            scale="smoke",
        ),
    )
    outputs = {kind: results / f"scorecard.{kind}" for kind in ("csv", "html")}
    run_script("make_scorecard", results, input=[path], output=Output(**outputs))
    lines = outputs["csv"].read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert ",agrees," in lines[1]
    assert ",not run at this scale," in lines[3]
    assert "Scorecard" in outputs["html"].read_text(encoding="utf-8")


def test_bad_input_is_one_sentence(results, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run_script(
            "find_inversion",
            tmp_path,
            input=SimpleNamespace(manifests=[str(results / "runs" / "manifest.json")]),
            output=Output(**store(tmp_path / "inversion")),
            params=SimpleNamespace(config={"layer": 7}, code="c0de"),
        )
    assert stop.value.code == 1
    assert "Layer 7 was not recorded" in capsys.readouterr().err
    assert not (tmp_path / "inversion" / "manifest.json").exists()
