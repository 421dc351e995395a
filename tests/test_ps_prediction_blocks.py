"""Predictions block by block: the same results as whole, in memory that samples and classes do not change."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made_up_models import SAMPLES, labels_of, made_up_runs
from made_up_predictions import ROOTS, prediction_store, softmax, trajectory
from made_up_trajectories import given

from pipeline.analysis import prediction_blocks
from pipeline.analysis.distances import distances
from pipeline.analysis.embedding import point_distances
from pipeline.analysis.four_points import four_points
from pipeline.analysis.models import models
from pipeline.analysis.prediction_blocks import (
    distances_to_points,
    predictions_of,
    sample_blocks,
)
from pipeline.analysis.starts import starts
from pipeline.analysis.stored_models import stored_models
from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import ignorance, truth
from pipeline.geometry.bhattacharyya.sources import Source, prediction_sources
from pipeline.geometry.prediction_distances import DISTANCES, prediction_distances
from pipeline.geometry.progress import geodesic
from pipeline.runs import Place, RunGroups

CHUNK = 20  # samples of a chunk of a made-up store


@pytest.fixture(scope="module")
def p() -> np.ndarray:
    return np.concatenate([trajectory(seed)[0] for seed in (0, 1)])  # 80 models, 60 samples


@pytest.fixture(scope="module")
def sources(p: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    folder = tmp_path_factory.mktemp("stores")
    stores = [prediction_store(folder / str(k), p[40 * k : 40 * (k + 1)]) for k in (0, 1)]
    return prediction_sources(stores, ROOTS)


def blocks_of(monkeypatch: pytest.MonkeyPatch, models: int, samples: int, classes: int) -> None:
    """So many models, and samples of so many, at a time."""
    monkeypatch.setattr(prediction_blocks, "MODELS", models)
    monkeypatch.setattr(prediction_blocks, "BLOCK_BYTES", 8 * models * samples * classes)


def test_every_sample_of_every_model_comes_once(
    p: np.ndarray, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(monkeypatch, 24, 50, 10)
    samples = list(sample_blocks(sources))
    assert [(one.start, one.stop) for one in samples] == [(0, 40), (40, 60)]  # whole chunks
    chosen = np.array([0, 3, 30, 31, 79])
    for picked in (None, chosen):
        found = np.full((80 if picked is None else 5, 60, 10), np.nan)
        for some in samples:
            for places, values in predictions_of(sources, some, picked):
                assert np.isnan(found[places, some]).all()
                found[places, some] = values
        np.testing.assert_allclose(found, p if picked is None else p[picked], atol=1e-7)


def test_many_points_make_blocks_smaller(
    sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(monkeypatch, 24, 50, 10)
    assert [one.stop - one.start for one in sample_blocks(sources, 600)] == [2] * 30


@pytest.mark.parametrize("kind", ["bhattacharyya", *DISTANCES])
def test_distances_to_points_are_means_over_all_blocks(
    kind: str, p: np.ndarray, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = softmax(np.random.default_rng(2).standard_normal((3, 60, 10)))
    blocks_of(monkeypatch, 24, 50, 10)
    found = distances_to_points(sources, lambda some: points[:, some], kind=kind)
    wanted = prediction_distances(points, p, kind=kind)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_memory_does_not_grow_with_samples_and_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The points of the geodesic alone would be 51 x 1,000 x 50 x 8 bytes, 20 MB."""
    values, labels = trajectory(3, models=16, samples=1000, classes=50)
    stored = prediction_sources([prediction_store(tmp_path / "p", values)], ROOTS)
    fractions = np.linspace(0, 1, 51)
    blocks_of(monkeypatch, 16, 40, 50)  # 0.3 MB

    def points(some: slice) -> np.ndarray:
        return geodesic(ignorance(some.stop - some.start, 50), truth(labels[some], 50), fractions)

    distances_to_points(stored, points, beside=51)  # compiles
    tracemalloc.start()
    found = distances_to_points(stored, points, beside=51)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (51, 16)
    assert peak < 6e6


def test_what_is_no_prediction_is_named(p: np.ndarray, tmp_path: Path) -> None:
    broken = p[:5].copy()
    broken[3, 41] = 0
    stored = prediction_sources([prediction_store(tmp_path / "p", broken)], ROOTS)
    with pytest.raises(GeometryError, match=r"\[3, 41\] of the store .* are no roots"):
        distances_to_points(stored, lambda some: p[:2, some])


def test_analyses_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 samples, blocks of 7."""
    groups = {"sgd": [{}, {"network": "vit"}], "adam": [{"reach": 8.0}]}
    runs = made_up_runs(tmp_path / "runs", groups)
    data = given(runs, tmp_path, models=models(runs, {"seed": 0}))
    place = Place(tmp_path / "matrix", tmp_path / "cache", {"config": {}, "code": "test"}, 1)
    distances(runs, {"seed": 0, "split": "train", "side": 16}, place)
    data.folders["distances"] = place.folder
    known = stored_models(runs)
    assert SAMPLES["train"] == labels_of("train").size == 40

    def made() -> list[np.ndarray]:
        options = {"seed": 0, "at": [[0.4, 0.7], [0.5, 0.6]]}
        points = four_points(data, {**options, "limit": 0.6})
        ways = starts(data, {"seed": 0, "points": 3})
        kinds = [
            point_distances(known, "train", kind, np.array([0.0, 0.3, 1.0]))
            for kind in ("bhattacharyya", "symmetrised_kl")
        ]
        named = ["four_point_inpca", "four_point_place", "four_point_explained", "four_point_rmsd"]
        path = ways["path_inpca"].values[..., :3]  # smaller eigenvalues magnify rounding
        return [*kinds, *(points[one].values for one in named), path, ways["path_ignorance"].values]

    whole = made()
    blocks_of(monkeypatch, 8, 7, 5)
    for one, other in zip(made(), whole, strict=True):
        np.testing.assert_allclose(np.abs(one), np.abs(other), atol=1e-6)


def test_first_models_of_runs(tmp_path: Path) -> None:
    runs = RunGroups(made_up_runs(tmp_path, {"sgd": [{"seeds": 1}, {"failed": (0,)}, {}]}))
    found = stored_models(runs)
    assert found.first_of_run.tolist() == [0, 7, 14]
    assert found.run[found.first_of_run].tolist() == [0, 1, 2]
