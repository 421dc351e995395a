"""Example images with their labels, and pairs of spheres along the axis of their centres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_classifiers import CONVOLUTION, made_up_classifiers

from pipeline.analysis.label_examples import label_examples
from pipeline.analysis.sphere_pairs import sphere_pairs
from pipeline.data.datasets import to_store_dataset
from pipeline.data.spheres import spheres
from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, chosen
from pipeline.store.reader import load_arrays
from pipeline.store.writer import write_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    runs: dict[str, dict[str, Any]] = {
        "images": {"entry": CONVOLUTION, "epochs": 1, "samples": 40},
        "clean": {"entry": CONVOLUTION, "epochs": 1, "label_noise": 0.0},
        "points": {"epochs": 1},
    }
    return made_up_classifiers(tmp_path_factory.mktemp("runs"), runs)


def place_of(image: np.ndarray, images: np.ndarray) -> int:
    """The place of an image among all training images."""
    (found,) = np.flatnonzero((images == image).all(axis=(1, 2, 3)))
    return int(found)


def test_examples_have_the_labels_that_count(data: RunGroups) -> None:
    run = data["images"][0]
    found = label_examples(chosen(data, ["images"]), {"seed": 1})
    assert found.attrs == {
        "kinds": ["unpermuted", "permuted", "restored"],
        "dataset": "made_up_images",
        "run": "images",
    }
    assert found["example_images"].shape == (3, 4, 8, 8, 3)
    stored = load_arrays(run.data_folder, ("images", "labels", "split"))
    train = stored["split"] == 0
    images, classes = stored["images"][train], stored["labels"][train]
    labels = run.trajectories["noisy_labels"].values[0]
    permuted = run.trajectories["permuted"].values[0]
    for kind, column in np.ndindex(3, 4):
        place = place_of(found["example_images"].values[kind, column], images)
        assert place < 40  # the run's own samples
        assert permuted[place] == (kind > 0)
        assert found["example_class"].values[kind, column] == classes[place]
        told = labels[place] if kind == 1 else classes[place]
        assert found["example_label"].values[kind, column] == told
    np.testing.assert_array_equal(found["example_images"][1], found["example_images"][2])
    assert (found["example_label"][1] != found["example_class"][1]).all()  # such are preferred
    xr.testing.assert_identical(label_examples(chosen(data, ["images"]), {"seed": 1}), found)
    other = label_examples(chosen(data, ["images"]), {"seed": 2, "count": 3})
    assert other.sizes["example"] == 3


def test_too_few_samples_of_a_kind_are_refused(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="60 unpermuted and 0 permuted samples; 4 of each"):
        label_examples(chosen(data, ["clean"]), {})
    with pytest.raises(PipelineError, match="30 of each are needed"):
        label_examples(chosen(data, ["images"]), {"count": 30})
    for count in (0, True, 2.5):
        with pytest.raises(PipelineError, match=r"The option count is .* from 1 on"):
            label_examples(chosen(data, ["images"]), {"count": count})
    with pytest.raises(PipelineError, match="has no options samples"):
        label_examples(chosen(data, ["images"]), {"samples": 3})


def test_vectors_are_no_images(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="made_up_points, which holds no images"):
        label_examples(chosen(data, ["points"]), {})


# --- pairs of spheres -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("spheres") / "data"
    made = spheres(
        Path(), classes=6, train_points=100, test_points=5, radius=0.8, dimension=4, features=20
    )
    content = to_store_dataset(made)
    content.attrs.pop("origin")
    write_dataset(content, folder, {"config": {}, "code": "test"})
    config = {"dataset": "spheres", "samples": 300, "test_samples": None, "label_noise": 0.5}
    return Run("spheres", config, xr.Dataset(), xr.Dataset(), data_folder=folder)


def test_pairs_are_told_apart_along_their_axis(pairs: Run) -> None:
    found = sphere_pairs(RunGroups({"spheres": [pairs]}), {"seed": 0})
    points, classes = found["pair_points"].values, found["pair_class"].values
    assert set(classes.tolist()) == {0, 1}
    assert (classes == 0).sum() < 100  # of the run's 300 samples of 600
    along, across = points.T
    np.testing.assert_array_equal(along > 0, classes == 0)
    for label, sign in ((0, 1), (1, -1)):
        mine = classes == label
        assert along[mine].mean() == pytest.approx(sign, abs=0.15)
        assert across[mine].mean() == pytest.approx(0, abs=0.15)
    spreads = [across[classes == label].std() for label in (0, 1)]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.3)  # neither is drawn as a line
    assert (np.abs(across) <= 0.8 + 1e-6).all()


def test_pairs_need_samples_of_both_classes(pairs: Run) -> None:
    few = replace(pairs, name="few", config=pairs.config | {"samples": 1})
    with pytest.raises(
        PipelineError, match="Run few has no training samples of the classes 0 and 1"
    ):
        sphere_pairs(RunGroups({"few": [few]}), {})
    with pytest.raises(PipelineError, match="sphere_pairs has no options classes"):
        sphere_pairs(RunGroups({"few": [few]}), {"classes": 2})
