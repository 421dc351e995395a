"""Capacity of manifolds by simulation (kernel), the check of the mean-field theory.

P manifolds are projected on n random directions, y_a = g_a.x with g_a Gaussian, and each is given a
random label +-1. The labels are separable if a hyperplane through the origin has every manifold, all
its points, on its label's side. The share of separable ones rises with n from 0 to 1; where it is one half,

    alpha = P / n_{1/2}.

n_{1/2} is bracketed by bisection, then refined with trials near it, and read off a logistic curve
that is fitted to all trials. Every trial has directions and labels of its own.

Source: Stephenson et al., ICLR 2021, Sec. 3.2 and Fig. 1B; Cohen et al., Nature Communications 11,
746 (2020). Points: Cover, IEEE Trans. Electron. Comput. EC-14, 326 (1965). Bias reduction of the
fit: Firth, Biometrika 80, 27 (1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.checks import check_manifolds, check_whole, is_number
from pipeline.seeds import generator

STEP_TRIALS = 5  # labels at each step of the bisection, of which most decide
PRECISION = 0.01  # relative standard error at which the refinement ends
MOST_TRIALS = 2000
FEWEST_TRIALS = 20  # of the refinement
ROUND_SHARE = 0.25  # of the trials so far, for each round of the refinement
LOGISTIC_SD = math.pi / math.sqrt(3)  # of the logistic distribution of scale 1
OFFSET = 0.8  # of the curve's scale, from n_1/2 to where the refinement's trials are
FAR = 5.0  # of the curve's scale above n_1/2, where nearly all labels should be separable
SURE_TRIALS, CONFIRMING_TRIALS = 6, 20  # there: at least, and at most
TOLERATED = 0.25  # less of them than the curve has
LEAST_SHARE = 0.6  # that the curve has there
FIT_STEPS = 100
LONGEST_STEP = 2.0  # of the fit, in each coefficient: it cannot run away
ROUNDING = 1e-13  # relative to the largest coordinate
SOLVERS = ("svm", "lp")
MARGIN = 1e-9  # cosine of the nearest point to the hyperplane; what is not above it is on it
Array = NDArray[np.float64]


class EmpiricalCapacity(float):
    """A simulated capacity alpha = P / n_{1/2}, and how it was found.

    capacity: alpha, the number itself; standard_error: its standard error.
    directions: n_{1/2}; directions_error: its standard error.
    trials: (steps, 3) int64, one row per number of directions tried, rising: that number, its
        dichotomies, and how many of them were separable.
    """

    directions: float
    directions_error: float
    standard_error: float
    trials: NDArray[np.int64]

    def __new__(
        cls, manifolds: int, directions: float, directions_error: float, trials: NDArray[np.int64]
    ) -> EmpiricalCapacity:
        made = super().__new__(cls, manifolds / directions)
        made.directions, made.directions_error = directions, directions_error
        made.standard_error = float(made) * directions_error / directions
        made.trials = trials
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return round(self * self.directions), self.directions, self.directions_error, self.trials

    @property
    def capacity(self) -> float:
        return float(self)


def empirical_capacity(
    manifolds: Sequence[ArrayLike],
    seed: int = 0,
    precision: float = PRECISION,
    step_trials: int = STEP_TRIALS,
    most_trials: int = MOST_TRIALS,
    solver: str = "svm",
) -> EmpiricalCapacity:
    """Capacity of manifolds by simulation; the mean of all points is removed first.

    The common structure of the centres is not removed: a classifier spends some of the n directions
    on it, as many as the theory removes.

    Arguments
    ---------
    manifolds: P at least 3 arrays (features, points) of real numbers, the points of one class each.
    seed: of the stream of directions and labels, one of its own per trial.
    precision: relative standard error of the capacity at which trials end, above 0. Where some 50
        trials suffice, the error is itself known to a factor of two only.
    step_trials: labels at each step of the bisection, at least 1: it goes on once more than half of
        them agree; most_trials: of the whole simulation, which then ends whatever its standard error.
    solver: "svm" or "lp", see ``separable``.

    Raises GeometryError for fewer than three manifolds, ragged features, NaN and infinities, options
    out of range, and for manifolds of which fewer than half of the labels are separable with as many
    directions as their points span (equal centres, or too few features for their size).
    """
    sets = check_manifolds(manifolds)
    _check_options(len(sets), seed, precision, step_trials, most_trials, solver)
    points, owner = _coordinates(sets)
    count, most_directions = len(sets), min(points.shape[0], points.shape[1] - 1)
    table: dict[int, list[int]] = {}

    def attempt(directions: int) -> bool:
        """Whether one more label is separable, with some number of directions."""
        random = generator(seed, "empirical capacity", 0, "analysis", _total(table))
        projected = random.standard_normal((directions, len(points))) @ points
        labels = random.choice((-1.0, 1.0), count)
        holds = separable(projected * labels[owner], solver)
        row = table.setdefault(directions, [0, 0])
        row[0], row[1] = row[0] + 1, row[1] + holds
        return holds

    def mostly(directions: int) -> bool:
        """Whether most labels are separable; trials end once that is decided."""
        counts = [0, 0]
        while max(counts) <= step_trials // 2:
            counts[attempt(directions)] += 1
        return counts[1] > counts[0]

    low, high = _bracket(mostly, attempt, count, most_directions)
    while high - low > max(1.0, _width(high) / 2) and _total(table) + step_trials <= most_trials:
        middle = (low + high) // 2
        low, high = (low, middle) if mostly(middle) else (middle, high)
    centre = (low + high) / 2
    found = _refine(attempt, table, centre, most_directions, precision, most_trials)
    _confirm(attempt, table, most_directions)
    rows = np.array([[n, *row] for n, row in sorted(table.items())], dtype=np.int64)
    return EmpiricalCapacity(count, *found, rows)


def _coordinates(sets: list[NDArray[Any]]) -> tuple[Array, NDArray[np.int64]]:
    """All points about their mean, (coordinates, points), and the manifold of each point.

    Where there are more features than points a QR factorisation leaves as many coordinates as points:
    Gaussian directions look the same in any orthonormal basis.
    """
    owner = np.repeat(np.arange(len(sets)), [one.shape[1] for one in sets])
    points = np.concatenate(sets, axis=1).astype(np.float64)
    points /= float(np.max(np.abs(points))) or 1.0  # squares of 1e200 would overflow
    points -= points.mean(axis=1, keepdims=True)
    points[:, np.linalg.norm(points, axis=0) <= ROUNDING] = 0.0  # the mean itself
    if points.shape[0] > points.shape[1]:
        upper: Any = np.linalg.qr(points, mode="r")
        # LAPACK's signs are arbitrary
        points = upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]
    return points, owner


def _width(directions: float) -> float:
    """Standard deviation of the transition of points in general position, P = 2 n (Cover)."""
    return math.sqrt(directions / 2)


def _total(table: dict[int, list[int]]) -> int:
    return sum(trials for trials, _ in table.values())


def _bracket(
    mostly: Callable[[int], bool], attempt: Callable[[int], bool], count: int, most: int
) -> tuple[int, int]:
    """(n with few of the labels separable, n with most); with n = 0 none is separable."""
    low, high = 0, min(max(1, count // 2), most)  # the capacity is at most that of points, 2
    while not mostly(high):
        if high == most:
            if 2 * sum(attempt(high) for _ in range(CONFIRMING_TRIALS)) > CONFIRMING_TRIALS:
                break
            raise GeometryError(
                f"Most random labels of {count} manifolds are not separable with {most} directions, "
                "as many as their features and points allow, so that the capacity is below "
                f"{count / most:.3g} or there is none: give more features or smaller manifolds, and "
                "each class once."
            )
        low, high = high, min(2 * high, most)
    return low, high


def _refine(
    attempt: Callable[[int], bool],
    table: dict[int, list[int]],
    centre: float,
    most: int,
    precision: float,
    most_trials: int,
) -> tuple[float, float]:
    """(n_{1/2}, its standard error): trials on both sides of it, until the fit is precise."""
    error, scale, done = math.inf, _width(centre) / LOGISTIC_SD, 0
    while (left := most_trials - _total(table)) > 0:
        # A slope that is steep by chance makes for a small error: not fewer than points would need.
        least = max(FEWEST_TRIALS, 2 * (_width(centre) / (precision * centre)) ** 2)
        if done >= least and error <= precision * centre:
            break
        low = int(np.clip(round(centre - OFFSET * scale), 1, most))
        high = int(np.clip(round(centre + OFFSET * scale), min(low + 1, most), most))
        batch = min(max(FEWEST_TRIALS // 2, math.ceil(ROUND_SHARE * done)), left)
        for trial in range(batch):
            attempt((low, high)[trial % 2])
        done += batch
        try:
            centre, error, scale = fit_transition(table)
        except GeometryError:  # few trials may rise by chance
            if _total(table) >= most_trials:
                raise
            continue
        centre, scale = min(max(centre, 0.5), most), min(scale, centre)
    return (centre, error) if done else fit_transition(table)[:2]


def _confirm(attempt: Callable[[int], bool], table: dict[int, list[int]], most: int) -> None:
    """Raise GeometryError where the share of separable labels levels off instead of rising to 1.

    Two manifolds that meet, whose labels differ half of the time, do that, and the trials near n_1/2
    do not show it.
    """
    centre, _, scale = fit_transition(table)
    scale = max(scale, _width(centre) / LOGISTIC_SD)  # it may be too steep by chance
    above = min(math.ceil(centre + FAR * scale), most)
    share = 1 / (1 + math.exp((centre - above) / scale))
    hits = trials = 0
    while trials < SURE_TRIALS or (hits < trials and trials < CONFIRMING_TRIALS):
        hits, trials = hits + attempt(above), trials + 1
    if share < LEAST_SHARE or hits < (share - TOLERATED) * trials:
        raise GeometryError(
            f"The share of separable labels levels off: {hits} of {trials} with {above} directions, "
            f"against half with {centre:.0f}; look for manifolds that meet, such as a class given "
            "twice, or give more features."
        )


def fit_transition(table: Mapping[int, Sequence[int]]) -> tuple[float, float, float]:
    """(n_{1/2}, its standard error, scale s) of the share 1 / (1 + exp(-(n - n_{1/2}) / s)).

    Maximum likelihood with Firth's penalty, half the log determinant of the information: finite where
    all trials above some n are separable and all below are not. Errors from the inverse information.

    Arguments
    ---------
    table: number of directions -> (trials, separable ones).

    Raises GeometryError where the share does not rise with n, and for one number of directions only.
    """
    if len(table) < 2:
        raise GeometryError(
            f"Trials with {len(table)} number of directions given; a transition needs two or more: "
            "raise most_trials."
        )
    n = np.array(list(table), dtype=np.float64)
    trials, hits = np.array(list(table.values()), dtype=np.float64).T
    origin = float(np.average(n, weights=trials))
    unit = _width(max(origin, 1.0))
    x = np.stack([np.ones_like(n), (n - origin) / unit])
    beta, value = np.array([0.0, 1.0]), -math.inf
    step = np.zeros(2)
    for _ in range(FIT_STEPS):
        likelihood, gradient, inverse = _penalised(x, trials, hits, beta + step)
        if likelihood < value - 1e-12 * abs(value):
            step /= 2  # too far: the likelihood is not concave
            continue
        beta, value = beta + step, likelihood
        step = inverse @ gradient
        if np.max(np.abs(step)) < 1e-9:
            break
        step *= min(1.0, LONGEST_STEP / float(np.max(np.abs(step))))
    if not (np.max(np.abs(step)) < 1e-9 and beta[1] > 0):
        raise GeometryError(
            "The share of separable labels does not rise with the number of directions in the "
            f"{int(trials.sum())} trials made: make more of them, or use more manifolds."
        )
    slope = np.array([-1.0, beta[0] / beta[1]]) / beta[1]
    error = math.sqrt(float(slope @ inverse @ slope))
    return origin - unit * float(beta[0] / beta[1]), unit * error, unit / float(beta[1])


def _penalised(x: Array, trials: Array, hits: Array, beta: Array) -> tuple[float, Array, Array]:
    """Firth's penalised log likelihood at the coefficients, its gradient, and the inverse information."""
    field = np.clip(beta @ x, -30, 30)
    share = 1 / (1 + np.exp(-field))
    weights = trials * share * (1 - share)
    information = (x * weights) @ x.T
    inverse: Any = np.linalg.inv(information)
    leverage = weights * np.einsum("in,ij,jn->n", x, inverse, x)
    gradient: Array = x @ (hits - trials * share + leverage * (0.5 - share))
    likelihood = float(np.sum(hits * field - trials * np.log1p(np.exp(field))))
    return likelihood + float(np.linalg.slogdet(information)[1]) / 2, gradient, inverse


