"""Embeddings of recorded activations: one per moment, layer and kind, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up_classifiers import CONVOLUTION, RECORDED, made_up_classifiers

from pipeline.analysis.umap_features import embed, umap_features
from pipeline.data.labels import MANIFOLD_KINDS
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, chosen


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    record = {"epochs": 3, "recorded_seeds": 1}
    runs: dict[str, dict[str, Any]] = {
        "images": record | {"entry": CONVOLUTION, "recorded_layers": ["conv3", "linear4"]},
        "clean": record | {"label_noise": 0.0, "recorded_points": 30},
    }
    return made_up_classifiers(tmp_path_factory.mktemp("runs"), runs, variables=RECORDED)


def test_an_embedding_per_layer_moment_and_kind(data: RunGroups) -> None:
    run = data["images"][0]
    found = umap_features(chosen(data, ["images"]), {"seed": 2, "neighbours": 5})
    assert found.attrs == {
        "runs": ["images"],
        "kinds": list(MANIFOLD_KINDS),
        "moments": ["init", "best", "final"],
        "layer_names": ["conv3", "linear4"],
    }
    stored = run.trajectories
    assert found["umap"].shape == (1, 1, 3, 2, stored.sizes["point"], 2)
    np.testing.assert_array_equal(found["umap_epoch"][0], stored["moment_epoch"])
    np.testing.assert_array_equal(found["umap_kind"][0], stored["point_kind"])
    np.testing.assert_array_equal(found["umap_class"][0], stored["point_class"])
    there = stored["point_sample"].values[0] >= 0
    finite = np.isfinite(found["umap"].values[0, 0]).all(axis=(0, 1, 3))
    np.testing.assert_array_equal(finite, there)
    mine = there & (stored["point_kind"].values[0] == 1)
    expected = embed(stored["recorded_activations_4"].values[0, 2][mine], 2, neighbours=5)
    np.testing.assert_array_equal(found["umap"].values[0, 0, 2, 1, mine], expected)


def test_kinds_without_samples_and_missing_points_are_nan(data: RunGroups) -> None:
    stored = data["clean"][0].trajectories
    found = umap_features(chosen(data, ["clean"]), {"layers": ["linear1"]})
    there = stored["point_sample"].values[0] >= 0
    kinds = stored["point_kind"].values[0]
    assert not there[kinds == 1].any()  # nothing is permuted
    assert 0 < there[kinds == 0].sum() < (kinds == 0).sum()  # classes have fewer samples than 30
    finite = np.isfinite(found["umap"].values[0, 0]).all(axis=(0, 1, 3))
    np.testing.assert_array_equal(finite, there)


def test_a_few_points_are_embedded_too() -> None:
    values = np.random.default_rng(0).normal(size=(7, 5))
    assert np.isnan(embed(values[:3], 0)).all()
    assert embed(values[:0], 0).shape == (0, 2)
    found = embed(values, 0)
    assert found.shape == (7, 2)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(embed(values, 0), found)
    assert not np.array_equal(embed(values, 1), found)


def test_clusters_stay_apart() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(size=(20, 6)), 30 + random.normal(size=(20, 6))])
    first, second = np.split(embed(values, 0), 2)
    spread = max(np.ptp(one, axis=0).max() for one in (first, second))
    assert np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) > spread


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        ("images", {"layers": ["conv1"]}, "no recorded activations of conv1; recorded are: conv3"),
        ("images", {"layers": ["conv9"]}, "no recorded activations of conv9"),
        ("clean", {"layer": "linear1"}, "umap_features has no options layer"),
    ],
)
def test_wrong_options_are_refused(
    data: RunGroups, group: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        umap_features(chosen(data, [group]), options)
