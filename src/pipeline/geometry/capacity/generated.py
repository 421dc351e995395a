"""Manifolds of known shape in random places, for tests and for the check by simulation (kernel).

    x_i = c + B (s_1 u_i1, ..., s_D u_iD),    c = n + correlation * V z / |V z|_rms

with B a random orthonormal basis (features, D) and n a Gaussian vector of unit length, both drawn
for every manifold, and V one orthonormal basis (features, rank) that all manifolds share, z being
Gaussian: the common structure of the centres. Lengths are in units of |n|, the length of a centre
without its common part.

Source: Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003 (2018) (balls, ellipsoids, point clouds);
    Cohen et al., Nature Communications 11, 746 (2020) (correlated centres).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.checks import check_whole
from pipeline.seeds import generator

SHAPES = ("sphere", "ball", "ellipsoid", "cloud")
ASPECT = 0.1  # shortest over longest semi-axis of an ellipsoid
Array = NDArray[np.float64]


def generated_manifolds(
    shape: str = "sphere",
    *,
    manifolds: int = 40,
    points: int = 30,
    features: int = 1000,
    radius: float | list[float] = 1.0,
    dimension: int = 10,
    aspect: float = ASPECT,
    correlation: float = 0.0,
    rank: int = 3,
    seed: Any = 0,
) -> list[Array]:
    """P manifolds of M points each, list of (features, points) float64.

    Shapes, R the radius and D the dimension:

    - sphere: points uniform on the surface of a ball, |x - c| = R;
    - ball: uniform within it, |x - c| = R U^(1/D);
    - ellipsoid: the points of a sphere, the semi-axes falling from R to aspect * R by equal factors;
    - cloud: Gaussian points, each coordinate of standard deviation R / sqrt(D).

    Arguments
    ---------
    shape: one of ``SHAPES``.
    manifolds, points, features: P, M and N, each at least 1.
    radius: R, at least 0, in units of the length of a centre without its common part; a pair is the
        radius of the first and of the last manifold, the others' being evenly spaced between.
    dimension: D, 1 to ``features``; ignored where there is but one point: it is its centre.
    aspect: of an ellipsoid, above 0 and at most 1; other shapes have none.
    correlation: root mean square length of the centres' common part, at least 0; rank: its
        dimensions, 1 to ``features``.
    seed: a whole number, or a numpy Generator.

    Raises GeometryError for values out of range.
    """
    counts = {"manifolds": manifolds, "points": points, "features": features}
    _check(shape, {**counts, "dimension": dimension, "rank": rank}, radius, aspect, correlation)
    random = seed
    if not isinstance(seed, np.random.Generator):
        check_whole("seed", seed, 0)
        random = generator(int(seed), "generated manifolds", 0, "data")
    radii = np.linspace(*_pair(radius), manifolds)
    centres = _centres(random, manifolds, features, correlation, rank)
    found = []
    for centre, size in zip(centres.T, radii, strict=True):
        if points == 1:
            found.append(centre[:, None].copy())
            continue
        basis, _ = np.linalg.qr(random.standard_normal((features, dimension)))
        deviations = size * _unit_shape(random, shape, dimension, points, aspect)
        found.append(centre[:, None] + basis @ deviations)
    return found


def _centres(
    random: np.random.Generator, manifolds: int, features: int, correlation: float, rank: int
) -> Array:
    """(features, manifolds): unit vectors with a part in ``rank`` dimensions that they share."""
    own = random.standard_normal((features, manifolds))
    own /= np.linalg.norm(own, axis=0)
    if correlation == 0:
        return own
    basis, _ = np.linalg.qr(random.standard_normal((features, rank)))
    common = basis @ random.standard_normal((rank, manifolds))
    return own + correlation * common / np.sqrt(np.mean(np.sum(common**2, axis=0)))


def _unit_shape(
    random: np.random.Generator, shape: str, dimension: int, points: int, aspect: float
) -> Array:
    """(dimension, points): the deviations of a manifold of radius 1."""
    x = random.standard_normal((dimension, points))
    if shape == "cloud":
        return x / math.sqrt(dimension)
    x /= np.linalg.norm(x, axis=0)
    if shape == "ball":
        return x * random.random(points) ** (1 / dimension)
    if shape == "ellipsoid":
        return x * np.geomspace(1.0, aspect, dimension)[:, None]
    return x


def _pair(radius: float | list[float]) -> tuple[float, float]:
    if isinstance(radius, list | tuple) and len(radius) == 2:
        return radius[0], radius[1]
    return radius, radius  # type: ignore[return-value]


def _check(
    shape: str, counts: dict[str, int], radius: Any, aspect: float, correlation: float
) -> None:
    """Raise GeometryError for what ``generated_manifolds`` cannot make."""
    if shape not in SHAPES:
        raise GeometryError(f"shape = {shape!r} given; valid are: {', '.join(SHAPES)}.")
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise GeometryError(f"{name} = {value!r} given; valid is a whole number of at least 1.")
    for name in ("dimension", "rank"):
        if counts[name] > counts["features"]:
            raise GeometryError(
                f"{name} = {counts[name]} given; {counts['features']} features hold at most as many "
                "dimensions: lower it or give more features."
            )
    for size in _pair(radius):
        if not _finite(size) or size < 0:
            raise GeometryError(
                f"radius = {radius!r} given; valid is a finite number of at least 0, or a pair of "
                "such numbers."
            )
    if not _finite(aspect) or not 0 < aspect <= 1:
        raise GeometryError(f"aspect = {aspect!r} given; valid is above 0 and at most 1.")
    if not _finite(correlation) or correlation < 0:
        raise GeometryError(
            f"correlation = {correlation!r} given; valid is a finite number of at least 0."
        )


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return bool(number and np.isfinite(value))
