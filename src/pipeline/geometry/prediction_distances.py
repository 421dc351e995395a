"""Other distances of models than Bhattacharyya's, of all pairs, float64.

Source: Mao et al., PNAS 121(12), 2024, App. D.3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import products, tiles
from pipeline.geometry.bhattacharyya.pairwise import in_threads, pairwise_distances
from pipeline.geometry.bhattacharyya.predictions import (
    check_alike,
    check_predictions,
    root_probabilities,
)
from pipeline.geometry.bhattacharyya.products import as_columns
from pipeline.geometry.bhattacharyya.tiles import FLOOR, SIDE
from pipeline.kernel_cache import REORDERED, compiler

compiled = compiler(__file__, tiles.__file__, products.__file__, fastmath=REORDERED)

SAMPLES = 64  # samples handled at a time
DEGREE = 10  # of the polynomial for arcsin: 1e-7 on what is used
Array = NDArray[np.float64]


def hellinger(p: NDArray[Any], q: NDArray[Any], threads: int | None) -> Array:
    """(1/N) sum_n [1 - sum_c sqrt(p q)], the mean squared Hellinger distance of the samples."""
    left, right = root_probabilities(p, np.float64), root_probabilities(q, np.float64)
    return _half_squares(left, right)


def euclidean(p: NDArray[Any], q: NDArray[Any], threads: int | None) -> Array:
    """(1/N) sum_n |p_n - q_n|^2."""
    left, right = (np.square(root_probabilities(one, np.float64)) for one in (p, q))
    return 2 * _half_squares(left, right)


def symmetrised_kl(p: NDArray[Any], q: NDArray[Any], threads: int | None) -> Array:
    """(1/N) sum_n 1/2 sum_c (p - q) (log p - log q), a probability being at least e^-100."""
    left, right = (np.square(root_probabilities(one, np.float64)) for one in (p, q))
    found = np.zeros((len(p), len(q)))
    for start in range(0, p.shape[1], SAMPLES):
        x, y = _flat(left, start), _flat(right, start)
        log_x, log_y = (np.log(np.maximum(one, np.exp(-FLOOR))) for one in (x, y))
        found += np.sum(x * log_x, axis=1)[:, None] + np.sum(y * log_y, axis=1)
        found -= x @ log_y.T + log_x @ y.T
    return np.maximum(found / (2 * p.shape[1]), 0)


def geodesic(p: NDArray[Any], q: NDArray[Any], threads: int | None) -> Array:
    """(1/N) sum_n arccos sum_c sqrt(p q), by 2 arcsin(|sqrt p - sqrt q| / 2) of float32 roots: to 4e-7,
    which is 1 % of an angle of 1e-6; an arccos of float32 would know no angle below 3e-4.
    """
    left = np.ascontiguousarray(root_probabilities(p))
    right = root_probabilities(q)
    found = np.empty((len(p), len(q)))
    coefficients = arcsine_coefficients()

    def measure(start: int) -> None:
        columns = as_columns(right[start : start + SIDE])
        found[:, start : start + SIDE] = _mean_angles(left, columns, coefficients)

    in_threads(measure, range(0, len(q), SIDE), threads)
    return found


DISTANCES: dict[str, Callable[[NDArray[Any], NDArray[Any], int | None], Array]] = {
    "hellinger": hellinger,
    "euclidean": euclidean,
    "symmetrised_kl": symmetrised_kl,
    "geodesic": geodesic,
}


def prediction_distances(
    p: ArrayLike, q: ArrayLike | None = None, *, kind: str, threads: int | None = None
) -> Array:
    """Distances of a kind of all pairs of models, (m, m) or (m, k), float64.

    Arguments
    ---------
    p, q: probabilities (models, samples, classes); q None: all pairs of p.
    kind: bhattacharyya, or a name in ``DISTANCES``. threads: number of threads (None: all processors).

    Raises GeometryError for another kind, shapes that do not fit and what is no probability.
    """
    check_kind(kind)
    if kind == "bhattacharyya":
        return pairwise_distances(p, q, threads=threads)
    first = check_predictions(p, "p")
    second = first if q is None else check_predictions(q, "q")
    check_alike(first, second)
    found = DISTANCES[kind](first, second, threads)
    if q is None:
        found = (found + found.T) / 2
        np.fill_diagonal(found, 0)
    return found


def check_kind(kind: str) -> None:
    """Raise GeometryError for a kind of distance that there is not."""
    if kind != "bhattacharyya" and kind not in DISTANCES:
        raise GeometryError(
            f"There is no distance {kind!r}; valid are: bhattacharyya, {', '.join(DISTANCES)}."
        )


def _half_squares(left: Array, right: Array) -> Array:
    """(1/2N) sum_n |x_n - y_n|^2 of all pairs, from products."""
    found = np.zeros((len(left), len(right)))
    for start in range(0, left.shape[1], SAMPLES):
        x, y = _flat(left, start), _flat(right, start)
        middle = y.mean(axis=0)  # nearer to 0, differences of squares lose less
        x, y = x - middle, y - middle
        found += np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1) - 2 * (x @ y.T)
    return np.maximum(found / (2 * left.shape[1]), 0)


def _flat(values: Array, start: int) -> Array:
    return values[:, start : start + SAMPLES].reshape(len(values), -1)


@functools.cache
def arcsine_coefficients() -> NDArray[np.float32]:
    """Coefficients, lowest first, of a polynomial in z = x^2 near arcsin(x)/x for 0 <= z <= 1/2."""
    nodes = np.linspace(1e-6, 0.5, 2000)
    fitted = Chebyshev.fit(nodes, np.arcsin(np.sqrt(nodes)) / np.sqrt(nodes), DEGREE)
    return fitted.convert(kind=Polynomial).coef.astype(np.float32)


@compiled
def _mean_angles(left: Any, columns: Any, coefficients: Any) -> Any:
    """Mean angles (left, models) of roots (left, samples, classes) and (samples, classes, models)."""
    rows, samples, classes = left.shape
    width = columns.shape[2]
    sums = np.zeros((rows, width))
    some = np.empty(width, np.float32)
    z = np.empty(width, np.float32)
    total = np.empty(width, np.float32)
    for i in range(rows):
        for start in range(0, samples, SAMPLES):
            some[:] = np.float32(0)
            for n in range(start, min(start + SAMPLES, samples)):
                z[:] = np.float32(0)
                for c in range(classes):
                    value, row = left[i, n, c], columns[n, c]
                    for j in range(width):
                        gap = value - row[j]
                        z[j] += gap * gap
                total[:] = np.float32(0)
                for k in range(coefficients.size - 1, -1, -1):
                    coefficient = coefficients[k]
                    for j in range(width):
                        total[j] = total[j] * (np.float32(0.25) * z[j]) + coefficient
                for j in range(width):
                    some[j] += np.sqrt(z[j]) * total[j]
            for j in range(width):
                sums[i, j] += some[j]
    return sums / samples
