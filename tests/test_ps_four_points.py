"""The four-point embedding of stored models: against kernels that hold all, choices of models, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_models import UPDATES, labels_of, made_up_runs
from made_up_predictions import plain_distances

from pipeline.analysis.distances import distances
from pipeline.analysis.four_points import four_points
from pipeline.analysis.models import models
from pipeline.analysis.stored_models import stored_predictions
from pipeline.errors import GeometryError, NotMeasurable, PipelineError
from pipeline.geometry.bhattacharyya import truth_distances
from pipeline.geometry.bhattacharyya.chosen import (
    chosen_explained,
    chosen_products,
    chosen_sums,
)
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.geometry.inpca import align, embed, explained_distances, four_point_embedding
from pipeline.geometry.inpca.four_points import progress_mean, progress_weights
from pipeline.geometry.progress import progress
from pipeline.runs import Place, RunGroups
from pipeline.store.variables import validate
from pipeline.store.writer import StoreWriter

RECORD = {"config": {}, "code": "test"}
GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"network": "all_cnn"},
        {"network": "all_cnn", "batch_size": 20},
        {"network": "vit", "failed": (0,), "seeds": 3},
    ],
    "adam": [{"network": "all_cnn", "optimizer": "adam_minibatch", "reach": 8.0}],
}
LIMIT = 0.6  # below the distance of the initial models, so that some are left out
AT = [0.4, 0.7]


def written(folder: Path, found: xr.Dataset) -> Path:
    """A store of a result."""
    writer = StoreWriter(folder, found.attrs)
    for name, values in found.variables.items():
        writer.create(str(name), values.shape, dtype=values.dtype)
        writer.write(str(name), values.values)
    writer.close(RECORD)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    folder = tmp_path_factory.mktemp("four_points")
    runs = made_up_runs(folder, GROUPS)
    matrix = Place(folder / "matrix", folder / "cache", RECORD, 1)
    distances(runs, {"seed": 0, "split": "train", "side": 16}, matrix)
    metrics = written(folder / "models", models(runs, {"seed": 0}))
    return RunGroups(runs, folders={"models": metrics, "distances_train": matrix.folder})


@pytest.fixture(scope="module")
def found(data: RunGroups) -> xr.Dataset:
    return four_points(data, {"seed": 0, "limit": LIMIT, "at": [AT, [0.5, 0.6]]})


def probabilities(data: RunGroups) -> np.ndarray:
    return np.concatenate(
        [
            stored_predictions(run, "train")["root_probabilities"].values.astype(float) ** 2
            for group in data.values()
            for run in group
        ]
    )


def test_it_is_that_of_all_models_held_at_once(data: RunGroups, found: xr.Dataset) -> None:
    p, y = probabilities(data), labels_of("train")
    near = truth_distances(p, y) < LIMIT
    assert 0 < found.attrs["left_out"] == (~near).sum()
    held = p[near]
    points, coordinates = four_point_embedding(held, y, progress(held, y), at=(0.4, 0.7))
    D = plain_distances(held, held)
    reference = embed(D, 3)
    np.testing.assert_allclose(found["eigenvalue"][:3], reference.eigenvalues, atol=1e-5)
    np.testing.assert_allclose(found["four_point_eigenvalue"][0], points.eigenvalues, atol=1e-6)
    assert found["four_point_signature"][0].values.tolist() == points.signature.tolist()
    wanted = explained_distances(D, coordinates, points.signature)
    np.testing.assert_allclose(found["four_point_explained"][0], wanted, atol=1e-5)
    motion = align(coordinates, found["inpca"].values[:, :3])
    assert found["four_point_rmsd"].values[0] == pytest.approx(motion.rmsd, abs=1e-6)
    gaps = found["four_point_inpca"].values[0] - found["inpca"].values[:, :3]
    assert np.sqrt((gaps**2).sum(axis=1).mean()) == pytest.approx(motion.rmsd, abs=1e-6)
    validate(found)


def test_the_points_keep_their_distances_to_the_models(data: RunGroups, found: xr.Dataset) -> None:
    """Alignment is rigid: aligned gaps between the four points are those of their own embedding."""
    p, y = probabilities(data), labels_of("train")
    near = truth_distances(p, y) < LIMIT
    points, _ = four_point_embedding(p[near], y, progress(p[near], y), at=(0.4, 0.7))
    ours, theirs = found["four_point_place"].values[0], points.coordinates
    for i in range(4):
        gap, own = (
            np.linalg.norm(ours - ours[i], axis=1),
            np.linalg.norm(theirs - theirs[i], axis=1),
        )
        np.testing.assert_allclose(gap, own, atol=1e-6)


def test_runs_are_chosen_by_their_settings(data: RunGroups) -> None:
    where = {"network": ["all_cnn"], "batch_size": [10]}
    options = {"where": where, "components": 4}
    found = four_points(data, {"seed": 0, "at": [AT], **options})
    assert np.unique(found["model_run"]).tolist() == [0, 3]
    assert found.sizes["model"] == 4 * len(UPDATES)
    p = probabilities(data)
    p = np.concatenate([p[: 2 * len(UPDATES)], p[-2 * len(UPDATES) :]])
    np.testing.assert_allclose(
        found["eigenvalue"], embed(plain_distances(p, p), 4).eigenvalues, atol=1e-5
    )


def test_without_runs_of_these_settings_nothing_is_measured(data: RunGroups) -> None:
    where = {"network": ["all_cnn"], "weight_decay": [0.1, 0.2]}
    reason = "no run of this scale has network all_cnn, weight_decay 0.1 or 0.2"
    with pytest.raises(NotMeasurable, match=reason):
        four_points(data, {"seed": 0, "where": where})


def test_a_mean_without_models_is_none(data: RunGroups) -> None:
    found = four_points(data, {"seed": 0, "at": [[0.4, 0.999], AT], "width": 0.001})
    assert np.isnan(found["four_point_rmsd"].values[0])
    assert "No model has a progress near" in found.attrs["undefined"][0]
    assert np.isfinite(found["explained_distance"]).all()


def test_chosen_models_of_a_matrix_are_a_matrix_of_their_own(data: RunGroups) -> None:
    matrix = TileMatrix(data.folders["distances_train"])
    chosen = np.array([0, 3, 15, 16, 17, 40, matrix.models - 1])
    D = matrix.whole()[np.ix_(chosen, chosen)].astype(float)
    sums = chosen_sums(matrix, chosen)
    np.testing.assert_allclose(sums.rows, D.sum(axis=1), rtol=1e-12)
    assert sums.squares == pytest.approx((D**2).sum())
    x = np.random.default_rng(0).standard_normal((len(chosen), 3))
    np.testing.assert_allclose(chosen_products(matrix, chosen)(x), D @ x, atol=1e-12)
    sign = np.array([1, -1, 1])
    told = chosen_explained(matrix, chosen, [(x, sign), (x[:, :1], sign[:1])])
    np.testing.assert_allclose(told[0], explained_distances(D, x, sign))
    assert told[1] == pytest.approx(told[0][:1])
    with pytest.raises(GeometryError, match="rising indices from 0 to"):
        chosen_sums(matrix, np.array([3, 2]))
    with pytest.raises(GeometryError, match="7 models and 3 dimensions"):
        chosen_explained(matrix, chosen, [(x[:-1], sign)])


def test_weights_along_progress() -> None:
    weights = progress_weights([0.25, 0.3, 0.4], 0.3)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(np.exp(0.5))
    assert weights[1] / weights[2] == pytest.approx(np.exp(2))
    p = np.random.default_rng(0).dirichlet(np.ones(3), (3, 5))
    wanted = np.tensordot(weights, p, axes=1)
    np.testing.assert_allclose(progress_mean(p, [0.25, 0.3, 0.4], 0.3), wanted)
    with pytest.raises(GeometryError, match="width is 0"):
        progress_weights([0.3], 0.3, 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"typo": 1}, "no options typo"),
        ({"at": [[0.3, 1.2]]}, "valid are pairs of numbers between 0 and 1"),
        ({"where": {"colour": ["red"]}}, "where names colour; valid are settings of the runs: aug"),
        ({"components": 2}, "components is 2; valid are 3 and more"),
        ({"limit": 0.001}, "0 models have a dB to the truth below 0.001"),
    ],
)
def test_options_that_make_no_sense(data: RunGroups, options: dict[str, Any], text: str) -> None:
    with pytest.raises(PipelineError, match=text):
        four_points(data, {"seed": 0, **options})


def test_what_is_needed_must_be_given_and_of_the_same_runs(data: RunGroups) -> None:
    alone = RunGroups(data, folders={"distances_train": data.folders["distances_train"]})
    with pytest.raises(PipelineError, match="No analysis with model_metrics was given"):
        four_points(alone, {"seed": 0})
    fewer = RunGroups({"sgd": data["sgd"]}, folders=data.folders)
    with pytest.raises(PipelineError, match="holds the distances of other runs"):
        four_points(fewer, {"seed": 0})
