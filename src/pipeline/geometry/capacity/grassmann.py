"""Minimisation over subspaces (points of a Grassmann manifold), many starts in lockstep (kernel).

A subspace of dimension K is an orthonormal V (n, K); the function minimised depends on V V^T only.
Limited-memory BFGS in the tangent space, the step ending in an orthonormal V by a Cholesky factor.
All starts go through the same array operations, each with its own history and step length; those
that have converged leave.

Source: Nocedal & Wright, Numerical Optimization (2006), Alg. 7.4; Edelman, Arias & Smith, SIAM J.
Matrix Anal. Appl. 20, 303 (1998).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernel_cache import REORDERED, compiler

Array = NDArray[np.float64]
Function = Callable[[Array], tuple[Array, Array]]
Scaling = Callable[[Array], Callable[[Array], Array]]

compiled = compiler(__file__, fastmath=REORDERED)

MEMORY = 10  # pairs of steps and gradient changes that are kept
SUFFICIENT = 1e-4  # share of the predicted decrease that a step must reach
LONGEST_STEP = 1.0  # norm of a tangent step: about one radian
HALVINGS = 30
ROUNDING = 1e-15  # of a value, relative


@dataclass(frozen=True)
class Minima:
    """End points: subspaces (starts, n, K); values, whether converged, and iterations (starts,)."""

    subspaces: Array
    values: Array
    converged: NDArray[np.bool_]
    iterations: NDArray[np.int64]


def minimise(
    function: Function, scaling: Scaling, starts: Array, tolerance: float, iterations: int
) -> Minima:
    """A local minimum of a function of subspaces from each start.

    Arguments
    ---------
    function: V (active, n, K) orthonormal -> values (active,), Euclidean gradients (active, n, K);
        a value may be infinite, with gradient zero, where the function is not defined.
    scaling: V -> function that multiplies gradients by a rough inverse of the second derivative,
        symmetric and positive: without it, what is steep in one direction and flat in another is
        slow.
    starts: (starts, n, K), of full column rank.
    tolerance: decrease that a step promises, relative to the value (or to 1), below which a start
        has converged.
    iterations: most of them. What has not converged by then, or cannot be lowered any more, is
        returned as it is.
    """
    count, n, k = starts.shape
    ends = Minima(
        np.empty_like(starts),
        np.empty(count),
        np.zeros(count, dtype=bool),
        np.zeros(count, dtype=np.int64),
    )
    index = np.arange(count)
    v = np.linalg.qr(starts)[0]
    value, gradient = function(v)
    gradient = _tangent(v, gradient)
    history, stalls = _History(count, n * k), np.zeros(count, dtype=np.int64)
    for iteration in range(iterations + 1):
        direction = _descent(v, gradient, history, scaling)
        promised = -np.sum(direction * gradient, axis=(1, 2))
        done = promised <= tolerance * np.maximum(1, np.abs(value))
        leaves = done | (stalls > 1) | (iteration == iterations)
        if leaves.any():
            gone = index[leaves]
            ends.subspaces[gone], ends.values[gone] = v[leaves], value[leaves]
            ends.converged[gone] = (done & np.isfinite(value))[leaves]
            ends.iterations[gone] = iteration
            stay = ~leaves
            index, v, value, gradient = index[stay], v[stay], value[stay], gradient[stay]
            direction, promised, stalls = direction[stay], promised[stay], stalls[stay]
            history.keep(stay)
            if not index.size:
                break
        moved = _search(function, v, value, direction, promised)
        history.add(moved.step, moved.gradient - _tangent(moved.subspaces, gradient))
        history.forget(moved.stalled)
        stalls = np.where(moved.stalled, stalls + 1, 0)
        v, value, gradient = moved.subspaces, moved.values, moved.gradient
    return ends


@dataclass
class _Moved:
    subspaces: Array
    values: Array
    gradient: Array
    step: Array
    stalled: NDArray[np.bool_]


def _search(
    function: Function, v: Array, value: Array, direction: Array, promised: Array
) -> _Moved:
    """Backtracking until each start's value has decreased enough; ``stalled`` where it cannot."""
    length = np.minimum(1.0, LONGEST_STEP / np.linalg.norm(direction, axis=(1, 2)))
    moved = _Moved(
        v.copy(), value.copy(), np.zeros_like(v), np.zeros_like(v), np.zeros(len(v), dtype=bool)
    )
    pending = np.arange(len(v))
    for _ in range(HALVINGS):
        step = length[pending, None, None] * direction[pending]
        trial = _orthonormal(v[pending] + step)
        new, slopes = function(trial)
        rounding = ROUNDING * np.maximum(1, np.abs(value[pending]))
        wanted = SUFFICIENT * length[pending] * promised[pending]
        good = new <= value[pending] - wanted + rounding
        accepted = pending[good]
        moved.subspaces[accepted], moved.values[accepted] = trial[good], new[good]
        moved.gradient[accepted] = _tangent(trial[good], slopes[good])
        moved.step[accepted] = _tangent(trial[good], step[good])
        pending = pending[~good]
        if not pending.size:
            break
        length[pending] /= 2
    if pending.size:
        moved.stalled[pending] = True
        moved.gradient[pending] = _tangent(v[pending], function(v[pending])[1])
    return moved


