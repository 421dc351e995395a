"""Synthetic classes on spheres around opposite centres (Stephenson et al., ICLR 2021)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.points import PointDataset
from pipeline.errors import DataError
from pipeline.seeds import generator


def spheres(
    root: Path,
    *,
    classes: int = 100,
    train_points: int = 100,
    test_points: int = 100,
    radius: float = 5.0,
    dimension: int = 30,
    features: int = 1024,
    seed: int = 0,
) -> PointDataset:
    """Pairs of classes on spheres around +e_k and -e_k, k = 0, 1, ..., classes / 2 - 1.

    Class 2 k has the centre c = e_k, class 2 k + 1 the centre -e_k, with e_k the unit vector of
    coordinate k, so that pairs are orthogonal. A point of a class is x = c + r u, with u uniform on
    the unit sphere of the class's own subspace of dimension d. The subspace contains e_k and is random
    otherwise (inferred: the paper states centres, radius and dimension). Coordinate k of x hence has
    the mean +-1 and the standard deviation r / sqrt(d); the two classes of a pair overlap along it from
    r = 1 on (Stephenson et al., ICLR 2021, Fig. A3).

    Samples come in rounds, each with one point of every class in random order: the first n samples of
    a split hold equally many of each class, give or take one. The same arguments give the same points;
    the first points do not depend on how many follow. The test set is drawn anew on the same spheres.

    Arguments
    ---------
    root: not used (nothing is read or written).
    classes: C, even. train_points, test_points: points per class (100 is our choice).
    radius: r > 0. dimension: d of every class's subspace. features: N, length of a vector.
    seed: of subspaces, points and orders.

    Raises DataError for an option outside its range.
    """
    _check(classes, train_points, test_points, radius, dimension, features, seed)
    bases = [_basis(seed, one, dimension, features) for one in range(classes)]
    train = _samples(bases, train_points, radius, seed, 0)
    test = _samples(bases, test_points, radius, seed, 1)
    provenance = {
        "origin": "generated",
        "classes": classes,
        "train_points": train_points,
        "test_points": test_points,
        "radius": float(radius),
        "dimension": dimension,
        "features": features,
        "seed": seed,
    }
    return PointDataset("spheres", *train, *test, provenance)


def _basis(seed: int, one: int, dimension: int, features: int) -> NDArray[np.float64]:
    """Orthonormal rows (dimension, features) of a class's subspace, the first its centre's axis."""
    axis = one // 2
    basis = np.zeros((dimension, features))
    basis[0, axis] = 1.0
    random = generator(seed, "spheres", one, "data")
    others = random.standard_normal((features - 1, dimension - 1))  # all coordinates but the axis
    basis[1:, np.arange(features) != axis] = np.linalg.qr(others)[0].T
    return basis


def _samples(
    bases: list[NDArray[np.float64]], count: int, radius: float, seed: int, split: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``count`` points of each class (samples, features) and their classes, in rounds."""
    classes, features = len(bases), bases[0].shape[1]
    order = generator(seed, "spheres", split, "order")
    labels = np.concatenate([order.permutation(classes) for _ in range(count)])
    points = np.empty((labels.size, features), np.float32)
    for one, basis in enumerate(bases):
        random = generator(seed, "spheres", one, "data", split)
        points[labels == one] = _class_points(basis, one, count, radius, random)
    return points, labels


def _class_points(
    basis: NDArray[np.float64], one: int, count: int, radius: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Points x = c + r u (count, features) of one class."""
    directions = random.standard_normal((count, len(basis)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = np.zeros((count, basis.shape[1]))
    # No matrix product: its last bits would depend on the number of points.
    for share, row in zip(directions.T, basis, strict=True):
        points += radius * share[:, None] * row
    points[:, one // 2] += 1 - 2 * (one % 2)
    return points


def _check(
    classes: Any,
    train_points: Any,
    test_points: Any,
    radius: Any,
    dimension: Any,
    features: Any,
    seed: Any,
) -> None:
    whole = {
        "classes": (classes, 2),
        "train_points": (train_points, 1),
        "test_points": (test_points, 1),
        "dimension": (dimension, 1),
        "features": (features, 1),
        "seed": (seed, 0),
    }
    for key, (value, least) in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DataError(
                f"spheres: {key} is {value!r}; valid are whole numbers from {least} on."
            )
    number = isinstance(radius, int | float) and not isinstance(radius, bool)
    if not number or not 0 < radius < math.inf:
        raise DataError(f"spheres: radius is {radius!r}; valid are finite numbers above 0.")
    if classes % 2:
        raise DataError(
            f"spheres: classes is {classes}; valid are even numbers, since classes come in pairs."
        )
    if classes // 2 > features:
        raise DataError(
            f"spheres: classes is {classes}, but {features} features hold {features} pairs at most; "
            f"valid are 2 to {2 * features}, or more features."
        )
    if dimension > features:
        raise DataError(f"spheres: dimension is {dimension}; valid are 1 to {features} (features).")
