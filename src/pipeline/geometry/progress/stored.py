"""Distances of stored trajectories at equal progress: out of core, whatever the number of samples.

A trajectory's models between checkpoints are found sample by sample (see ``at_progress``), so a block of
samples is brought to equal progress on its own, and what is kept of it are products of affinities.

Source: Mao et al., PNAS 121(12), 2024, Eqs. 3-5, App. D.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.pairwise import in_threads
from pipeline.geometry.bhattacharyya.predictions import (
    check_labels,
    ignorance,
    root_probabilities,
    truth,
)
from pipeline.geometry.bhattacharyya.sources import Source
from pipeline.geometry.bhattacharyya.tiles import (
    Tile,
    add_samples,
    empty_tile,
    exact_distances,
    parts,
)
from pipeline.geometry.progress.geodesics import GRID, at_progress, geodesic, progress_grid
from pipeline.geometry.progress.trajectories import paired_distances

MEMORY = 1 << 30  # bytes of predictions at equal progress and of products, roughly
Array = NDArray[np.float64]
Roots = NDArray[np.float32]


class Trajectory(NamedTuple):
    """One trajectory: the place of its source, its models there by rising update, their progress."""

    source: int
    models: NDArray[np.int64]
    progress: Array


class TrajectoryMeasures(NamedTuple):
    """What ``measure_trajectories`` gives, float64.

    distances: (t, t) d(u, v), the mean over s of dB(tau_u(s), tau_v(s)). tube_widths: (t, values) dB to
    the mean of the probabilities of its configuration. geodesic_distances: (t, values) dB to the point of
    the geodesic from ignorance to truth that has the progress s.
    """

    distances: Array
    tube_widths: Array
    geodesic_distances: Array


class _Given(NamedTuple):
    sources: Sequence[Source]
    trajectories: Sequence[Trajectory]
    labels: NDArray[np.int64]
    configurations: list[NDArray[np.int64]]
    step: int
    threads: int | None


def measure_trajectories(
    sources: Sequence[Source],
    trajectories: Sequence[Trajectory],
    labels: ArrayLike,
    configurations: ArrayLike,
    *,
    at: ArrayLike | int = GRID,
    block: int | None = None,
    memory: int = MEMORY,
    threads: int | None = None,
) -> TrajectoryMeasures:
    """Distances of all pairs of trajectories, tube widths, and distances to the geodesic.

        d(u, v) = int_0^1 dB(tau_u(s), tau_v(s)) ds

    Arguments
    ---------
    sources: of predictions on the same samples. trajectories: of their models. labels: (samples,) true
        classes. configurations: (t,) integers, equal for the trajectories of one configuration.
    at: values of progress, or how many equidistant ones up to 1. block: samples at a time (default: of
        a stored chunk). memory: bytes to work in; where not all values of progress fit, predictions are
        read several times. threads: as for ``pairwise_distances``; no result depends on these three
        beyond rounding.

    Raises GeometryError for trajectories without models, models that there are not, progress that is not
    finite, and labels or configurations that do not fit.
    """
    values = progress_grid(at)
    samples, classes = sources[0].shape[1:] if sources else (0, 0)
    y = check_labels(labels, samples, classes)
    groups = _check(sources, trajectories, configurations)
    step = sources[0].sample_chunk if block is None else block
    if step < 1 or memory < 1:
        raise GeometryError(
            f"block is {step} and memory {memory}; valid are whole numbers from 1 on."
        )
    given = _Given(sources, trajectories, y, groups, min(step, samples), threads)
    count = len(trajectories)
    each = 4 * count * (given.step * classes + 2 * count)  # bytes per value of progress
    total = np.zeros((count, count))
    widths, gaps = np.empty((count, values.size)), np.empty((count, values.size))
    for some in parts(values.size, max(1, memory // each)):
        upper, widths[:, some], gaps[:, some] = _measure(given, values[some])
        total += upper
    return TrajectoryMeasures((total + total.T) / values.size, widths, gaps)


def _check(
    sources: Sequence[Source], trajectories: Sequence[Trajectory], configurations: ArrayLike
) -> list[NDArray[np.int64]]:
    """The trajectories of each configuration, or GeometryError."""
    if not trajectories:
        raise GeometryError("No trajectory was given; give at least one.")
    for number, one in enumerate(trajectories):
        if not 0 <= one.source < len(sources):
            raise GeometryError(
                f"Trajectory {number} is of source {one.source}, which is not given."
            )
        models = sources[one.source].shape[0]
        there = one.models.size and 0 <= one.models.min() <= one.models.max() < models
        if (
            not there
            or one.progress.shape != one.models.shape
            or not np.isfinite(one.progress).all()
        ):
            raise GeometryError(
                f"Trajectory {number} has {one.models.size} models and progress of shape "
                f"{one.progress.shape}; models from 0 to {models - 1}, one at least, and a finite progress "
                "of each are needed."
            )
    found = np.asarray(configurations)
    if found.shape != (len(trajectories),):
        raise GeometryError(
            f"configurations has shape {found.shape}; one for each of the {len(trajectories)} "
            "trajectories is needed."
        )
    return [np.flatnonzero(found == one) for one in np.unique(found)]


def _measure(given: _Given, values: Array) -> tuple[Array, Array, Array]:
    """Sums over some values of progress of distances (t, t), above the diagonal; widths and distances
    to the geodesic (t, values).
    """
    count, samples = len(given.trajectories), given.labels.size
    tiles = [empty_tile(count, count) for _ in values]
    widths, gaps = np.zeros((count, values.size)), np.zeros((count, values.size))
    for block in parts(samples, given.step):
        roots = _at_values(given, values, block)
        labels = given.labels[block]

        def add(k: int, roots: Roots = roots, labels: NDArray[np.int64] = labels) -> None:
            add_samples(tiles[k], roots[k], roots[k], upper=True)
            p = np.square(roots[k], dtype=np.float64)
            widths[:, k] += labels.size * _to_means(p, given.configurations)
            gaps[:, k] += labels.size * _to_geodesic(p, labels, values[k])

        in_threads(add, range(values.size), given.threads)
    lost = [_lost_pairs(tile) for tile in tiles]
    exact = _exact(given, values, lost)
    total = np.zeros((count, count))
    for tile, pairs, distances in zip(tiles, lost, exact, strict=True):
        found = np.maximum(tile.negative_logs(), 0)
        found[pairs[:, 0], pairs[:, 1]] = distances
        total += np.triu(found, 1) / samples
    return total, widths / samples, gaps / samples


def _at_values(given: _Given, values: Array, block: slice) -> Roots:
    """Root probabilities (values, t, samples, classes) of all trajectories at equal progress."""
    classes = given.sources[0].shape[2]
    roots = np.empty(
        (values.size, len(given.trajectories), given.labels[block].size, classes), np.float32
    )

    def fill(number: int) -> None:
        mine = [k for k, one in enumerate(given.trajectories) if one.source == number]
        first = min(int(given.trajectories[k].models.min()) for k in mine)
        last = max(int(given.trajectories[k].models.max()) for k in mine) + 1
        read = given.sources[number].read(first, last, block)
        for k in mine:
            one = given.trajectories[k]
            p = np.square(read[one.models - first], dtype=np.float64)
            roots[:, k] = root_probabilities(at_progress(p, one.progress, values))

    in_threads(fill, sorted({one.source for one in given.trajectories}), given.threads)
    return roots


def _to_means(p: Array, configurations: list[NDArray[np.int64]]) -> Array:
    """dB (t,) of trajectories at one progress (t, samples, classes) to their configuration's mean."""
    found = np.empty(len(p))
    for members in configurations:
        mean = p[members].mean(axis=0)
        found[members] = paired_distances(p[members], np.broadcast_to(mean, p[members].shape))
    return found


def _to_geodesic(p: Array, labels: NDArray[np.int64], at: float) -> Array:
    """dB (t,) of models to the geodesic's point of progress ``at``."""
    samples, classes = p.shape[1:]
    point = geodesic(ignorance(samples, classes), truth(labels, classes), at)[0]
    return paired_distances(p, np.broadcast_to(point, p.shape))


def _lost_pairs(tile: Tile) -> NDArray[np.int64]:
    """Pairs (pairs, 2) above the diagonal whose product was lost."""
    found = [pairs[pairs[:, 0] < pairs[:, 1]] for pairs in tile.lost()]
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)


def _exact(given: _Given, values: Array, lost: list[NDArray[np.int64]]) -> list[Array]:
    """Sums of -log a of the lost pairs of each value of progress, in float64, from all samples again."""
    totals = [np.zeros(len(pairs)) for pairs in lost]
    needed = [k for k, pairs in enumerate(lost) if len(pairs)]
    if needed:
        for block in parts(given.labels.size, given.step):
            roots = _at_values(given, values[needed], block)
            for place, k in enumerate(needed):
                totals[k] += exact_distances(roots[place], roots[place], lost[k])
    return totals
