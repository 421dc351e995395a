"""Distances of one tile of pairs of models, sample block by sample block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.bhattacharyya.products import (
    EVERY,
    Exponents,
    Mantissas,
    Roots,
    accumulate,
    as_columns,
    as_rows,
    exact_negative_logs,
)

FLOOR = 100.0  # largest -log a of a sample: an affinity is at least e^-100
SIDE = 256  # models on a side of what is worked on at a time, to stay in the processor's cache
SAMPLES = 250  # samples of such a part that are worked on at a time
STRIP = 64  # rows of a tile whose lost pairs are computed again at a time


@dataclass
class Tile:
    """Running products of the models of two groups.

    mantissas, exponents: (left, right), as in ``products.accumulate``; samples: seen so far.
    """

    mantissas: Mantissas
    exponents: Exponents
    samples: int = field(default=0)

    def lost(self) -> Iterator[NDArray[np.int64]]:
        """Pairs (pairs, 2) whose product was lost, a few rows of the tile at a time."""
        for start in range(0, len(self.mantissas), STRIP):
            pairs = np.argwhere(self.mantissas[start : start + STRIP] == 0)
            if len(pairs):
                pairs[:, 0] += start
                yield pairs

    def negative_logs(self) -> NDArray[np.float64]:
        """-log of the products (left, right); those of lost pairs are infinite."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.mantissas.astype(np.float64))
        return -(logs + self.exponents * np.log(2.0))


def empty_tile(left: int, right: int) -> Tile:
    """Products of no sample."""
    return Tile(np.ones((left, right), np.float32), np.zeros((left, right), np.int32))


def add_samples(tile: Tile, left: Roots, right: Roots, *, upper: bool = False) -> None:
    """Multiply the affinities of a block of samples into a tile.

    Arguments
    ---------
    left, right: float32 root probabilities (models, samples, classes) of the same samples.
    upper: left and right are the same models: parts below the diagonal are left out.
    """
    classes, samples = left.shape[2], left.shape[1]
    rows = as_rows(left)
    for j in parts(len(right)):
        columns = as_columns(right[j])
        for i in parts(len(left)):
            if upper and i.start > j.start:
                continue
            mantissas = np.ascontiguousarray(tile.mantissas[i, j])
            exponents = np.ascontiguousarray(tile.exponents[i, j])
            for n in parts(samples, SAMPLES):
                mantissas, exponents = _multiplied(
                    mantissas, exponents, np.ascontiguousarray(rows[i, n]), columns[n], classes
                )
            tile.mantissas[i, j], tile.exponents[i, j] = mantissas, exponents
    tile.samples += samples


def _multiplied(
    mantissas: Mantissas, exponents: Exponents, rows: Roots, columns: Roots, classes: int
) -> tuple[Mantissas, Exponents]:
    """The products with some more samples; where one is lost, all are normalised at every sample."""
    found, powers = mantissas.copy(), exponents.copy()
    if accumulate(found, powers, rows, columns, classes, EVERY):
        accumulate(mantissas, exponents, rows, columns, classes, 1)
        return mantissas, exponents
    return found, powers


def exact_distances(
    left: NDArray[np.floating], right: NDArray[np.floating], pairs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """sum_n min(-log a_n, 100) of some pairs (pairs,), in float64, for lost ones.

    Arguments
    ---------
    left, right: root probabilities (models, samples, classes); pairs: (pairs, 2).
    """
    totals = np.zeros(len(pairs))
    exact_negative_logs(left, right, pairs, float(np.exp(-FLOOR)), totals)
    return totals


def parts(size: int, step: int = SIDE) -> Iterator[slice]:
    """Consecutive slices of at most ``step``."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
