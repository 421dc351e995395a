"""Bhattacharyya distances of all pairs of models that are held in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.predictions import (
    check_alike,
    check_labels,
    check_predictions,
    root_probabilities,
)
from pipeline.geometry.bhattacharyya.tiles import (
    FLOOR,
    SIDE,
    Roots,
    Tile,
    add_samples,
    empty_tile,
    exact_distances,
)

DEVICE_SIDE = 4096  # models of a strip on a GPU
Array = NDArray[np.float64]


def pairwise_distances(
    p: ArrayLike,
    q: ArrayLike | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
) -> Array:
    """Bhattacharyya distances of all pairs of models, (m, m) or (m, k), float64.

        dB(P, Q) = -(1/N) sum_n log sum_c sqrt(p[n,c] q[n,c])

    with -log of a sample's affinity at most 100, so that no distance is infinite, and distances at
    least 0; of one set of models the diagonal is 0. Affinities are multiplied in float32, which gives a
    distance an error of about 2e-7 sqrt(C / (10 N)), C classes and N samples; pairs with an affinity
    below 8e-31 are computed in float64.

    Arguments
    ---------
    p: probabilities (models, samples, classes), any float dtype; they are normalised in float64.
    q: other models on the same samples; None: all pairs of p.
    threads: number of threads, each with tiles of its own (None: all processors that there are); the
        result does not depend on it.
    device: cpu, cuda, or auto (cuda where there is one): where affinities are multiplied.

    Raises GeometryError for shapes that do not fit and for what is no probability, TrainingError for a
    device that there is not.
    Source: Mao et al., PNAS 121(12), 2024, Eq. 2.
    """
    first = check_predictions(p, "p")
    second = first if q is None else check_predictions(q, "q")
    check_alike(first, second)
    if len(second) < len(first):  # strips are cut from the second
        return pairwise_distances(second, first, threads=threads, device=device).T.copy()
    left = root_probabilities(first)
    right = left if q is None else root_probabilities(second)
    distances = np.empty((len(left), len(right)))
    products = _products_on(device)
    side = SIDE if products is None else DEVICE_SIDE

    def measure(columns: slice) -> None:
        rows = slice(0, len(left) if q is not None else columns.stop)
        if products is not None:
            tile = products(left[rows], right[columns])
        else:
            tile = empty_tile(rows.stop, columns.stop - columns.start)
            add_samples(tile, left[rows], right[columns])
        found = tile.negative_logs()
        repair(tile, found, first[rows], second[columns])
        distances[rows, columns] = np.maximum(found / tile.samples, 0)

    strips = [slice(start, min(start + side, len(right))) for start in range(0, len(right), side)]
    # of one set of models, the longest first
    in_threads(measure, reversed(strips), threads if products is None else 1)
    if q is None:
        _mirror(distances)
        np.fill_diagonal(distances, 0)
    return distances


def _products_on(device: str) -> Callable[[Roots, Roots], Tile] | None:
    """The function that multiplies on a device; None for the CPU's own way."""
    if device == "cpu":
        return None
    from pipeline.hardware import chosen_device

    chosen = chosen_device(device)
    if chosen == "cpu":
        return None
    from pipeline.geometry.bhattacharyya.torch_products import device_tile

    return lambda left, right: device_tile(left, right, chosen)


def repair(tile: Tile, found: Array, p: NDArray[Any], q: NDArray[Any]) -> None:
    """Set ``found`` (left, right), sums of -log a, of the lost pairs of a tile, in place.

    Arguments
    ---------
    p, q: probabilities (models, samples, classes) of the tile's models.
    """
    right = None
    for pairs in tile.lost():
        first, last = pairs[0, 0], pairs[-1, 0] + 1
        left = root_probabilities(p[first:last], np.float64)
        right = root_probabilities(q, np.float64) if right is None else right
        found[pairs[:, 0], pairs[:, 1]] = exact_distances(left, right, pairs - [first, 0])


def truth_distances(p: ArrayLike, labels: ArrayLike) -> Array:
    """Distances (models,) to the truth: half the cross-entropy, with -log at most 200 per sample.

        dB(P, P*) = -(1/2N) sum_n log p[n, y_n]

    Arguments
    ---------
    p: probabilities (models, samples, classes); labels: (samples,) true classes.
    """
    models = check_predictions(p, "p")
    y = check_labels(labels, models.shape[1], models.shape[2])
    told = models[:, np.arange(y.size), y] / models.sum(axis=2, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return log_distances(np.log(told.astype(np.float64)))


def log_distances(log_likelihood: ArrayLike) -> Array:
    """Distances (models,) to the truth from log p[n, y_n] (models, samples): exact where
    probabilities underflow.
    """
    logs = np.asarray(log_likelihood, dtype=np.float64)
    if logs.ndim != 2 or not (logs <= 0).all():  # NaN is not
        raise GeometryError(
            f"Log-likelihoods of shape {logs.shape} given; (models, samples) with values up to 0 are "
            "needed."
        )
    return np.asarray(np.minimum(-logs / 2, FLOOR).mean(axis=1)) + 0.0


def in_threads(function: Callable[[Any], None], places: Iterable[Any], threads: int | None) -> None:
    """Call a function for each place, in threads; the first error is raised."""
    count = len(os.sched_getaffinity(0)) if threads is None else threads
    if count < 1:
        raise GeometryError(f"threads is {threads}; valid is a whole number from 1 on, or None.")
    if count == 1:
        for place in places:
            function(place)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(function, places):
            pass


def _mirror(distances: Array) -> None:
    """Fill what lies below the diagonal with what lies above, in place, tile by tile."""
    size = len(distances)
    for start in range(0, size, SIDE):
        stop = min(start + SIDE, size)
        distances[start:stop, :start] = distances[:start, start:stop].T
        square = distances[start:stop, start:stop]
        square[:] = np.triu(square) + np.triu(square, 1).T
