"""Synthetic spheres: geometry, moments, order, determinism and faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.points import PointDataset
from pipeline.data.spheres import spheres
from pipeline.errors import DataError

SMALL: dict[str, Any] = {
    "classes": 8,
    "train_points": 200,
    "test_points": 20,
    "radius": 2.5,
    "dimension": 6,
    "features": 40,
}


def offsets(found: PointDataset, one: int, split: str = "train") -> np.ndarray:
    """x - c of the points of one class, in float64."""
    points = getattr(found, f"{split}_points")[getattr(found, f"{split}_labels") == one]
    result = points.astype(np.float64)
    result[:, one // 2] -= 1 - 2 * (one % 2)
    return result


@pytest.mark.parametrize("dimension", [1, 2, 6, 40])
def test_points_lie_on_the_spheres(dimension: int) -> None:
    found = spheres(Path(), **{**SMALL, "dimension": dimension})
    assert found.train_points.dtype == np.float32
    for one in range(8):
        of_train, of_test = offsets(found, one), offsets(found, one, "test")
        for rows in (of_train, of_test):
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 2.5, rtol=1e-6)
        # One subspace of the stated dimension holds both splits and the centre's axis.
        axis = np.eye(40)[one // 2 : one // 2 + 1]
        values = np.linalg.svd(np.vstack([of_train, of_test, axis]), compute_uv=False)
        assert np.sum(values > 1e-4) == dimension


def test_every_class_has_a_subspace_of_its_own() -> None:
    found = spheres(Path(), **SMALL)
    both = np.vstack([offsets(found, 0), offsets(found, 1)])
    assert np.linalg.matrix_rank(both, tol=1e-3) == 2 * 6 - 1  # they share the axis only


def test_moments() -> None:
    """The mean is the centre; the axis coordinate has the standard deviation r / sqrt(d)."""
    found = spheres(Path(), **{**SMALL, "train_points": 4000})
    for one in range(8):
        rows = offsets(found, one)
        spread = 2.5 / np.sqrt(6)
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=5 * spread / np.sqrt(4000))
        assert rows[:, one // 2].std() == pytest.approx(spread, rel=0.05)
        # A uniform direction: every axis of the subspace has the same share.
        values = np.linalg.svd(rows, compute_uv=False)[:6] / np.sqrt(4000)
        np.testing.assert_allclose(values, spread, rtol=0.1)


@pytest.mark.parametrize(("radius", "separable"), [(0.9, True), (5.0, False)])
def test_pairs_are_separable_below_radius_one(radius: float, separable: bool) -> None:
    found = spheres(Path(), **{**SMALL, "radius": radius})
    pairs, signs = found.train_labels // 2, 1 - 2 * (found.train_labels % 2)
    along = found.train_points[np.arange(len(pairs)), pairs] * signs
    assert (along.min() >= 1 - radius - 1e-6) if separable else (along.min() < 0)
    assert bool((along > 0).all()) == separable


def test_same_seed_same_bits_and_another_seed_others() -> None:
    first, again = spheres(Path(), **SMALL), spheres(Path(), **SMALL)
    other = spheres(Path(), **SMALL, seed=1)
    for key in ("train_points", "train_labels", "test_points", "test_labels"):
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
    assert not np.array_equal(first.train_labels, other.train_labels)
    assert not np.isin(first.train_points[:, 20], other.train_points[:, 20]).any()
    assert not np.isin(first.test_points[:, 20], first.train_points[:, 20]).any()


@pytest.mark.parametrize("count", [1, 7, 199])
def test_first_points_do_not_depend_on_how_many_follow(count: int) -> None:
    whole = spheres(Path(), **SMALL)
    part = spheres(Path(), **{**SMALL, "train_points": count, "test_points": 3})
    np.testing.assert_array_equal(part.train_points, whole.train_points[: 8 * count])
    np.testing.assert_array_equal(part.train_labels, whole.train_labels[: 8 * count])
    np.testing.assert_array_equal(part.test_points, whole.test_points[:24])


def test_first_samples_are_balanced_and_in_random_order() -> None:
    found = spheres(Path(), **SMALL)
    for samples in (8, 100, 333, 1600):
        counts = np.bincount(found.train_labels[:samples], minlength=8)
        assert counts.max() - counts.min() <= 1
    rounds = found.train_labels.reshape(-1, 8)
    assert len(np.unique(rounds, axis=0)) > 150
    assert not np.array_equal(found.test_labels, found.train_labels[: len(found.test_labels)])


def test_defaults_are_those_of_the_paper() -> None:
    found = spheres(Path(), train_points=2, test_points=1)
    assert found.name == "spheres"
    assert found.train_points.shape == (200, 1024)
    assert found.test_points.shape == (100, 1024)
    assert set(found.train_labels) == set(range(100))
    np.testing.assert_allclose(np.linalg.norm(offsets(found, 99), axis=1), 5, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": 7}, "classes is 7; valid are even numbers"),
        ({"classes": 0}, "classes is 0; valid are whole numbers from 2 on"),
        ({"classes": 82}, "classes is 82, but 40 features hold 40 pairs at most"),
        ({"train_points": 0}, "train_points is 0"),
        ({"test_points": 1.5}, "test_points is 1.5"),
        ({"test_points": True}, "test_points is True"),
        ({"radius": 0}, "radius is 0; valid are finite numbers above 0"),
        ({"radius": float("nan")}, "radius is nan"),
        ({"radius": float("inf")}, "radius is inf"),
        ({"radius": "5"}, "radius is '5'"),
        ({"radius": True}, "radius is True"),
        ({"dimension": 0}, "dimension is 0"),
        ({"dimension": 41}, r"dimension is 41; valid are 1 to 40 \(features\)"),
        ({"features": None}, "features is None"),
        ({"seed": -1}, "seed is -1; valid are whole numbers from 0 on"),
    ],
)
def test_options_out_of_range(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=f"spheres: {reason}"):
        spheres(Path(), **{**SMALL, **change})
