"""Metrics of stored predictions: kernel = wrapper, chunked = whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up_predictions import RECORD, ROOTS, prediction_store, trajectory

from pipeline.errors import GeometryError
from pipeline.geometry import predictions
from pipeline.geometry.bhattacharyya import pairwise_distances, truth_distances
from pipeline.geometry.bhattacharyya.sources import prediction_sources
from pipeline.geometry.bhattacharyya.stored import TileMatrix, measure_tiles
from pipeline.geometry.inpca import embed
from pipeline.geometry.predictions import (
    measure_distances,
    measure_embedding,
    measure_predictions,
)
from pipeline.geometry.progress import geodesic_distances, progress
from pipeline.store.reader import open_store
from pipeline.store.variables import validate


@pytest.mark.parametrize("chunk", [None, 1, 7, 40])
def test_metrics_are_those_of_the_kernels(chunk: int | None) -> None:
    p, labels = trajectory(0)
    given = xr.DataArray(p, dims=("model", "sample", "class"), coords={"model": np.arange(40)})
    if chunk is not None:
        given = given.chunk({"model": chunk, "sample": 13})
    found = measure_predictions(given, labels)
    if chunk is not None:
        assert found["progress"].chunks is not None
    np.testing.assert_array_equal(found["progress"], progress(p, labels))
    np.testing.assert_array_equal(found["truth_distance"], truth_distances(p, labels))
    np.testing.assert_array_equal(found["geodesic_distance"], geodesic_distances(p, labels))
    np.testing.assert_array_equal(found["error"], (p.argmax(axis=2) != labels).mean(axis=1))
    assert found["model"].values.tolist() == list(range(40))
    validate(found.drop_vars("model").compute())


def test_metrics_and_embeddings_of_a_store(tmp_path: Path) -> None:
    p, labels = trajectory(1)
    folder = prediction_store(tmp_path / "run", p)
    roots = open_store(folder)[ROOTS]
    found = measure_predictions(roots, labels, roots=True).compute()
    np.testing.assert_allclose(found["progress"], progress(p, labels), atol=1e-6)
    distances = measure_distances(roots, roots=True)
    np.testing.assert_allclose(distances, pairwise_distances(p), atol=1e-7)
    measure_tiles(prediction_sources([folder], ROOTS), tmp_path / "D", RECORD, side=16)
    wanted = embed(pairwise_distances(p), 3)
    scale = np.abs(wanted.coordinates).max()
    for given in (distances, TileMatrix(tmp_path / "D")):
        made = measure_embedding(given, 3)
        validate(made)
        np.testing.assert_allclose(made["inpca"], wanted.coordinates, atol=1e-4 * scale)
        np.testing.assert_array_equal(made["signature"], wanted.signature)


def test_other_dimensions_are_refused() -> None:
    wrong = xr.DataArray(np.ones((2, 3)), dims=("model", "class"))
    for function in (measure_distances, lambda x: measure_predictions(x, [0])):
        with pytest.raises(GeometryError, match="dimensions"):
            function(wrong)


@pytest.mark.parametrize("chunk", [None, 3])
def test_log_likelihoods_keep_what_roots_cannot_hold(chunk: int | None) -> None:
    p, labels = trajectory(0, models=8)
    roots = xr.DataArray(np.sqrt(p).astype(np.float32), dims=("model", "test_sample", "class"))
    logs = xr.DataArray(np.full((8, 60), -500.0, np.float32), dims=("model", "test_sample"))
    logs[1] = -30.0
    if chunk:
        roots, logs = roots.chunk({"model": chunk}), logs.chunk({"model": 5})
    found = measure_predictions(roots, labels, roots=True, log_likelihood=logs)
    np.testing.assert_allclose(found["truth_distance"], [100, 15, *[100] * 6])
    np.testing.assert_allclose(found["progress"], progress(p, labels), atol=1e-5)


def test_a_task_has_few_models_where_samples_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "TASK_BYTES", 8 * 60 * 10 * 4)
    p, labels = trajectory(0)
    given = xr.DataArray(p, dims=("model", "sample", "class")).chunk({"model": 40})
    found = measure_predictions(given, labels)
    assert found["progress"].chunks == ((4,) * 10,)
    np.testing.assert_array_equal(found["progress"], progress(p, labels))
