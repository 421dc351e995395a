"""Non-negative least squares on Gram matrices: optimality, another solver, degenerate problems."""

import numpy as np
import pytest
from scipy.optimize import nnls as reference

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import nnls
from pipeline.geometry.capacity.nnls import nonnegative_least_squares

SEEDS = (0, 1, 2)


def problem(seed: int, rows: int, columns: int, scale: float, count: int = 60):
    random = np.random.default_rng(seed)
    s = np.vstack([scale * random.standard_normal((rows - 1, columns)), np.ones(columns)])
    return s, random.standard_normal((rows, count))


def solve(s, targets):
    return nonnegative_least_squares(s.T @ s, targets.T @ s)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("rows", "columns", "scale"),
    [
        (51, 50, 1.0),
        (51, 50, 0.1),
        (51, 50, 0.01),
        (101, 30, 1.0),
        (6, 40, 1.0),
        (3, 100, 2.0),
        (2, 1, 1.0),
    ],
)
def test_solutions_fulfil_the_optimality_conditions_and_equal_those_of_another_solver(
    seed, rows, columns, scale
):
    s, targets = problem(seed, rows, columns, scale)
    a = solve(s, targets)
    slack = (targets - s @ a.T).T @ s
    assert a.min() >= 0
    assert slack.max() < 1e-11
    assert np.abs(slack[a > 0]).max(initial=0) < 1e-11
    expected = np.stack([reference(s, target)[0] for target in targets.T])
    np.testing.assert_allclose(s @ a.T, s @ expected.T, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rows", "scale"), [(51, 1.0), (51, 0.1)])
def test_both_methods_give_the_same_solution(seed, rows, scale, monkeypatch):
    s, targets = problem(seed, rows, 50, scale)
    gram, right = s.T @ s, np.ascontiguousarray(targets.T @ s)
    m = len(gram)

    def one_by_one(method, *more):
        solutions = np.zeros_like(right)
        for b, solution in zip(right, solutions, strict=True):
            passive, members = np.zeros(m, dtype=bool), np.zeros(m, dtype=np.int64)
            work = [np.zeros((m, m)), np.zeros(m + 1), np.zeros(m), np.zeros(m), *more]
            size = method(gram, b, passive, members, *work)
            assert size >= 0
            solution[members[:size]] = work[2][:size]
        return solutions

    blocks = one_by_one(nnls._block_pivoting)
    steps = one_by_one(nnls._lawson_hanson, np.zeros(m))
    np.testing.assert_allclose(blocks, steps, atol=1e-9)
    np.testing.assert_allclose(solve(s, targets), steps, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_repeated_and_dependent_columns_are_no_obstacle(seed):
    s, targets = problem(seed, 8, 6, 1.0)
    doubled = np.hstack([s, s, (s[:, :1] + s[:, 1:2]) / 2])
    a = solve(doubled, targets)
    np.testing.assert_allclose(doubled @ a.T, s @ solve(s, targets).T, atol=1e-10)


def test_targets_in_the_polar_cone_have_the_solution_zero():
    s, _ = problem(0, 5, 9, 0.5)
    towards = -np.eye(5)[:, -1:] * 100
    assert not solve(s, towards).any()


def test_a_problem_that_is_not_finite_is_nan_and_spares_the_others():
    right = np.array([[1.0, 2.0, -1.0], [np.nan, 1.0, 1.0], [1.0, np.inf, 1.0]])
    found = nonnegative_least_squares(np.eye(3), right)
    np.testing.assert_array_equal(found[0], [1, 2, 0])
    assert np.isnan(found[1:]).all()
    assert np.isnan(nonnegative_least_squares(np.full((3, 3), np.nan), right)).all()


@pytest.mark.parametrize(("gram", "right"), [((2, 3), (4, 3)), ((3, 3), (4, 2)), ((3, 3), (3,))])
def test_shapes_that_do_not_fit_are_refused(gram, right):
    with pytest.raises(GeometryError, match="are needed"):
        nonnegative_least_squares(np.ones(gram), np.ones(right))
