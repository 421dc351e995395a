"""Random mixtures of classes: rows stay probabilities, distances never grow, plain formulas, errors."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_predictions import plain_distances, stress, trajectory

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import ignorance, pairwise_distances
from pipeline.geometry.bhattacharyya.mixtures import mixed_classes, random_mixture


@pytest.mark.parametrize("concentration", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("count", [2, 5, 30])
def test_mixed_predictions_are_probabilities(count: int, concentration: float) -> None:
    mixture = random_mixture(10, count, 0, concentration)
    assert mixture.shape == (count, 10)
    np.testing.assert_allclose(mixture.sum(axis=0), 1)
    q = mixed_classes(stress(0), mixture)
    assert (q >= 0).all()
    np.testing.assert_allclose(q.sum(axis=2), 1)


@pytest.mark.parametrize("concentration", [0.01, 1.0])
def test_no_distance_grows(concentration: float) -> None:
    p = np.concatenate([trajectory(0)[0], trajectory(1)[0], stress(2)])
    mixed = mixed_classes(p, random_mixture(10, 4, 3, concentration))
    before, after = plain_distances(p, p), plain_distances(mixed, mixed)
    assert (after <= before + 1e-12).all()
    assert after.max() > 0


def test_a_permutation_changes_no_distance_and_a_merger_adds_probabilities() -> None:
    p = trajectory(0)[0]
    order = np.random.default_rng(0).permutation(10)
    turned = mixed_classes(p, np.eye(10)[order])
    np.testing.assert_allclose(turned, p[:, :, order])
    np.testing.assert_allclose(pairwise_distances(turned), pairwise_distances(p), atol=1e-6)
    merged = mixed_classes(p, np.repeat(np.eye(5), 2, axis=1))
    np.testing.assert_allclose(merged[:, :, 0], p[:, :, 0] + p[:, :, 1])


def test_ignorance_becomes_the_mean_column() -> None:
    mixture = random_mixture(10, 3, 1)
    mixed = mixed_classes(ignorance(4, 10), mixture)
    np.testing.assert_allclose(mixed, np.broadcast_to(mixture.mean(axis=1), (1, 4, 3)))


def test_draws_depend_on_the_seed_alone() -> None:
    first = random_mixture(10, 3, np.random.default_rng(5))
    np.testing.assert_array_equal(first, random_mixture(10, 3, 5))
    assert not np.array_equal(first, random_mixture(10, 3, 6))


@pytest.mark.parametrize(
    ("mixture", "text"),
    [
        (np.eye(9), r"\(count, 10\)"),
        (np.ones((1, 10)), "a count of 2 or more"),
        (2 * np.eye(10), "columns must be probabilities"),
        (np.full((2, 10), np.nan), "columns must be probabilities"),
        (np.stack([np.full(10, 1.5), np.full(10, -0.5)]), "columns must be probabilities"),
    ],
)
def test_what_is_no_mixture_is_refused(mixture: np.ndarray, text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        mixed_classes(trajectory(0)[0], mixture)
    with pytest.raises(GeometryError, match="valid are two classes or more"):
        random_mixture(10, 1, 0)
