"""Low-rank structure of the centres of manifolds, and what is left of their correlation (kernels).

In the span of the P centred centres, X (P, n), for K = 1, 2, ... an orthonormal V (n, K) minimises

    E(V) = 1/2 sum_ij (C_ij - c_i.c_j)^2 / (d_i d_j),   C = X X^T, c = X V, d_i = C_ii - |c_i|^2,

the squared correlation of what is left of the centres. With B = C - c c^T, W = B / (d d^T) and r
the row sums of B * W the gradient is 2 X^T [(diag(r / d) - W) c]. The K of least mean |correlation|
is taken.

Source: Cohen et al., Nature Communications 11, 746 (2020), Methods, "Capacity from correlated
    manifolds".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.grassmann import Array, minimise
from pipeline.kernel_cache import REORDERED, compiler

SELECT = ("stability", "cost")
STARTS = ("random", "warm")
RESTARTS = 10
TOLERANCE = 1e-7  # promised relative decrease of E at which a restart ends ...
FINE = 1e-14  # ... and the one that is taken in the end
FLOOR = 0.05  # of the mean variance: added to variances that are divided by (measured)
ITERATIONS = 2000
RANK = 1e-20  # variance along a direction, relative to the largest, that counts as none
CENTRAL = 1e-20  # squared distance from the mean of all centres that counts as none
GONE = 1e-13  # squared share of a centre that is left: rounding
VANISHED = 1e-6  # a centre of which a smaller part is left has no direction any more
RISES = 3  # the search ends when the residual correlation has risen so often in a row ...
FIRST_TEST = 5  # ... tested from this K on

compiled = compiler(__file__, fastmath=REORDERED)


@dataclass(frozen=True)
class CentreStructure:
    """What is removed from the centres.

    K: number of directions; directions (features, K), orthonormal.
    correlation: mean over i != j of |cos(c_i - cbar, c_j - cbar)|, before anything is removed.
    residual: the same of what is left, for K = 0, 1, ... as far as was searched; NaN where some
        centre vanishes.
    unconverged: restarts that had not converged after the most iterations.
    """

    K: int
    directions: Array
    correlation: float
    residual: Array
    unconverged: int


def centre_structure(
    centres: Array,
    random: Any,
    select: str = "stability",
    restarts: int = RESTARTS,
    starts: str = "random",
) -> CentreStructure:
    """The low-rank structure of P centres.

    K = 0 is taken only where the centres have rank 1, as two always have.

    Arguments
    ---------
    centres: (features, P), P at least 2, float64, no two the same.
    random: numpy Generator or RandomState. Per K and restart it gives normal numbers (P, 1), then
        (n, K): what the authors' programme draws, so that its runs can be replayed.
    select: which restart is kept: "stability", of the largest smallest ratio of remaining to
        original norm (the authors' programme), or "cost", of the least E.
    restarts: number of starts for each K.
    starts: "random" (the authors' programme), or "warm": the last K's V and one random direction.

    Raises GeometryError where a centre is the mean of all.
    """
    features, count = centres.shape
    centred = centres - centres.mean(axis=1, keepdims=True)
    # E is made of fourth powers; a power of two changes no digit
    centred = np.ldexp(centred, -np.frexp(np.max(np.abs(centred)))[1])
    basis, upper = np.linalg.qr(centred)
    size = min(features, count - 1)
    _, axes = np.linalg.eigh(upper[:size] @ upper[:size].T)  # principal axes of the centres
    x = np.ascontiguousarray(upper[:size].T @ axes)
    basis = basis[:, :size] @ axes
    objective = _Objective(x)
    _refuse_central(objective.gram)
    found: list[Array] = [np.zeros((size, 0))]
    residual = [correlation := objective.residual(found[0])]
    unconverged = 0
    for k in range(1, _most(x) + 1):
        begin = _starts(random, axes, x, k, restarts, starts, found[-1])
        minima = minimise(objective, objective.scaling, begin, TOLERANCE, ITERATIONS)
        unconverged += int(np.sum(~minima.converged))
        left = objective.smallest_left(minima.subspaces)
        best = int(np.argmax(left) if select == "stability" else np.argmin(minima.values))
        found.append(minima.subspaces[best])
        residual.append(objective.residual(found[-1]) if left[best] > VANISHED else np.nan)
        if k >= FIRST_TEST and np.all(np.diff(residual[-RISES - 1 :]) > 0):
            break
    later = np.array(residual[1:])
    chosen = int(np.nanargmin(later)) + 1 if np.isfinite(later).any() else 0
    v = found[chosen]
    if chosen:
        v = minimise(objective, objective.scaling, v[None], FINE, ITERATIONS).subspaces[0]
        residual[chosen] = objective.residual(v)
    return CentreStructure(chosen, basis @ v, correlation, np.array(residual), unconverged)


def _refuse_central(gram: Array) -> None:
    squares = np.diagonal(gram)
    central = np.flatnonzero(squares <= CENTRAL * np.max(squares))
    if central.size:
        raise GeometryError(
            f"The centre of manifold {central[0]} coincides with the mean of all centres, so it has no "
            "direction; leave that manifold out or give more of them."
        )


def _most(x: Array) -> int:
    """The largest K tried: 9 more than the components that hold 95 % of the variance (10 more than
    one).

    At most one less than the rank, P - 2 for most centres: more would leave nothing of them.
    """
    squares = np.linalg.svd(x, compute_uv=False) ** 2
    rank = int(np.sum(squares > RANK * squares[0]))
    total = np.cumsum(squares / squares.sum())
    needed = int(np.argmax(total >= 0.95)) + 1
    return min(11 if needed == 1 else needed + 9, rank - 1)


def _starts(
    random: Any, axes: Array, x: Array, k: int, restarts: int, kind: str, last: Array
) -> Array:
    """Starts (restarts, n, k); the random ones are drawn in the QR's basis, as in the authors' programme."""
    made = []
    for _ in range(restarts):
        mixture = random.standard_normal((len(x), 1))
        anywhere = random.standard_normal((x.shape[1], k))
        made.append(axes.T @ anywhere if kind == "random" else np.hstack([last, x.T @ mixture]))
    return np.stack(made)


class _Objective:
    """E and its gradient for many V at once, and what V leaves of the centres.

    x: (P, n) centres along their principal axes.
    """

    def __init__(self, x: Array) -> None:
        self.x, self.gram = x, x @ x.T
        variances = np.sum(x**2, axis=0)
        self.flattening = 1 / (variances + FLOOR * np.mean(variances))[:, None]

    def __call__(self, v: Array) -> tuple[Array, Array]:
        c = self.x @ v
        left = c @ np.swapaxes(c, 1, 2)
        values = np.empty(len(v))
        _cost_and_weights(self.gram, left, values)
        return values, 2 * (self.x.T @ (left @ c))

    def scaling(self, v: Array) -> Callable[[Array], Array]:
        """Rough inverse of E's second derivative: a turn from V's direction a towards w costs in
        proportion to the variances of the centres along both."""
        c = self.x @ v
        squares = np.sum(c**2, axis=2)
        d = np.diagonal(self.gram) - squares
        weights = 1 / np.maximum(d, GONE * np.diagonal(self.gram))
        inner = np.swapaxes(c, 1, 2) @ (weights[:, :, None] * c)
        size = np.trace(inner, axis1=1, axis2=2) / v.shape[2]
        inner = inner + FLOOR * size[:, None, None] * np.eye(v.shape[2])
        inverse = np.linalg.inv(inner) / (2 * np.mean(weights, axis=1))[:, None, None]
        return lambda gradients: (self.flattening * gradients) @ inverse

    def residual(self, v: Array) -> float:
        """Mean |correlation| of what is left of the centres by one V."""
        c = self.x @ v
        left = self.gram - c @ c.T
        length = np.sqrt(np.maximum(np.diagonal(left), 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = np.abs(left / np.outer(length, length))
        others = ~np.eye(len(cosines), dtype=bool)
        return float(np.mean(cosines[others]))

    def smallest_left(self, v: Array) -> Array:
        """For each V the smallest ratio of remaining to original norm of a centre."""
        original = np.diagonal(self.gram)
        squares = original - np.sum((self.x @ v) ** 2, axis=2)
        return np.sqrt(np.maximum(np.min(squares / original, axis=1), 0))


@compiled
def _cost_and_weights(gram: Any, left: Any, values: Any) -> None:
    """E without its constant diagonal; ``left``, c c^T at first, becomes diag(r / d) - W."""
    restarts, p, _ = left.shape
    inverse = np.empty(p)
    for restart in range(restarts):
        matrix = left[restart]
        vanished = False
        for i in range(p):
            rest = gram[i, i] - matrix[i, i]
            vanished |= rest <= GONE * gram[i, i]
            inverse[i] = 1 / rest
        if vanished:  # E is not defined there: no step may end at such a V
            matrix[:] = 0.0
            values[restart] = np.inf
            continue
        total = 0.0
        for i in range(p):
            row, rest, scale = matrix[i], 0.0, inverse[i]
            for j in range(p):
                difference = gram[i, j] - row[j]
                weight = difference * inverse[j] * scale
                rest += difference * weight
                row[j] = -weight
            total += rest - 1
            row[i] += rest * scale
        values[restart] = total / 2
