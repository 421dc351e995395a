"""Common structure of the centres: gradient, planted structure, selection, limits."""

import numpy as np
import pytest

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import centres as module
from pipeline.geometry.capacity.centres import centre_structure
from pipeline.geometry.capacity.grassmann import Minima, minimise

SEEDS = (0, 1, 2)


def objective_of(seed, count=20, size=None):
    x = np.random.default_rng(seed).standard_normal((count, size or count - 1))
    return module._Objective(x), x


def planted(seed, features=300, count=40, rank=3, strength=3.0):
    """Random centres with a common structure of some rank."""
    random = np.random.default_rng(seed)
    own = random.standard_normal((features, count)) / np.sqrt(features)
    common = random.standard_normal((features, rank)) / np.sqrt(features)
    return own + strength * common @ random.standard_normal((rank, count)) / np.sqrt(rank)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 4])
def test_cost_and_gradient(seed, k):
    objective, x = objective_of(seed)
    random = np.random.default_rng(seed + 10)
    v = np.linalg.qr(random.standard_normal((3, 19, k)))[0]
    values, gradients = objective(v)
    for one, value in zip(v, values, strict=True):
        c = x @ one
        left = x @ x.T - c @ c.T
        d = np.diagonal(left)
        cost = np.sum(left**2 / np.outer(d, d)) / 2
        assert value == pytest.approx(cost - len(x) / 2, rel=1e-10)  # without the diagonal
    direction = random.standard_normal(v.shape)
    step = 1e-6
    change = (objective(v + step * direction)[0] - objective(v - step * direction)[0]) / (2 * step)
    np.testing.assert_allclose(np.sum(gradients * direction, axis=(1, 2)), change, rtol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_starts_in_lockstep_go_where_each_goes_alone(seed):
    """After a few steps; later their rounding may lead them to different minima."""
    objective, _ = objective_of(seed)
    starts = np.random.default_rng(seed).standard_normal((6, 19, 3))
    together = minimise(objective, objective.scaling, starts, 0.0, 10)
    for index, start in enumerate(starts):
        alone = minimise(objective, objective.scaling, start[None], 0.0, 10)
        assert alone.values[0] == pytest.approx(together.values[index], rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_starts_converge_to_orthonormal_bases(seed):
    objective, _ = objective_of(seed)
    starts = np.random.default_rng(seed).standard_normal((6, 19, 3))
    found = minimise(objective, objective.scaling, starts, 1e-14, 500)
    assert found.converged.all()
    products = np.swapaxes(found.subspaces, 1, 2) @ found.subspaces
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), (6, 3, 3)), atol=1e-12)


def test_a_minimum_is_a_minimum():
    objective, _ = objective_of(3)
    start = np.random.default_rng(0).standard_normal((1, 19, 2))
    found = minimise(objective, objective.scaling, start, 1e-14, 500)
    random = np.random.default_rng(1)
    near = np.linalg.qr(found.subspaces + 1e-3 * random.standard_normal((200, 19, 2)))[0]
    assert objective(near)[0].min() >= found.values[0]


def test_what_does_not_converge_says_so():
    objective, _ = objective_of(4)
    start = np.random.default_rng(0).standard_normal((2, 19, 2))
    found = minimise(objective, objective.scaling, start, 1e-14, 3)
    assert not found.converged.any()
    assert (found.iterations == 3).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_planted_structure_is_found_and_removed(seed):
    centres = planted(seed)
    found = centre_structure(centres, np.random.default_rng(seed), select="cost")
    assert found.K == 3
    assert found.residual[3] < 0.3 * found.correlation
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(3), atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_correlation_is_the_mean_cosine_of_the_centred_centres(seed):
    centres = planted(seed, count=12)
    centred = centres - centres.mean(axis=1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=0)
    cosines = np.abs(unit.T @ unit)[~np.eye(12, dtype=bool)]
    found = centre_structure(centres, np.random.default_rng(0))
    assert found.correlation == pytest.approx(cosines.mean(), rel=1e-12)


CENTRES = np.random.default_rng(1).standard_normal((12, 6))


@pytest.fixture
def ends_at(monkeypatch):
    """Lets the search for K = 1 end at given subspaces, with given values."""

    def prepare(*ends):
        directions = np.array([one for one, _ in ends])[:, :, None]
        values = np.array([value for _, value in ends])

        def found(function, scaling, starts, *limits):
            chosen = (directions, values) if len(starts) > 1 else (starts, values[:1])
            count = len(chosen[1])
            return Minima(*chosen, np.ones(count, bool), np.zeros(count, int))

        monkeypatch.setattr(module, "minimise", found)
        monkeypatch.setattr(module, "_most", lambda _: 1)

    return prepare


def first_centre():
    """The first centre's direction in the coordinates of the search, and one across it."""
    centred = CENTRES - CENTRES.mean(axis=1, keepdims=True)
    upper = np.linalg.qr(centred)[1][:5]
    x = upper.T @ np.linalg.eigh(upper @ upper.T)[1]
    along = x[0] / np.linalg.norm(x[0])
    across = np.eye(5)[0] - along[0] * along
    return along, across / np.linalg.norm(across)