def separable(points: ArrayLike, solver: str = "svm") -> bool:
    """Whether all points lie strictly on one side of some hyperplane through the origin: w.x > 0.

    The points are signed by their labels beforehand. Both answers of "svm" are proved, whatever its
    rounding: with the a >= 0 of the hard-margin support vector machine, in its dual form

        min_{a >= 0} |S a|^2 + (1 - sum_i a_i)^2,

    either w = S a is such a hyperplane, tried on every point, or 0 = S a / sum(a) lies in the convex
    hull of the points, which then have none. Where neither holds to 1e-9 of the points' lengths,
    "lp" decides: the largest margin t with w.x >= t and |w_a| <= 1, a linear programme.

    Arguments
    ---------
    points: (directions, points), finite; their lengths do not matter.
    solver: "svm" or "lp".
    """
    x = np.asarray(points, dtype=np.float64)
    lengths = np.linalg.norm(x, axis=0)
    if 0 in lengths:
        return False  # the origin itself is on every hyperplane
    x = x / lengths
    decided = _support_vectors(x) if solver == "svm" else None
    return _largest_margin(x) if decided is None else decided


def _support_vectors(x: Array) -> bool | None:
    """Whether unit vectors are separable, by the support vector machine; None if it cannot tell."""
    from scipy.optimize import nnls

    directions, count = x.shape
    target = np.zeros(directions + 1)
    target[-1] = 1.0
    try:
        a, _ = nnls(np.vstack([x, np.ones((1, count))]), target)
    except RuntimeError:  # too many iterations
        return None
    w = x @ a
    length = float(np.linalg.norm(w))
    if float(np.min(w @ x)) > MARGIN * length:
        return True
    return False if length <= MARGIN * float(a.sum()) else None


