"""Label noise: what is permuted, the four kinds of manifold, the ends of the range, streams."""

import numpy as np
import pytest

from pipeline.data.labels import MANIFOLD_KINDS, manifold_classes, permute_labels
from pipeline.errors import DataError
from pipeline.seeds import generator

CLASSES = np.arange(4000) % 10
SEEDS = (0, 1, 2)


def noisy(fraction, seed=0):
    return permute_labels(CLASSES, fraction, 10, generator(0, "run", seed, "labels"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_exactly_the_fraction_is_permuted_and_the_rest_is_true(fraction, seed):
    found = noisy(fraction, seed)
    assert found.permuted.sum() == round(fraction * CLASSES.size)
    np.testing.assert_array_equal(found.labels[~found.permuted], CLASSES[~found.permuted])
    np.testing.assert_array_equal(found.classes, CLASSES)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_labels_are_uniform_over_all_classes_and_may_be_true(seed):
    found = noisy(1.0, seed)
    counts = np.bincount(found.labels, minlength=10)
    # chi-square with 9 degrees of freedom: above 28 in one of a thousand
    assert np.sum((counts - 400) ** 2 / 400) < 28
    hits = np.mean(found.labels == found.classes)
    assert abs(hits - 0.1) < 4 * np.sqrt(0.09 / CLASSES.size)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_the_kinds_partition_the_samples(fraction):
    found = noisy(fraction)
    test = np.array([3, 1, 4])
    kinds = manifold_classes(found, test)
    assert tuple(kinds) == MANIFOLD_KINDS
    n = CLASSES.size
    permuted = found.permuted
    assert all(values.shape == (n + 3,) for values in kinds.values())
    np.testing.assert_array_equal(kinds["unpermuted"][:n] >= 0, ~permuted)
    np.testing.assert_array_equal(kinds["permuted"][:n] >= 0, permuted)
    np.testing.assert_array_equal(kinds["restored"][:n] >= 0, permuted)
    np.testing.assert_array_equal(kinds["permuted"][:n][permuted], found.labels[permuted])
    np.testing.assert_array_equal(kinds["restored"][:n][permuted], CLASSES[permuted])
    np.testing.assert_array_equal(kinds["test"], [-1] * n + [3, 1, 4])
    for kind in ("unpermuted", "permuted", "restored"):
        np.testing.assert_array_equal(kinds[kind][n:], -1)


def test_a_larger_fraction_keeps_the_samples_and_labels_of_a_smaller_one():
    few, many = noisy(0.2), noisy(0.6)
    assert (many.permuted | ~few.permuted).all()
    np.testing.assert_array_equal(few.labels[few.permuted], many.labels[few.permuted])


def test_the_same_stream_gives_the_same_labels_and_another_seed_others():
    np.testing.assert_array_equal(noisy(0.5, 1).labels, noisy(0.5, 1).labels)
    assert not np.array_equal(noisy(0.5, 1).labels, noisy(0.5, 2).labels)


@pytest.mark.parametrize(
    ("classes", "fraction", "message"),
    [
        ([0, 1, 10], 0.5, "0 to 10"),
        ([-1, 1], 0.5, "-1 to 1"),
        ([0, 1], -0.1, "0 to 1"),
        ([0, 1], float("nan"), "0 to 1"),
        ([0.5, 1.5], 0.5, "whole numbers"),
        ([], 0.5, "whole numbers"),
    ],
)
def test_bad_input_is_refused(classes, fraction, message):
    with pytest.raises(DataError, match=message):
        permute_labels(classes, fraction, 10, generator(0, "run", 0, "labels"))
