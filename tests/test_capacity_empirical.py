"""Capacity by simulation: separability, the fit, closed forms, and the ends where it is not defined."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import ball_capacity
from pipeline.geometry.capacity.empirical import (
    EmpiricalCapacity,
    empirical_capacity,
    fit_transition,
    separable,
)
from pipeline.geometry.capacity.generated import generated_manifolds

# --- separability --------------------------------------------------------------------------------


def cover(points: int, directions: int) -> float:
    """Share of the labels of points in general position that are separable (Cover, 1965)."""
    ways = sum(math.comb(points - 1, k) for k in range(min(directions, points)))
    return 2 * ways / 2**points


@pytest.mark.parametrize("solver", ["svm", "lp"])
@pytest.mark.parametrize(("points", "directions"), [(6, 3), (8, 4), (7, 2), (6, 6)])
def test_separable_labels_of_points_are_as_many_as_cover_counts(
    solver: str, points: int, directions: int
) -> None:
    x = np.random.default_rng(points).standard_normal((directions, points))
    labels = [[1 - 2 * (code >> i & 1) for i in range(points)] for code in range(2**points)]
    share = np.mean([separable(x * np.array(one), solver) for one in labels])
    assert share == cover(points, directions)
    assert cover(2 * directions, directions) == 0.5  # n = P/2: one half exactly


def test_both_solvers_agree_on_manifolds() -> None:
    sets = generated_manifolds(manifolds=12, points=10, features=60, radius=0.6, dimension=4)
    points, random = np.concatenate(sets, axis=1), np.random.default_rng(0)
    answers = []
    for directions in [10, 14, 15, 16, 17, 18, 22] * 5:
        x = random.standard_normal((directions, 60)) @ points
        x *= np.repeat(random.choice([-1.0, 1.0], 12), 10)
        answers.append(separable(x))
        assert answers[-1] == separable(x, "lp")
        # the sizes of the points do not matter
        assert answers[-1] == separable(x * 10.0 ** random.uniform(-6, 6, x.shape[1]))
    assert 5 < sum(answers) < 30


@pytest.mark.parametrize("solver", ["svm", "lp"])
@pytest.mark.parametrize(
    ("points", "answer"),
    [
        ([[1.0], [0.0]], True),
        ([[1.0, 1.0], [5.0, -5.0]], True),
        ([[1.0, -1.0], [0.0, 0.0]], False),  # opposite
        ([[1.0, 0.0], [0.0, 0.0]], False),  # the origin
        ([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]], False),  # on the hyperplane is not beside it
        ([[1.0, -1.0, 0.0], [1e-4, 1e-4, 1.0]], True),
        ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], True),  # the same point three times
        ([[1.0, -0.5, -0.5], [0.0, 0.8, -0.8]], False),  # around the origin
    ],
)
def test_clear_cases(solver: str, points: list[list[float]], answer: bool) -> None:
    assert separable(points, solver) is answer


def test_the_linear_programme_decides_what_the_support_vectors_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: Any) -> Any:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("scipy.optimize.nnls", stopped)
    assert separable([[1.0, 1.0], [5.0, -5.0]]) is True
    assert separable([[1.0, -1.0], [0.0, 0.0]]) is False
    # an answer that neither proof holds for
    monkeypatch.setattr("scipy.optimize.nnls", lambda matrix, _: (np.ones(matrix.shape[1]), 0.0))
    assert separable([[1.0, 1.0, 0.2], [0.1, -5.0, 5.0]]) is True


# --- the fit -------------------------------------------------------------------------------------


def test_the_fit_finds_the_curve() -> None:
    n = np.arange(30, 51)
    share = 1 / (1 + np.exp(-(n - 40.3) / 2.5))
    many = 10**7
    table = {int(k): [many, round(many * p)] for k, p in zip(n, share, strict=True)}
    centre, error, scale = fit_transition(table)
    assert centre == pytest.approx(40.3, abs=1e-3)
    assert scale == pytest.approx(2.5, abs=1e-3)
    slope = np.sum(many * share * (1 - share))  # d centre: the slope is almost independent
    assert error == pytest.approx(2.5 / math.sqrt(slope), rel=0.02)


def test_the_fit_is_finite_where_a_threshold_parts_all_trials() -> None:
    centre, error, scale = fit_transition({10: [5, 0], 20: [5, 0], 22: [5, 5], 40: [5, 5]})
    assert 20 < centre < 22
    assert 0 < error < 3
    assert 0 < scale < 5


def test_the_fit_is_the_maximum_of_the_penalised_likelihood() -> None:
    # Far from a logistic curve's start: undamped steps wander off here.
    n = [20, 40, 80, 160, 240, 249, 255, 260, 267, 273, 278, 280, 298, 300, 310, 318, 320]
    trials = [3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 5, 3, 5, 8, 13, 20, 4]
    hits = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 9, 15, 3]
    found = fit_transition(
        {place: row for place, *row in zip(n, trials, hits, strict=True)}  # type: ignore[misc]
    )

    def cost(parameters: np.ndarray) -> float:
        centre, scale = parameters
        field = (np.array(n) - centre) / scale
        share = 1 / (1 + np.exp(-field))
        x = np.stack([np.ones(len(n)), (np.array(n) - 300) / 10])
        information = (x * (np.array(trials) * share * (1 - share))) @ x.T
        likelihood = np.sum(np.array(hits) * field - np.array(trials) * np.logaddexp(0, field))
        return -likelihood - np.linalg.slogdet(information)[1] / 2

    best = minimize(cost, [300.0, 10.0], method="Nelder-Mead", options={"xatol": 1e-6}).x
    assert found[0] == pytest.approx(best[0], abs=1e-2)
    assert found[2] == pytest.approx(best[1], abs=1e-2)


@pytest.mark.parametrize("table", [{10: [5, 2]}, {10: [9, 8], 20: [9, 1]}])
def test_the_fit_refuses_what_does_not_rise(table: dict[int, list[int]]) -> None:
    with pytest.raises(GeometryError, match=r"two or more|does not rise"):
        fit_transition(table)


# --- capacity ------------------------------------------------------------------------------------


def agrees(found: EmpiricalCapacity, expected: float, share: float = 0.0) -> None:
    """Within four standard errors, and a share of the expected value where that is approximate."""
    assert abs(found - expected) <= 4 * found.standard_error + share * expected


@pytest.mark.parametrize("count", [20, 41])
def test_points_have_the_capacity_two(count: int) -> None:
    sets = generated_manifolds(manifolds=count, points=1, features=100)
    found = empirical_capacity(sets, seed=1, precision=0.02)
    agrees(found, 2.0)
    assert found.standard_error <= 0.02 * found
    assert found.directions == pytest.approx(count / found)


def test_errors_are_as_large_as_the_scatter() -> None:
    sets = generated_manifolds(manifolds=30, points=1, features=60)
    found = [empirical_capacity(sets, seed=seed, precision=0.04) for seed in range(40)]
    scores = [(one.directions - 15) / one.directions_error for one in found]
    assert abs(np.mean(scores)) < 4 / math.sqrt(40)
    assert 0.7 < np.std(scores) < 1.5


@pytest.mark.parametrize(
    ("radius", "dimension", "points"), [(1.0, 1, 12), (0.5, 2, 40), (0.3, 3, 60)]
)
def test_balls_have_the_capacity_of_the_theory(radius: float, dimension: int, points: int) -> None:
    # Many points make a ball; what remains, up to 5 %, is finite P and the gaps between the points.
    options: dict[str, Any] = {"manifolds": 40, "points": points, "features": 300}
    sets = generated_manifolds(radius=radius, dimension=dimension, **options)
    found = empirical_capacity(sets, precision=0.03)
    agrees(found, ball_capacity(radius, dimension), 0.05)


def test_half_of_the_labels_are_separable_at_the_statistical_dimension() -> None:
    """n_1/2 is the mean squared length of a Gaussian vector's projection on the cone of the points.

    Exact for any cone but for the discreteness of n: Amelunxen et al., Inf. Inference 3, 224 (2014).
    """
    sets = generated_manifolds("cloud", manifolds=15, points=8, features=70, radius=0.8)
    found = empirical_capacity(sets, precision=0.015)
    points = np.concatenate(sets, axis=1)
    points -= points.mean(axis=1, keepdims=True)
    random, squares = np.random.default_rng(0), []
    for _ in range(400):
        signed = points * np.repeat(random.choice([-1.0, 1.0], 15), 8)
        a, _ = nnls(signed, random.standard_normal(70))
        squares.append(np.sum((signed @ a) ** 2))
    error = math.hypot(found.directions_error, np.std(squares) / math.sqrt(400))
    assert found.directions == pytest.approx(np.mean(squares), abs=4 * error)


def test_numbers_depend_on_the_seed_only() -> None:
    sets = generated_manifolds(manifolds=10, points=5, features=40, radius=0.5, dimension=3)
    options: dict[str, Any] = {"precision": 0.05}
    first, again = (empirical_capacity(sets, seed=5, **options) for _ in range(2))
    assert first == again
    np.testing.assert_array_equal(first.trials, again.trials)
    assert first != empirical_capacity(sets, seed=6, **options)
    # where they are and in which units does not matter
    moved = [1e3 + 0.25 * one for one in sets]
    np.testing.assert_array_equal(empirical_capacity(moved, seed=5, **options).trials, first.trials)
    both = empirical_capacity(sets, seed=5, solver="lp", **options)
    np.testing.assert_array_equal(both.trials, first.trials)


def test_more_features_than_points_are_reduced() -> None:
    sets = generated_manifolds(manifolds=8, points=3, features=2000, radius=0.5, dimension=2)
    wide = empirical_capacity(sets, precision=0.03)
    narrow = empirical_capacity(
        generated_manifolds(manifolds=8, points=3, features=24, radius=0.5, dimension=2),
        precision=0.03,
    )
    assert wide == pytest.approx(narrow, abs=0.15)


def test_a_capacity_is_a_number_with_attributes() -> None:
    sets = generated_manifolds(manifolds=10, points=2, features=30, radius=0.5, dimension=1)
    found = empirical_capacity(sets, precision=0.1)
    assert isinstance(found, float)
    assert found.capacity == float(found) == 10 / found.directions
    relative = found.standard_error / found
    assert relative == pytest.approx(found.directions_error / found.directions)
    assert f"{found:.2f}" == f"{float(found):.2f}"
    trials = found.trials
    assert trials.dtype == np.int64
    assert (np.diff(trials[:, 0]) > 0).all()
    assert (trials[:, 2] <= trials[:, 1]).all()
    for other in (pickle.loads(pickle.dumps(found)), copy.copy(found)):  # noqa: S301
        assert other == found
        assert other.standard_error == found.standard_error
        np.testing.assert_array_equal(other.trials, trials)


def test_trials_end_at_their_limit() -> None:
    sets = generated_manifolds(manifolds=10, points=2, features=30, radius=0.5, dimension=1)
    found = empirical_capacity(sets, precision=1e-6, most_trials=100)
    assert found.trials[:, 1].sum() <= 100 + 20  # and those that confirm the curve
    assert found.standard_error > 1e-6 * found


# --- where it is not defined ---------------------------------------------------------------------


def test_too_few_features_are_refused_with_the_numbers() -> None:
    sets = generated_manifolds(manifolds=10, points=20, features=12, radius=2.0, dimension=8)
    with pytest.raises(GeometryError, match=r"of 10 manifolds .* 12 directions.* below 0.833 "):
        empirical_capacity(sets)


def test_a_class_given_twice_is_refused() -> None:
    sets = generated_manifolds(manifolds=20, points=10, radius=0.5, dimension=4, features=100)
    with pytest.raises(GeometryError, match=r"levels off|not separable"):
        empirical_capacity([*sets[:19], sets[0]], seed=1, precision=0.05, most_trials=300)


def test_manifolds_at_one_point_are_refused() -> None:
    with pytest.raises(GeometryError, match="not separable"):
        empirical_capacity([np.full((5, 3), 2.0)] * 4)


GOOD = [np.eye(4)[:, [i]] for i in range(4)]


@pytest.mark.parametrize(
    ("sets", "options", "words"),
    [
        (GOOD[:1], {}, "1 manifold given"),
        (GOOD[:2], {}, "2 manifolds given"),
        ([*GOOD, np.ones((3, 2))], {}, "Manifold 4 has 3 features"),
        ([*GOOD, np.full((4, 1), np.nan)], {}, "Manifold 4 holds NaN"),
        ([*GOOD, np.full((4, 1), np.inf)], {}, "Manifold 4 holds NaN or infinite"),
        ([*GOOD, np.ones(4)], {}, "Manifold 4 has shape"),
        ([*GOOD, np.ones((4, 0))], {}, "Manifold 4 has shape"),
        (GOOD, {"seed": 1.5}, "seed = 1.5"),
        (GOOD, {"seed": -1}, "seed = -1"),
        (GOOD, {"precision": 0}, "precision = 0"),
        (GOOD, {"precision": float("nan")}, "precision = nan"),
        (GOOD, {"step_trials": 0}, "step_trials = 0"),
        (GOOD, {"most_trials": 0}, "most_trials = 0"),
        (GOOD, {"most_trials": True}, "most_trials = True"),
        (GOOD, {"solver": "perceptron"}, "valid are: svm, lp"),
    ],
)
def test_bad_input_is_refused(sets: list[Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        empirical_capacity(sets, **options)
