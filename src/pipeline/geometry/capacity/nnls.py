"""Non-negative least squares on Gram matrices, compiled (kernels).

    a = argmin_{a >= 0} |S a - u|^2 = argmin_{a >= 0} a.G a / 2 - a.b,   G = S^T S,  b = S^T u

for many right-hand sides b of one G. Both methods are exact (active sets, no tolerance on the
solution): they end at the a that fulfils a >= 0, y = G a - b >= 0, a.y = 0.

1. Block principal pivoting: all indices that violate a sign change sides at
   once. A handful of factorisations whatever the number of points; used where G has full rank.
2. Lawson & Hanson's method: one index at a time, with an updated Cholesky factor. It needs no full
   rank, since an index whose column depends on those in use is passed over. Used where the first
   one stops or does not apply, and where few points support the solution.

Source: Lawson & Hanson, Solving Least Squares Problems (1974), ch. 23; Judice & Pires, Comput.
    Oper.
Res. 21, 587 (1994).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.kernel_cache import REORDERED, compiler

compiled = compiler(__file__, fastmath=REORDERED)

PILOTS = 8  # problems solved one index at a time first, to see how many points support a solution
FEW = 3  # below 1/FEW of the points, one index at a time is the faster way (measured)
BLOCK_TRIES = 3  # rounds in which block pivoting may fail to reduce the violations
DEPENDENT = 1e-11  # a column depends on others if less of it (squared) is outside their span
ROUNDING = 1e-14  # violations below it, relative to the largest b, are rounding
Array = NDArray[np.float64]


@compiled
def _dot(x: Any, y: Any, n: int) -> float:
    total = 0.0
    for i in range(n):
        total += x[i] * y[i]
    return total


@compiled
def _add_scaled(x: Any, y: Any, factor: float, n: int) -> None:
    for i in range(n):
        x[i] += factor * y[i]


@compiled
def _append_row(factor: Any, row: Any, size: int) -> float:
    """Row ``size`` of a Cholesky factor from that of the matrix; returns the squared pivot that is
    left.
    """
    target = factor[size]
    square = row[size]
    for j in range(size):
        value = (row[j] - _dot(target, factor[j], j)) / factor[j, j]
        target[j] = value
        square -= value * value
    return square


@compiled
def _solve_back(factor: Any, z: Any, size: int) -> None:
    """z <- L^-T z."""
    for i in range(size - 1, -1, -1):
        z[i] /= factor[i, i]
        _add_scaled(z, factor[i], -z[i], i)


@compiled
def _dual(gram: Any, b: Any, members: Any, z: Any, size: int, y: Any) -> None:
    """y = G a - b, a being z at the members."""
    m = b.size
    for i in range(m):
        y[i] = -b[i]
    for k in range(size):
        _add_scaled(y, gram[members[k]], z[k], m)


@compiled
def _block_pivoting(
    gram: Any, b: Any, passive: Any, members: Any, factor: Any, row: Any, z: Any, y: Any
) -> int:
    """Size of the final passive set; -1 where the method stops or meets dependent columns."""
    m = b.size
    fewest, tries = m + 1, BLOCK_TRIES
    for i in range(m):
        passive[i] = b[i] > 0
    for _ in range(3 * m):
        size = 0
        for i in range(m):
            if passive[i]:
                members[size] = i
                column = gram[i]
                for k in range(size + 1):
                    row[k] = column[members[k]]
                square = _append_row(factor, row, size)
                if square <= DEPENDENT * row[size]:
                    return -1
                pivot = np.sqrt(square)
                factor[size, size] = pivot
                z[size] = (b[i] - _dot(factor[size], z, size)) / pivot
                size += 1
        _solve_back(factor, z, size)
        _dual(gram, b, members, z, size, y)
        violated, last, k = 0, -1, 0
        for i in range(m):
            if passive[i]:
                wrong = z[k] < 0
                k += 1
            else:
                wrong = y[i] < 0
            row[i] = wrong
            if wrong:
                violated += 1
                last = i
        if violated == 0:
            return size
        if violated < fewest:
            fewest, tries = violated, BLOCK_TRIES
        else:
            tries -= 1
        if tries > 0:
            for i in range(m):
                if row[i] > 0:
                    passive[i] = not passive[i]
        elif tries > -m:
            passive[last] = not passive[last]  # Murty's rule: it cannot cycle
        else:
            return -1
    return -1


@compiled
def _lawson_hanson(
    gram: Any, b: Any, passive: Any, members: Any, factor: Any, row: Any, z: Any, y: Any, a: Any
) -> int:
    """Size of the final passive set, ``z`` its coefficients; -1 where it does not end
    (rounding).
    """
    m = b.size
    size, largest = 0, 0.0
    for i in range(m):
        passive[i], y[i], a[i] = False, -b[i], 0.0
        largest = max(largest, abs(b[i]))
    for _ in range(6 * m):
        index = -1
        lowest = -ROUNDING * largest
        for i in range(m):
            if not passive[i] and y[i] < lowest:
                index, lowest = i, y[i]
        if index < 0:
            return size
        for k in range(size):
            row[k] = gram[index][members[k]]
        row[size] = gram[index, index]
        square = _append_row(factor, row, size)
        if square <= DEPENDENT * row[size]:
            y[index] = 0.0  # depends on the members: it cannot help until they change
            continue
        factor[size, size] = np.sqrt(square)
        members[size] = index
        passive[index] = True
        size += 1
        while True:
            _solve_members(b, members, factor, z, size)
            step, out = 1.0, -1
            for k in range(size):
                if z[k] <= 0:
                    before = a[members[k]]
                    part = before / (before - z[k]) if before > 0 else 0.0
                    if part < step or out < 0:
                        step, out = part, k
            if out < 0:
                break
            for k in range(size):
                i = members[k]
                a[i] = max(0.0, a[i] + step * (z[k] - a[i]))
            a[members[out]] = 0.0
            size = _drop(gram, passive, members, factor, row, a, size)
        for k in range(size):
            a[members[k]] = z[k]
        _dual(gram, b, members, z, size, y)
    return -1


@compiled
def _solve_members(b: Any, members: Any, factor: Any, z: Any, size: int) -> None:
    """z = G_FF^-1 b_F from the Cholesky factor of the members F."""
    for k in range(size):
        z[k] = (b[members[k]] - _dot(factor[k], z, k)) / factor[k, k]
    _solve_back(factor, z, size)


@compiled
def _drop(gram: Any, passive: Any, members: Any, factor: Any, row: Any, a: Any, size: int) -> int:
    """Leave out the members whose coefficient is zero; the factor is made again from the first of
    them.
    """
    kept = 0
    for k in range(size):
        i = members[k]
        if a[i] <= 0:
            passive[i] = False
            continue
        members[kept] = i
        if kept < k:
            for j in range(kept + 1):
                row[j] = gram[i, members[j]]
            factor[kept, kept] = np.sqrt(_append_row(factor, row, kept))
        kept += 1
    return kept


@compiled
def _solve_all(gram: Any, right: Any, solution: Any) -> int:
    """Solve for each row of ``right``; returns how many were given up, their solutions being
    NaN.
    """
    count, m = right.shape
    passive, members = np.zeros(m, dtype=np.bool_), np.zeros(m, dtype=np.int64)
    factor, row = np.zeros((m, m)), np.zeros(m + 1)
    z, y, a = np.zeros(m), np.zeros(m), np.zeros(m)
    failed, supports = 0, 0
    for problem in range(count):
        b = right[problem]
        size = -1
        if problem >= PILOTS and FEW * supports >= PILOTS * m:
            size = _block_pivoting(gram, b, passive, members, factor, row, z, y)
        if size < 0:
            size = _lawson_hanson(gram, b, passive, members, factor, row, z, y, a)
        if problem < PILOTS:
            supports += max(size, 0)
        target = solution[problem]
        for i in range(m):
            target[i] = 0.0 if size >= 0 else np.nan
        for k in range(size):
            target[members[k]] = z[k]
        failed += size < 0
    return failed


def nonnegative_least_squares(gram: Array, right: Array) -> Array:
    """a = argmin_{a >= 0} a.G a / 2 - a.b for every row b of ``right``.

    Exact up to rounding in the Gram matrix, which squares the condition number: whoever knows S
    checks the solution against it. Single thread; the interpreter's lock is released.

    Arguments
    ---------
    gram: (m, m), G = S^T S, symmetric and positive semidefinite.
    right: (problems, m), the b.

    Returns (problems, m) float64; the row of a problem that is not finite, or that neither
    method ends on, is NaN.
    Raises GeometryError for shapes that do not fit.
    """
    gram = np.ascontiguousarray(gram, dtype=np.float64)
    right = np.ascontiguousarray(right, dtype=np.float64)
    m = gram.shape[-1]
    if gram.shape != (m, m) or right.ndim != 2 or right.shape[1] != m:
        raise GeometryError(
            f"A Gram matrix of shape {gram.shape} and right-hand sides of shape {right.shape} given; "
            "(m, m) and (problems, m) are needed."
        )
    solution = np.empty_like(right)
    _solve_all(gram, right, solution)
    if not np.isfinite(gram).all():
        solution[:] = np.nan
    solution[~np.isfinite(right).all(axis=1)] = (
        np.nan
    )  # comparisons with NaN are false: it would pass
    return solution
