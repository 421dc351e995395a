"""Other distances of models: their formulas in float64, symmetry, closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up_predictions import stress, trajectory
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import ignorance, truth
from pipeline.geometry.prediction_distances import (
    DISTANCES,
    arcsine_coefficients,
    prediction_distances,
)

Array = NDArray[np.float64]
ATOL = {"geodesic": 1e-6}


def plain(kind: str, p: Array, q: Array) -> Array:
    x, y = p[:, None], q[None]
    log_x, log_y = (np.log(np.maximum(one, np.exp(-100))) for one in (x, y))
    roots = np.sqrt(x) - np.sqrt(y)
    of_sample = {
        "hellinger": lambda: 0.5 * (roots**2).sum(axis=-1),
        "euclidean": lambda: ((x - y) ** 2).sum(axis=-1),
        "symmetrised_kl": lambda: 0.5 * ((x - y) * (log_x - log_y)).sum(axis=-1),
        "geodesic": lambda: 2 * np.arcsin(np.clip(np.linalg.norm(roots, axis=-1) / 2, 0, 1)),
    }
    found: Array = of_sample[kind]().mean(axis=-1)
    return found


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_are_those_of_their_formulas(kind: str, seed: int) -> None:
    p, q = trajectory(seed, models=23)[0], np.concatenate([trajectory(seed + 9)[0], stress(seed)])
    atol = ATOL.get(kind, 1e-11)
    np.testing.assert_allclose(prediction_distances(p, q, kind=kind), plain(kind, p, q), atol=atol)
    own = prediction_distances(q, kind=kind)
    wanted = plain(kind, q, q)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(own, wanted, atol=max(atol, 1e-11))
    np.testing.assert_array_equal(own, own.T)
    threaded = prediction_distances(p, q, kind=kind, threads=3)
    np.testing.assert_array_equal(threaded, prediction_distances(p, q, kind=kind, threads=1))


def test_ignorance_and_truth() -> None:
    flat, told = ignorance(20, 10)[None], truth(np.arange(20) % 10, 10)[None]
    root = 1 / math.sqrt(10)
    wanted = {
        "hellinger": 1 - root,
        "euclidean": 0.9,
        "geodesic": math.acos(root),
        "symmetrised_kl": 0.5 * (0.9 * math.log(10) + 0.9 * (100 - math.log(10))),
    }
    for kind, value in wanted.items():
        found = prediction_distances(flat, told, kind=kind)[0, 0]
        assert found == pytest.approx(value, abs=1e-6)
    by_name = prediction_distances(flat, told, kind="bhattacharyya")[0, 0]
    assert by_name == pytest.approx(math.log(10) / 2, abs=1e-7)


def test_near_models_keep_their_small_angle() -> None:
    """arccos of an affinity would lose it: 1 - 1e-12 is 1 in float32."""
    p = trajectory(0, models=1)[0]
    q = p * (1 + 1e-6 * np.random.default_rng(0).standard_normal(p.shape))
    q /= q.sum(axis=2, keepdims=True)
    found = prediction_distances(p, q, kind="geodesic")[0, 0]
    assert found == pytest.approx(plain("geodesic", p, q)[0, 0], rel=0.2)
    assert found < 1e-6


def test_the_polynomial_for_arcsin() -> None:
    z = np.linspace(1e-6, 0.5, 999)
    values = np.polynomial.Polynomial(arcsine_coefficients().astype(np.float64))(z)
    np.testing.assert_allclose(values, np.arcsin(np.sqrt(z)) / np.sqrt(z), rtol=3e-7)


def test_another_kind_is_refused() -> None:
    with pytest.raises(GeometryError, match="There is no distance 'cosine'; valid are: bhatt"):
        prediction_distances(trajectory(0)[0], kind="cosine")
