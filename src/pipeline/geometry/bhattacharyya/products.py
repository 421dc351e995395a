"""Running products of affinities, compiled (kernels).

The distance of two models is -(1/N) log prod_n a_n with the affinities a_n = sum_c sqrt(p_nc q_nc). The
product is kept as a float32 mantissa in [1, 2) and an integer exponent per pair of models; it is
normalised every few samples, and one logarithm is taken at the end.

Where a product falls below 2^-100 between two normalisations its mantissa becomes 0 and stays 0: it is
lost. So nothing rests on how the processor treats denormals: numbers below 2^-126, which it may flush to
zero, are less than 2^-26 of any product that is kept.

Source of the distance: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from pipeline.kernel_cache import REORDERED, compiler

compiled = compiler(__file__, fastmath=REORDERED)

ROWS = 4  # rows of a tile done together: they share what is read of the columns
UNROLLED = 10  # more classes than this are summed in blocks: the compiler unrolls no longer loops
EVERY = 8  # samples between two normalisations
MANTISSA = np.int32(0x007FFFFF)  # bits of a float32
ONE = np.int32(0x3F800000)  # bits of 1.0
LEAST = np.int32(27)  # biased exponent of 2^-100
LOST = np.int32(-(2**30))  # exponent of a product that is not known
Mantissas = NDArray[np.float32]
Exponents = NDArray[np.int32]
Roots = NDArray[np.float32]


def class_block(classes: int) -> int:
    """How many classes are summed at a time; blocks of them hold all classes with the least padding."""
    blocks = math.ceil(classes / UNROLLED)
    return math.ceil(classes / blocks)


def as_rows(roots: Roots) -> Roots:
    """Roots (models, samples, classes) as the left side of ``accumulate``: (models, samples, classes
    with zeros up to whole blocks).
    """
    return np.ascontiguousarray(_padded(roots), dtype=np.float32)


def as_columns(roots: Roots) -> Roots:
    """Roots (models, samples, classes) as its right side: (samples, classes in blocks, models)."""
    return np.ascontiguousarray(_padded(roots).transpose(1, 2, 0), dtype=np.float32)


def _padded(roots: Roots) -> Roots:
    classes = roots.shape[2]
    missing = -classes % class_block(classes)
    return np.pad(roots, ((0, 0), (0, 0), (0, missing))) if missing else roots


def accumulate(
    mantissas: Mantissas,
    exponents: Exponents,
    rows: Roots,
    columns: Roots,
    classes: int,
    every: int,
) -> int:
    """Multiply the affinities of some samples into running products, in place; returns how many of
    these were lost.

    Arguments
    ---------
    mantissas, exponents: (rows, columns) float32 and int32, C-contiguous; the product is mantissa
        2^exponent. Mantissas are 1, in [1, 2), or 0 where a product is lost (with the exponent ``LOST``).
    rows, columns: as ``as_rows`` and ``as_columns`` give them; classes: without padding.
    every: samples between two normalisations. A product is lost where that many affinities multiply
        to less than 2^-100, about 8e-31.
    """
    block = class_block(classes)
    kernel = _one_block(block) if rows.shape[2] == block else _several_blocks(block)
    return int(kernel(mantissas, mantissas.view(np.int32), exponents, rows, columns, every))


@compiled
def _normalise(bits: Any, exponents: Any) -> int:
    """Move the exponents of mantissas, given as their bits, into ``exponents``; what is below 2^-100
    becomes 0 with the exponent ``LOST``. Returns how many were lost now.
    """
    lost = 0
    for i in range(bits.shape[0]):
        row, exponent = bits[i], exponents[i]
        for j in range(row.size):
            value, before = row[j], exponent[j]
            power = value >> 23
            there = power >= LEAST
            row[j] = (value & MANTISSA) | ONE if there else np.int32(0)
            exponent[j] = before + power - np.int32(127) if there else LOST
            lost += 1 if not there and before != LOST else 0
    return lost


@functools.cache
def _one_block(block: int) -> Callable[..., int]:
    """The kernel for few classes, whose sums the compiler unrolls."""

    # one function, which closes over nothing but a number: numba's cache cannot keep others
    @compiled
    def multiply(
        mantissas: Any, bits: Any, exponents: Any, rows: Any, columns: Any, every: int
    ) -> int:
        lost = 0
        count, width = mantissas.shape
        samples, whole = columns.shape[0], count - count % ROWS
        for first in range(0, samples, every):
            last = min(first + every, samples)
            for i in range(0, whole, ROWS):
                p = mantissas[i : i + ROWS]
                for n in range(first, last):
                    # as tuples, for the compiler must know that writing to p changes none of them
                    x0 = to_fixed_tuple(rows[i, n], block)
                    x1 = to_fixed_tuple(rows[i + 1, n], block)
                    x2 = to_fixed_tuple(rows[i + 2, n], block)
                    x3 = to_fixed_tuple(rows[i + 3, n], block)
                    right = columns[n]
                    for j in range(width):
                        a0 = a1 = a2 = a3 = np.float32(0)
                        for c in range(block):
                            value = right[c, j]
                            a0 += x0[c] * value
                            a1 += x1[c] * value
                            a2 += x2[c] * value
                            a3 += x3[c] * value
                        p[0, j] *= a0
                        p[1, j] *= a1
                        p[2, j] *= a2
                        p[3, j] *= a3
            for i in range(whole, count):
                one = mantissas[i]
                for n in range(first, last):
                    x, right = to_fixed_tuple(rows[i, n], block), columns[n]
                    for j in range(width):
                        a = np.float32(0)
                        for c in range(block):
                            a += x[c] * right[c, j]
                        one[j] *= a
            lost += _normalise(bits, exponents)
        return lost

    return multiply  # type: ignore[no-any-return]


@functools.cache
def _several_blocks(block: int) -> Callable[..., int]:
    """The kernel for many classes: the affinities of a few rows are summed in a buffer."""

    @compiled
    def multiply(
        mantissas: Any, bits: Any, exponents: Any, rows: Any, columns: Any, every: int
    ) -> int:
        lost = 0
        count, width = mantissas.shape
        samples, classes = columns.shape[0], columns.shape[1]
        sums = np.empty((ROWS, width), np.float32)
        some = np.zeros((ROWS, block), np.float32)
        for first in range(0, samples, every):
            last = min(first + every, samples)
            for i in range(0, count, ROWS):
                height = min(ROWS, count - i)
                for n in range(first, last):
                    sums[:] = np.float32(0)
                    for start in range(0, classes, block):
                        for k in range(height):
                            for c in range(block):
                                some[k, c] = rows[i + k, n, start + c]
                        right = columns[n, start : start + block]
                        x0, x1 = to_fixed_tuple(some[0], block), to_fixed_tuple(some[1], block)
                        x2, x3 = to_fixed_tuple(some[2], block), to_fixed_tuple(some[3], block)
                        for j in range(width):
                            a0 = a1 = a2 = a3 = np.float32(0)
                            for c in range(block):
                                value = right[c, j]
                                a0 += x0[c] * value
                                a1 += x1[c] * value
                                a2 += x2[c] * value
                                a3 += x3[c] * value
                            sums[0, j] += a0
                            sums[1, j] += a1
                            sums[2, j] += a2
                            sums[3, j] += a3
                    for k in range(height):
                        p, a = mantissas[i + k], sums[k]
                        for j in range(width):
                            p[j] *= a[j]
            lost += _normalise(bits, exponents)
        return lost

    return multiply  # type: ignore[no-any-return]


@compiled
def exact_negative_logs(left: Any, right: Any, pairs: Any, lowest: float, totals: Any) -> None:
    """Add sum_n -log max(a_n, lowest) of some pairs to ``totals`` (pairs,), in float64.

    Arguments
    ---------
    left, right: root probabilities (models, samples, classes); pairs: (pairs, 2) of a left and a right
        model; lowest: the floor of an affinity.
    """
    samples, classes = left.shape[1], left.shape[2]
    for k in range(pairs.shape[0]):
        one, two = left[pairs[k, 0]], right[pairs[k, 1]]
        product, total = 1.0, 0.0
        for n in range(samples):
            a = 0.0
            for c in range(classes):
                a += np.float64(one[n, c]) * np.float64(two[n, c])
            product *= max(a, lowest)
            if product < 1e-200:  # the next factor is at least ``lowest``
                total -= math.log(product)
                product = 1.0
        totals[k] += total - math.log(product)
