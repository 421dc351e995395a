"""The rule script of data sets, run outside of Snakemake."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.data import datasets
from pipeline.errors import DataError

SCRIPT = Path(__file__).parents[1] / "workflow" / "scripts" / "prepare_data.py"


def fake_snakemake(folder: Path, entry: dict[str, object], root: Path) -> SimpleNamespace:
    return SimpleNamespace(
        output=SimpleNamespace(store=str(folder / "store"), manifest=str(folder / "manifest.json")),
        params=SimpleNamespace(
            entry=entry, root=str(root), sources=["folder"], code="made-up", config={"seed": 1}
        ),
        log=[str(folder / "log.txt")],
    )


def test_script_writes_a_store_that_opens(tmp_path: Path) -> None:
    from pipeline.store.reader import open_store

    options = {"train_samples": 30, "test_samples": 10}
    entry = {"loader": "pipeline.data.generated:generated", "options": options}
    folder = tmp_path / "generated"
    manifests = []
    for _ in range(2):
        runpy.run_path(str(SCRIPT))["main"](fake_snakemake(folder, entry, tmp_path))
        manifests.append((folder / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
    found = open_store(folder)
    expected = datasets.load("generated", **options)
    np.testing.assert_array_equal(found["images"].values[:30], expected.train_images)
    np.testing.assert_array_equal(found["labels"].values[30:], expected.test_labels)
    assert found["split"].values.tolist() == [0] * 30 + [1] * 10
    assert found.attrs["name"] == "generated"
    assert "origin" not in found.attrs  # it would change the manifest of the same images
    written = json.loads((folder / "store" / "provenance.json").read_text())
    assert written["origin"]["train_samples"] == 30


def test_script_passes_the_one_sentence_on(tmp_path: Path) -> None:
    entry = {"loader": "pipeline.data.idx:mnist"}
    with pytest.raises(DataError, match="mnist was not found in any source"):
        runpy.run_path(str(SCRIPT))["main"](fake_snakemake(tmp_path / "mnist", entry, tmp_path))
    assert not (tmp_path / "mnist" / "manifest.json").exists()