def _largest_margin(x: Array) -> bool:
    """Whether unit vectors are separable, by the linear programme of the largest margin."""
    from scipy.optimize import linprog

    directions, count = x.shape
    cost = np.zeros(directions + 1)
    cost[-1] = -1.0
    below = np.hstack([-x.T, np.ones((count, 1))])
    bounds = [*[(-1.0, 1.0)] * directions, (None, None)]
    found = linprog(cost, A_ub=below, b_ub=np.zeros(count), bounds=bounds, method="highs")
    if found.x is None:
        raise GeometryError(
            f"The linear programme of {count} points along {directions} directions has no solution "
            f"({found.message}); check the points for values of very different sizes."
        )
    w = found.x[:-1]
    return bool(np.min(w @ x) > MARGIN * np.linalg.norm(w))


def _check_options(
    manifolds: int, seed: Any, precision: float, step_trials: Any, most_trials: Any, solver: str
) -> None:
    if manifolds < 3:
        raise GeometryError(
            f"{manifolds} manifolds given; once their mean is removed two lie opposite each other, and "
            "half of their labels are separable with any number of directions: give three or more."
        )
    check_whole("seed", seed, 0)
    check_whole("step_trials", step_trials)
    check_whole("most_trials", most_trials)
    if not is_number(precision) or precision <= 0:
        raise GeometryError(f"precision = {precision!r} given; valid is a finite number above 0.")
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise GeometryError(f"solver = {solver!r} given; valid are: {', '.join(SOLVERS)}.")