def test_stability_keeps_the_longest_smallest_centre_and_cost_the_least_cost(ends_at):
    along, across = first_centre()
    near = 0.99 * along + np.sqrt(1 - 0.99**2) * across  # leaves a seventh of the first centre
    ends_at((near, 1.0), (across, 2.0))
    chosen = {
        select: centre_structure(CENTRES, np.random.default_rng(0), select, 2).directions[:, 0]
        for select in ("stability", "cost")
    }
    first = CENTRES[:, 0] - CENTRES.mean(axis=1)
    cosines = {name: abs(v @ first) / np.linalg.norm(first) for name, v in chosen.items()}
    assert cosines["cost"] == pytest.approx(0.99)
    assert cosines["stability"] == pytest.approx(0, abs=1e-9)


def test_a_structure_that_swallows_a_centre_is_not_taken(ends_at):
    along, _ = first_centre()
    ends_at((along, 1.0), (along, 2.0))
    found = centre_structure(CENTRES, np.random.default_rng(0), "cost", 2)
    assert found.K == 0
    assert np.isnan(found.residual[1])


def test_warm_starts_are_the_last_solution_and_one_direction_more():
    _, x = objective_of(2)
    last = np.linalg.qr(np.random.default_rng(0).standard_normal((19, 2)))[0]
    axes = np.eye(19)
    warm = module._starts(np.random.default_rng(1), axes, x, 3, 4, "warm", last)
    np.testing.assert_array_equal(warm[:, :, :2], np.broadcast_to(last, (4, 19, 2)))
    assert np.linalg.matrix_rank(warm[:, :, 2]) == 4
    cold = module._starts(np.random.default_rng(1), axes, x, 3, 4, "random", last)
    assert np.abs(cold[:, :, :2] - last).max() > 0.1


def test_fifty_restarts_by_cost_are_repeatable():
    centres = planted(5)
    residuals = [
        centre_structure(centres, np.random.default_rng(seed), select="cost", restarts=50).residual
        for seed in SEEDS
    ]
    np.testing.assert_allclose(residuals[0][:4], residuals[1][:4], rtol=1e-5)
    np.testing.assert_allclose(residuals[0][:4], residuals[2][:4], rtol=1e-5)


def test_warm_starts_continue_from_the_last_solution():
    found = centre_structure(
        planted(6), np.random.default_rng(0), select="cost", starts="warm", restarts=4
    )
    assert found.K == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_result_does_not_depend_on_the_scale(seed):
    centres = planted(seed, features=60, count=15)
    one = centre_structure(centres, np.random.default_rng(9))
    other = centre_structure(2.0**30 * centres, np.random.default_rng(9))
    assert one.K == other.K
    np.testing.assert_allclose(one.residual, other.residual, rtol=1e-12)
    np.testing.assert_allclose(one.directions, other.directions, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_of_many_restarts_does_not_depend_on_rotations(seed):
    """The starts are drawn in a basis that turns with the centres only up to signs."""
    centres = planted(seed, features=60, count=15)
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((60, 60)))[0]
    options = {"select": "cost", "restarts": 50}
    one = centre_structure(centres, np.random.default_rng(9), **options)
    other = centre_structure(q @ centres, np.random.default_rng(9), **options)
    assert one.K == other.K
    np.testing.assert_allclose(one.residual[:3], other.residual[:3], rtol=1e-4)


def test_subspaces_that_swallow_a_centre_are_no_minima():
    objective, x = objective_of(0, count=6)
    v = np.linalg.qr(x[:1].T)[0][None]  # along the first centre
    values, gradients = objective(v)
    assert values[0] == np.inf
    assert not gradients.any()


@pytest.mark.parametrize(("count", "most"), [(2, 0), (3, 1), (5, 3)])
def test_few_centres_keep_a_direction_of_their_own(count, most):
    centres = np.random.default_rng(count).standard_normal((30, count))
    found = centre_structure(centres, np.random.default_rng(0))
    assert len(found.residual) <= most + 1
    assert most >= found.K
    left = centres - centres.mean(axis=1, keepdims=True)
    left -= found.directions @ (found.directions.T @ left)
    assert np.linalg.norm(left, axis=0).min() > 1e-6


def test_fewer_features_than_centres_are_no_obstacle():
    centres = np.random.default_rng(1).standard_normal((4, 30))
    found = centre_structure(centres, np.random.default_rng(0))
    assert 1 <= found.K <= 3
    assert np.isfinite(found.residual[found.K])


def test_the_search_ends_after_three_rises():
    """Random centres have no structure: the correlation rises from K = 1 on, tested from K = 5 on."""
    centres = np.random.default_rng(2).standard_normal((2000, 60))
    found = centre_structure(centres, np.random.default_rng(0))
    assert found.K == 1
    assert len(found.residual) == 6
    assert np.all(np.diff(found.residual) > 0)


def test_the_number_of_directions_tried_follows_the_variance():
    """One component that holds 95 %: 11 directions are tried; several: 9 more than these."""
    strong = np.diag([100.0] + [1.0] * 29)
    assert module._most(strong) == 11
    equal = np.diag([10.0] * 4 + [0.1] * 26)
    assert module._most(equal) == 13
    assert module._most(np.diag([10.0, 1.0, 0.0])) == 1


def test_a_centre_at_the_mean_of_all_has_no_direction():
    centres = np.array([[1.0, -1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0, 0.0]])
    with pytest.raises(GeometryError, match="manifold 4 coincides with the mean"):
        centre_structure(centres, np.random.default_rng(0))
