"""Networks that start from random labels, and centroids of ensembles, as analyses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_models import CLASSES, UPDATES, labels_of, made_up_runs
from made_up_predictions import plain_distances
from made_up_trajectories import PLACE, given

from pipeline.analysis.centroids import centroids
from pipeline.analysis.distances import distances
from pipeline.analysis.models import models
from pipeline.analysis.starts import merging, random_labels, starts
from pipeline.analysis.stored_models import stored_predictions
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.geometry.inpca import embed
from pipeline.geometry.progress import CENTROIDS, centroid, geodesic, progress
from pipeline.runs import Place, RunGroups
from pipeline.seeds import generator
from pipeline.store.variables import validate

GROUPS: dict[str, list[dict[str, Any]]] = {
    "ensemble": [{"seeds": 2}],
    "first_labels": [{"labelling": 0, "seeds": 1}],
    "then_true": [{"start_from": "first_labels_1", "seeds": 2}],
}
EACH = len(UPDATES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    folder = tmp_path_factory.mktemp("starts")
    runs = made_up_runs(folder / "runs", GROUPS)
    found = given(runs, folder, models=models(runs, {"seed": 0}))
    place = Place(folder / "matrix", folder / "cache", {"config": {}, "code": "test"}, 1)
    distances(runs, {"seed": 0, "split": "test", "side": 16}, place)
    found.folders["distances"] = place.folder
    return found


def predictions(data: RunGroups) -> np.ndarray:
    parts = [
        stored_predictions(run, "test")["root_probabilities"].values.astype(float) ** 2
        for group in data.values()
        for run in group
    ]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def found(data: RunGroups) -> xr.Dataset:
    result = starts(data, {"seed": 0, "points": 5, "near": 0.05})
    validate(result)
    return result


def test_the_nearest_models_are_of_other_networks_from_random_weights(
    data: RunGroups, found: xr.Dataset
) -> None:
    apart = plain_distances(predictions(data), predictions(data))
    expected = np.r_[
        apart[:EACH, EACH : 2 * EACH].min(axis=1),
        apart[EACH : 2 * EACH, :EACH].min(axis=1),
        apart[2 * EACH :, : 2 * EACH].min(axis=1),
    ]
    np.testing.assert_allclose(found["nearest_distance"], expected, atol=1e-6)
    assert found["model_stage"].values.tolist() == [0] * 2 * EACH + [1] * EACH + [2] * 2 * EACH


def test_ways_from_random_labels(data: RunGroups, found: xr.Dataset) -> None:
    p, y = predictions(data), labels_of("test")
    flat = np.full((1, y.size, CLASSES), 1 / CLASSES)
    for start in range(2):
        mine = slice((3 + start) * EACH, (4 + start) * EACH)
        least = plain_distances(p[mine], flat).min()
        assert found["least_ignorance_distance"].values[start] == pytest.approx(least, abs=1e-6)
        k = merging(found["nearest_distance"].values[mine], 0.05)
        told = found["merging_progress"].values[start]
        assert k is not None
        assert told == pytest.approx(progress(p[mine], y)[k], abs=1e-6)
        assert found["merging_epoch"].values[start] == UPDATES[k] / 4
    assert found["start_seed"].values.tolist() == [0, 1]


def test_the_error_on_random_labels_is_that_of_the_last_model(
    data: RunGroups, found: xr.Dataset
) -> None:
    (run,) = data["first_labels"]
    roots = stored_predictions(run, "train")["root_probabilities"].values
    wrong = roots[-1].argmax(axis=1) != random_labels(run, CLASSES, 0)[: roots.shape[1]]
    assert found["labelling_error"].values.tolist() == [wrong.mean()]
    assert 0 < wrong.mean() < 1


@pytest.mark.parametrize(
    ("nearest", "first"),
    [([3, 1, 3, 1, 1], 3), ([1, 1], 0), ([3, 1, 3], None), ([np.nan, 1], 1), ([2], None)],
)
def test_merging_is_for_good(nearest: list[float], first: int | None) -> None:
    assert merging(np.array(nearest, dtype=float), 2.0) == first


def test_geodesics_are_put_into_the_embedding(data: RunGroups, found: xr.Dataset) -> None:
    p, y = predictions(data), labels_of("test")
    name = "first_labels_1"
    assert found.attrs["path_ends"] == "last models"
    assert found.attrs["paths"] == [
        "ignorance to truth",
        f"ignorance to {name}",
        f"{name} to truth",
    ]
    last = p[3 * EACH - 1]
    points = geodesic(last, np.eye(CLASSES)[y], np.linspace(0, 1, 5))
    plain = embed(plain_distances(p, p), 3)
    at = plain.transform(plain_distances(points, p))
    np.testing.assert_allclose(
        np.abs(found["path_inpca"].values[2, :, :2]), np.abs(at[:, :2]), atol=1e-4
    )
    flat = np.full((1, y.size, CLASSES), 1 / CLASSES)
    gap = plain_distances(points, flat)[:, 0]
    np.testing.assert_allclose(found["path_ignorance"].values[2], gap, atol=1e-6)
    np.testing.assert_allclose(found["explained_stress"][:3], plain.explained_stress, atol=1e-5)


def test_geodesics_of_train_samples_end_at_the_random_labels(tmp_path: Path) -> None:
    runs = made_up_runs(tmp_path / "runs", GROUPS)
    given_runs = given(runs, tmp_path, models=models(runs, {"seed": 7}))
    place = Place(tmp_path / "matrix", tmp_path / "cache", {"config": {}, "code": "test"}, 1)
    distances(runs, {"seed": 7, "split": "train", "side": 16}, place)
    given_runs.folders["distances"] = place.folder
    found = starts(given_runs, {"seed": 7, "points": 5})
    y = labels_of("train")
    drawn = generator(7, "labelling", 0, "labels").integers(0, CLASSES, y.size)
    points = geodesic(np.eye(CLASSES)[drawn], np.eye(CLASSES)[y], np.linspace(0, 1, 5))
    flat = np.full((1, y.size, CLASSES), 1 / CLASSES)
    gap = plain_distances(points, flat)[:, 0]
    np.testing.assert_allclose(found["path_ignorance"].values[2], gap, atol=1e-6)
    # between two labels that differ, in the middle, and between equal ones
    differ = (drawn != y).mean()
    middle = differ * np.log(CLASSES / 2) / 2 + (1 - differ) * np.log(CLASSES) / 2
    assert found["path_ignorance"].values[2, 2] == pytest.approx(middle, abs=1e-6)
    assert found.attrs["path_ends"] == "labellings"


def test_without_its_analyses_it_is_refused(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="No analysis with distance_tiles"):
        starts(RunGroups(data), {"seed": 0})
    only = RunGroups(data, folders={"distances": data.folders["distances"]})
    with pytest.raises(PipelineError, match="No analysis with model_metrics"):
        starts(only, {"seed": 0})


# --- centroids ------------------------------------------------------------------------------------


def test_centroids_at_equal_updates(tmp_path: Path) -> None:
    runs = made_up_runs(tmp_path, {"ensemble": [{"seeds": 3, "failed": (1,)}]})
    found = centroids(runs, {"seed": 0}, PLACE)
    validate(found)
    assert found.sizes == {"split": 2, "centroid": 6, "record": EACH, "network": 2}
    p = stored_predictions(runs["ensemble"][0], "test")["root_probabilities"].values.astype(float)
    p, y = np.square(p).reshape(2, EACH, -1, CLASSES), labels_of("test")
    for k, kind in enumerate(CENTROIDS):
        mean = centroid(p[:, 3], kind)
        told = found["centroid_progress"].values[1, k, 3]
        assert told == pytest.approx(progress(mean[None], y)[0], abs=1e-9)
        wrong = (mean.argmax(axis=1) != y).mean()
        assert found["centroid_error"].values[1, k, 3] == wrong
    alone = found["network_progress"].values[1, :, -1]  # of two, one is left out: the other stays
    np.testing.assert_allclose(found["left_out_progress"].values[1, 3], alone[::-1], atol=1e-6)
    assert found["record_update"].values.tolist() == list(UPDATES)
    assert found.attrs["undefined"] == []


def test_ensembles_that_make_no_sense(tmp_path: Path, data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="networks of one run, but 3 were given"):
        centroids(data, {"seed": 0}, PLACE)
    with pytest.raises(PipelineError, match="kinds names median; valid are: arithmetic"):
        centroids(data, {"seed": 0, "kinds": ["median"]}, PLACE)
    one = made_up_runs(tmp_path, {"ensemble": [{"seeds": 1}]})
    with pytest.raises(NotMeasurable, match="two networks"):
        centroids(one, {"seed": 0}, PLACE)
