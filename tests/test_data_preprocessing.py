"""Standardisation, blocks, grey values and binary labels: closed forms and faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import labels as label_module
from pipeline.data.datasets import to_store_dataset
from pipeline.data.images import ImageDataset
from pipeline.data.labels import binary_labels
from pipeline.data.points import PointDataset
from pipeline.data.preprocessing import (
    Statistics,
    TrainingArrays,
    run_arrays,
    standardise,
    training_arrays,
)
from pipeline.errors import ConfigError, DataError
from pipeline.store.writer import write_dataset


def stored(
    train: int = 12, test: int = 6, channels: tuple[int, ...] = (), seed: int = 0
) -> xr.Dataset:
    random = np.random.default_rng(seed)
    dataset = ImageDataset(
        "made up",
        random.integers(0, 256, (train, 3, 2, *channels), dtype=np.uint8),
        np.arange(train) % 10,
        random.integers(0, 256, (test, 3, 2, *channels), dtype=np.uint8),
        np.arange(test) % 10,
    )
    return to_store_dataset(dataset)


# --- standardisation ----------------------------------------------------------------------------


def test_standardise_closed_form() -> None:
    images = np.array([[0, 7, 1], [4, 7, 1], [8, 7, 255]], np.uint8)
    found, statistics = standardise(images)
    np.testing.assert_allclose(found[:, 0], np.array([-1, 0, 1]) * np.sqrt(1.5), rtol=1e-15)
    np.testing.assert_array_equal(found[:, 1], 0)
    np.testing.assert_allclose(found[:, 2], np.array([-1, -1, 2]) / np.sqrt(2), rtol=1e-15)
    np.testing.assert_allclose(statistics.mean, [4, 7, 257 / 3])
    np.testing.assert_allclose(statistics.std, [np.sqrt(32 / 3), 0, 254 * np.sqrt(2) / 3])
    assert found.dtype == np.float64


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-9, 1e9 + 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_pixel_is_zero_whatever_rounding_does(value: float, dtype: type) -> None:
    images = np.full((8191, 1), value, dtype)
    found, statistics = standardise(images)
    assert statistics.std[0] == 0
    np.testing.assert_array_equal(found, 0)


def test_pixel_constant_in_training_only_does_not_explode() -> None:
    train = np.array([[3, 0], [3, 2]], np.uint8)
    test = np.array([[200, 1], [3, 4]], np.uint8)
    _, statistics = standardise(train)
    found, used = standardise(test, statistics)
    assert used is statistics
    np.testing.assert_array_equal(found, [[0, 0], [0, 3]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
def test_standardise_ignores_scale_and_offset(seed: int, scale: int, features: int) -> None:
    images = np.random.default_rng(seed).integers(0, 40, (9, features)).astype(np.uint8)
    found, _ = standardise(images)
    shifted, _ = standardise(images.astype(np.int64) * scale - 17)
    np.testing.assert_allclose(found, shifted, atol=1e-12)
    varies = images.min(axis=0) < images.max(axis=0)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=0), varies.astype(float), atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        standardise(np.array([[0.0], [value]]))


def test_shapes_are_checked() -> None:
    with pytest.raises(DataError, match=r"valid is \(samples, features\)"):
        standardise(np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(DataError, match="statistics are of 2 pixels, but the images have 3"):
        standardise(np.zeros((2, 3), np.uint8), Statistics(np.zeros(2), np.ones(2)))
    with pytest.raises(DataError, match="the shape"):
        standardise(np.zeros((0, 3), np.uint8))


# --- training arrays ----------------------------------------------------------------------------


def rebuilt(arrays: TrainingArrays, split: str) -> np.ndarray:
    pixels, mean, std = (getattr(arrays, f"{split}_{key}") for key in ("pixels", "mean", "std"))
    return np.where(std > 0, (pixels - mean) / np.where(std > 0, std, 1), 0)


@pytest.mark.parametrize("statistics", ["own", "train"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pixels_and_statistics_give_the_images(statistics: str, seed: int) -> None:
    dataset = stored(seed=seed)
    dataset["images"][:4, 1, 1] = 9  # constant in the block, not in the test set
    found = training_arrays(dataset, samples=4, statistics=statistics, dtype=np.float64)
    np.testing.assert_allclose(found.train_images, rebuilt(found, "train"), rtol=1e-13)
    np.testing.assert_allclose(found.test_images, rebuilt(found, "test"), rtol=1e-13)
    assert found.train_pixels is not None
    assert found.train_pixels.dtype == np.uint8
    np.testing.assert_array_equal(found.train_images[:, 3], 0)
    if statistics == "own":
        np.testing.assert_allclose(found.test_images.mean(axis=0), 0, atol=1e-12)
        assert np.ptp(found.test_images[:, 3]) > 0
    else:
        np.testing.assert_array_equal(found.test_images[:, 3], 0)
        assert found.test_mean is found.train_mean
        assert abs(found.test_images.mean()) > 1e-6


def test_blocks_are_consecutive_and_do_not_overlap() -> None:
    dataset = stored(train=14)
    blocks = [training_arrays(dataset, samples=4, block=k) for k in range(3)]
    images = dataset["images"].values[:14].reshape(14, -1)
    for k, block in enumerate(blocks):
        np.testing.assert_array_equal(block.train_pixels, images[4 * k : 4 * k + 4])
        assert block.train_classes.tolist() == [i % 10 for i in range(4 * k, 4 * k + 4)]
        assert len(block.test_images) == 6
    with pytest.raises(DataError) as caught:
        training_arrays(dataset, samples=4, block=3)
    assert "block 3 of 4 samples needs training elements 12 to 15" in str(caught.value)
    assert "made up holds 14: it has blocks 0 to 2" in str(caught.value)
    with pytest.raises(DataError, match="no block of this size"):
        training_arrays(dataset, samples=15)
    for samples, block in ((0, 0), (4, -1)):
        with pytest.raises(DataError, match="valid are from 1 and from 0 on"):
            training_arrays(dataset, samples=samples, block=block)


def test_interleaved_splits_and_lazy_arrays() -> None:
    dataset = stored()
    shuffled = dataset.isel(sample=np.random.default_rng(0).permutation(18))
    order = np.flatnonzero(shuffled["split"].values == 0)[:5]
    found = training_arrays(shuffled.chunk(sample=4), samples=5)
    np.testing.assert_array_equal(
        found.train_pixels, shuffled["images"].values[order].reshape(5, -1)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes(dtype: type) -> None:
    found = training_arrays(stored(), samples=10, dtype=dtype)
    assert found.train_images.dtype == found.test_images.dtype == dtype
    assert found.train_labels.dtype == found.test_labels.dtype == np.int8


def test_grey_mean_averages_first() -> None:
    dataset = stored(channels=(3,))
    found = training_arrays(dataset, samples=12, grey="mean", dtype=np.float64)
    pixels = dataset["images"].values[:12].astype(float).mean(axis=3).reshape(12, -1)
    expected = (pixels - pixels.mean(axis=0)) / pixels.std(axis=0)
    np.testing.assert_allclose(found.train_images, expected, rtol=1e-12)
    assert found.train_pixels is None
    assert found.test_std is None


def test_grey_sum_after_standardises_first() -> None:
    dataset = stored(channels=(3,))
    found = training_arrays(dataset, samples=12, grey="sum_after", dtype=np.float64)
    pixels = dataset["images"].values[:12].astype(float)
    expected = ((pixels - pixels.mean(axis=0)) / pixels.std(axis=0)).sum(axis=3).reshape(12, -1)
    np.testing.assert_allclose(found.train_images, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("statistics", ["own", "train"])
def test_equal_channels_make_sum_after_three_times_mean(statistics: str) -> None:
    dataset = stored()
    colour = dataset.assign(images=dataset["images"].expand_dims(channel=3, axis=3))
    kwargs = {"samples": 12, "statistics": statistics, "dtype": np.float64}
    summed = training_arrays(colour, grey="sum_after", **kwargs)
    mean = training_arrays(colour, grey="mean", **kwargs)
    grey = training_arrays(dataset, grey="mean", **kwargs)
    np.testing.assert_allclose(summed.train_images, 3 * mean.train_images, rtol=1e-12)
    np.testing.assert_allclose(summed.test_images, 3 * mean.test_images, rtol=1e-12)
    np.testing.assert_allclose(mean.test_images, grey.test_images, rtol=1e-12)


def test_without_grey_every_channel_is_a_feature() -> None:
    assert training_arrays(stored(channels=(3,)), samples=12).train_images.shape == (12, 18)


def test_unknown_rules() -> None:
    with pytest.raises(DataError, match="statistics is 'test'; valid are: own, train"):
        training_arrays(stored(), samples=4, statistics="test")
    with pytest.raises(DataError, match="grey is 'sum'; valid are: mean, sum_after"):
        training_arrays(stored(), samples=4, grey="sum")


def test_no_test_elements() -> None:
    with pytest.raises(DataError, match="no test elements"):
        training_arrays(stored().isel(sample=slice(0, 12)), samples=4)


# --- labels -------------------------------------------------------------------------------------


def test_parity() -> None:
    found = binary_labels("parity", np.arange(10))
    assert found.tolist() == [1, -1] * 5
    assert found.dtype == np.int8


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_labels_do_not_depend_on_the_classes(seed: int) -> None:
    draws = [
        binary_labels("random", classes, generator=np.random.default_rng(seed))
        for classes in (np.zeros(20000, int), np.arange(20000) % 10)
    ]
    np.testing.assert_array_equal(*draws)
    assert set(draws[0]) == {-1, 1}
    assert abs(draws[0].mean()) < 4 / np.sqrt(20000)
    parity = binary_labels("parity", np.arange(20000) % 10)
    assert abs(np.mean(draws[1] * parity)) < 4 / np.sqrt(20000)


def test_random_labels_keep_the_true_test_labels() -> None:
    found = training_arrays(
        stored(), samples=12, labels="random", label_generator=np.random.default_rng(0)
    )
    assert found.test_labels.tolist() == [1, -1] * 3
    assert found.train_classes.tolist() == [i % 10 for i in range(12)]


def test_label_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="known are: parity, random"):
        binary_labels("odd", np.arange(10))
    with pytest.raises(DataError, match="need a random generator"):
        binary_labels("random", np.arange(10))
    with pytest.raises(DataError, match=r"are \+1 for all 3 training samples"):
        binary_labels("parity", np.array([0, 2, 4]))
    monkeypatch.setitem(
        label_module.label_variants, "wrong", lambda classes, *, split, generator: classes
    )
    with pytest.raises(DataError, match="'wrong' are not one of -1, \\+1"):
        binary_labels("wrong", np.arange(10))


def test_a_variant_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        label_module.label_variants,
        "small or large",
        lambda classes, *, split, generator: np.where(classes < 5, 1, -1),
    )
    found = training_arrays(stored(), samples=12, labels="small or large")
    assert found.test_labels.tolist() == [1] * 5 + [-1]


def test_vectors_are_refused(tmp_path: Path) -> None:
    points, labels = np.ones((4, 3), np.float32), np.arange(4)
    dataset = to_store_dataset(PointDataset("made up", points, labels, points, labels))
    with pytest.raises(DataError, match=r"holds vectors, .*: choose a data set of images"):
        training_arrays(dataset, samples=2)
    write_dataset(dataset, tmp_path, {})
    with pytest.raises(DataError, match=r"holds vectors, .*: choose a data set of images"):
        run_arrays({"samples": 2}, tmp_path, 1)
