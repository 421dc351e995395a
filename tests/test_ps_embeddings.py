"""Analyses of embeddings: closeness, train and test together, subsets of samples, principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_models import CLASSES, UPDATES, labels_of, made_up_runs
from made_up_predictions import plain_distances

from pipeline.analysis.closeness import closeness
from pipeline.analysis.distances import distances, drawn_mixture
from pipeline.analysis.embedding import embedding
from pipeline.analysis.joint_embedding import joint
from pipeline.analysis.principal_components import principal_components
from pipeline.analysis.sample_subsets import drawn_samples, subsets
from pipeline.analysis.stored_models import stored_predictions
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya.mixtures import mixed_classes
from pipeline.geometry.inpca import embed, explained_distances, pca
from pipeline.geometry.progress import geodesic
from pipeline.runs import Place, RunGroups

GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}, {"network": "vit", "failed": (0,), "seeds": 3}],
    "adam": [{"optimizer": "adam_minibatch", "reach": 2.0}],
}
MODELS = 6 * len(UPDATES)


def place(folder: Path, name: str = "matrix") -> Place:
    return Place(folder / name, folder / "cache", {"config": {}, "code": "test"}, 1)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    """Runs, and their Bhattacharyya distances of train and test samples."""
    folder = tmp_path_factory.mktemp("runs")
    runs = made_up_runs(folder / "runs", GROUPS)
    for split in ("train", "test"):
        there = place(folder, split)
        distances(runs, {"seed": 0, "split": split, "side": 16}, there)
        runs.folders[split] = there.folder
    there = place(folder, "euclidean")
    distances(runs, {"seed": 0, "split": "test", "kind": "euclidean"}, there)
    runs.folders["euclidean"] = there.folder
    return runs


def only(given: RunGroups, *names: str) -> RunGroups:
    return RunGroups(given, folders={name: given.folders[name] for name in names})


def probabilities(runs: RunGroups, split: str) -> np.ndarray:
    parts = [
        stored_predictions(run, split)["root_probabilities"].values.astype(float) ** 2
        for group in runs.values()
        for run in group
    ]
    return np.concatenate(parts)


def test_closeness_is_the_distance_to_points_and_to_last_models(given: RunGroups) -> None:
    ends = [
        {"network": "vit", "optimizer": "sgd_minibatch"},
        {"network": "conv_mixer"},
        {"optimizer": "adam_minibatch"},
    ]
    options = {"seed": 0, "split": "test", "progress": [0.0, 0.5], "ends": ends}
    found = closeness(only(given, "test"), options)
    p, y = probabilities(given, "test"), labels_of("test")
    flat = np.full((y.size, CLASSES), 1 / CLASSES)
    middle = geodesic(flat, np.eye(CLASSES)[y], [0.5])[0]
    last = len(UPDATES) - 1
    vit, adam = 2 * len(UPDATES) + last, 4 * len(UPDATES) + last  # of their first networks
    targets = np.stack([flat, middle, p[vit], p[adam]])
    np.testing.assert_allclose(found["target_distance"], plain_distances(targets, p), atol=1e-6)
    assert found["target_model"].values.tolist() == [-1, -1, vit, adam]
    assert found.attrs["targets"][2:] == ["vit, sgd_minibatch", "adam_minibatch"]
    assert found.attrs["absent"] == ["conv_mixer"]
    np.testing.assert_array_equal(found["target_progress"], [0, 0.5, np.nan, np.nan])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"split": "test"}, "has no target"),
        ({"split": "test", "ends": [{"netwrok": "fc"}]}, "'netwrok', which is no setting"),
        ({"split": "train", "ends": [{"network": "fc"}]}, "distances of train samples, but"),
        ({"split": "test", "typo": 1}, "no options typo"),
    ],
)
def test_targets_that_make_no_sense(given: RunGroups, options: dict[str, Any], text: str) -> None:
    with pytest.raises(PipelineError, match=text):
        closeness(only(given, "test"), {"seed": 0, **options})


def test_train_and_test_in_one_embedding_are_equation_10(given: RunGroups) -> None:
    found = joint(only(given, "test", "train"), {"seed": 0, "components": 4})
    train, test = (
        plain_distances(p, p) for p in (probabilities(given, one) for one in ("train", "test"))
    )
    plain = embed(train, 4)
    means = train.mean(axis=1)
    w = -0.5 * (test - means[:, None] - means + train.mean())  # Eq. 10, row u of column i
    vectors = plain.coordinates / np.sqrt(np.abs(plain.eigenvalues))
    expected = w @ vectors / (plain.signature * np.sqrt(np.abs(plain.eigenvalues)))
    np.testing.assert_allclose(found["joint_inpca"][0], plain.coordinates, atol=1e-5)
    np.testing.assert_allclose(found["joint_inpca"][1], expected, atol=1e-4)
    share = explained_distances(test, expected, plain.signature)
    np.testing.assert_allclose(found["joint_explained_distance"][1], share, atol=1e-4)
    with pytest.raises(
        PipelineError, match="distances of test samples are needed, but given are: t"
    ):
        joint(only(given, "train"), {"seed": 0})


def test_mixed_classes_of_models_and_of_the_geodesic(given: RunGroups, tmp_path: Path) -> None:
    there = place(tmp_path, "mixed")
    distances(given, {"seed": 3, "split": "test", "mixed_classes": 2, "side": 16}, there)
    data = RunGroups(given, folders={"mixed": there.folder})
    found = embedding(data, {"seed": 3, "components": 3, "points": 3})
    mixture = drawn_mixture(2, CLASSES, 3)
    assert mixture is not None
    np.testing.assert_allclose(mixture.sum(axis=0), 1)
    p, y = mixed_classes(probabilities(given, "test"), mixture), labels_of("test")
    apart = plain_distances(p, p)
    np.testing.assert_allclose(found["eigenvalue"], embed(apart, 3).eigenvalues, atol=1e-5)
    flat = np.full((y.size, CLASSES), 1 / CLASSES)
    path = mixed_classes(geodesic(flat, np.eye(CLASSES)[y], [0, 0.5, 1]), mixture)
    np.testing.assert_allclose(found["point_distance"], plain_distances(path, p), atol=1e-6)
    assert apart.max() < plain_distances(*[probabilities(given, "test")] * 2).max()
    with pytest.raises(
        PipelineError, match="mixed holds distances of mixed classes, which only emb"
    ):
        closeness(data, {"seed": 3, "split": "test", "ends": [{"network": "vit"}]})
    with pytest.raises(PipelineError, match="mixed_classes is 1; valid are null and 2 or more"):
        distances(given, {"seed": 3, "split": "test", "mixed_classes": 1}, place(tmp_path, "one"))


def test_a_subset_of_nearly_all_samples_explains_as_much(given: RunGroups, tmp_path: Path) -> None:
    data, there = only(given, "train"), place(tmp_path)
    options = {"seed": 0, "counts": [3, 39, 400], "draws": 2, "components": 3}
    found = subsets(data, options, there)
    assert found["subset_samples"].values.tolist() == [3, 39]  # of 40
    assert list(there.cache.iterdir()) == []
    p = probabilities(given, "train")
    whole = plain_distances(p, p)
    own = explained_distances(whole, embed(whole, 3).coordinates, embed(whole, 3).signature)
    np.testing.assert_allclose(found["subset_explained_distance"][1], [own, own], atol=0.02)
    chosen = drawn_samples(3, 40, 0, 1)
    few = p[:, chosen]
    made = embed(plain_distances(few, few), 3)
    moved = made.transform(whole)
    expected = explained_distances(whole, moved, made.signature)
    np.testing.assert_allclose(found["subset_explained_distance"][0, 1], expected, atol=1e-4)
    assert not np.allclose(found["subset_explained_distance"][0, 0], expected, atol=1e-4)


@pytest.mark.parametrize("options", [{"counts": [40]}, {"draws": 0}])
def test_subsets_of_no_samples_are_refused(
    given: RunGroups, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(PipelineError, match="valid are counts from 1 to 39"):
        subsets(only(given, "train"), {"seed": 0, **options}, place(tmp_path))


def test_principal_components_are_those_of_the_predictions(given: RunGroups) -> None:
    found = principal_components(only(given, "euclidean"), {"seed": 0, "components": 5})
    plain, variance = pca(probabilities(given, "test"), 5)
    np.testing.assert_allclose(found["explained_variance"], variance, atol=1e-5)
    np.testing.assert_allclose(np.abs(found["inpca"]), np.abs(plain.coordinates), atol=1e-4)
    assert found.attrs["split"] == "test"
    with pytest.raises(PipelineError, match="need euclidean distances, but"):
        principal_components(only(given, "test"), {"seed": 0})