def _descent(v: Array, gradient: Array, history: _History, scaling: Scaling) -> Array:
    """Tangent descent directions; the scaled gradient, without history, where one ascends."""
    scaled = scaling(v)
    direction = _tangent(v, history.direction(gradient, scaled))
    slope = np.sum(direction * gradient, axis=(1, 2))
    sizes = np.linalg.norm(direction, axis=(1, 2)) * np.linalg.norm(gradient, axis=(1, 2))
    wrong = ~(slope < -1e-8 * sizes)
    if wrong.any():
        history.forget(wrong)
        direction[wrong] = _tangent(v, -scaled(gradient))[wrong]
    return direction


class _History:
    """The last steps and gradient changes of each start, newest last."""

    def __init__(self, starts: int, size: int) -> None:
        self.steps = np.zeros((0, starts, size))
        self.changes = np.zeros((0, starts, size))
        self.inverse = np.zeros((0, starts))  # 1 / (step . change); 0: no pair

    def keep(self, stay: NDArray[np.bool_]) -> None:
        self.steps, self.changes = self.steps[:, stay], self.changes[:, stay]
        self.inverse = self.inverse[:, stay]

    def forget(self, which: NDArray[np.bool_]) -> None:
        self.inverse[:, which] = 0

    def add(self, step: Array, change: Array) -> None:
        s, y = step.reshape(len(step), -1), change.reshape(len(step), -1)
        product = np.einsum("ij,ij->i", s, y)
        sizes = np.linalg.norm(s, axis=1) * np.linalg.norm(y, axis=1)
        curved = product > 1e-10 * sizes  # only such pairs keep the approximation positive
        inverse = np.where(curved, 1 / np.where(curved, product, 1), 0)
        self.steps = np.concatenate([self.steps, s[None]])[-MEMORY:]
        self.changes = np.concatenate([self.changes, y[None]])[-MEMORY:]
        self.inverse = np.concatenate([self.inverse, inverse[None]])[-MEMORY:]

    def direction(self, gradient: Array, scaled: Callable[[Array], Array]) -> Array:
        """-H g, H the approximation of the inverse Hessian (two-loop recursion)."""
        q = -gradient.reshape(len(gradient), -1)
        weights = np.zeros_like(self.inverse)
        _newest_first(self.steps, self.changes, self.inverse, weights, q)
        q = scaled(q.reshape(gradient.shape)).reshape(q.shape)
        if len(self.inverse):  # the newest pair gives the size
            change = self.changes[-1]
            flat = scaled(change.reshape(gradient.shape)).reshape(change.shape)
            square = self.inverse[-1] * np.einsum("ij,ij->i", change, flat)
            q /= np.where(square > 0, square, 1)[:, None]
        _oldest_first(self.steps, self.changes, self.inverse, weights, q)
        return q.reshape(gradient.shape)


@compiled
def _newest_first(steps: Any, changes: Any, inverse: Any, weights: Any, q: Any) -> None:
    pairs, starts, size = steps.shape
    for start in range(starts):
        x = q[start]
        for i in range(pairs - 1, -1, -1):
            s, y, total = steps[i, start], changes[i, start], 0.0
            for j in range(size):
                total += s[j] * x[j]
            weight = inverse[i, start] * total
            weights[i, start] = weight
            for j in range(size):
                x[j] -= weight * y[j]


@compiled
def _oldest_first(steps: Any, changes: Any, inverse: Any, weights: Any, q: Any) -> None:
    pairs, starts, size = steps.shape
    for start in range(starts):
        x = q[start]
        for i in range(pairs):
            s, y, total = steps[i, start], changes[i, start], 0.0
            for j in range(size):
                total += y[j] * x[j]
            weight = weights[i, start] - inverse[i, start] * total
            for j in range(size):
                x[j] += weight * s[j]


def _tangent(v: Array, x: Array) -> Array:
    """The part of x that changes the subspace: x - V V^T x."""
    return x - v @ (np.swapaxes(v, 1, 2) @ x)


def _orthonormal(v: Array) -> Array:
    """Orthonormal basis of the columns of each v, near v where v is nearly orthonormal."""
    factor = np.linalg.cholesky(np.swapaxes(v, 1, 2) @ v)
    return np.swapaxes(np.linalg.solve(factor, np.swapaxes(v, 1, 2)), 1, 2)
