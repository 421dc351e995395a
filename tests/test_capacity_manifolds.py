"""Capacity of sets of manifolds: the authors' programme replayed, invariances, limits, bad input."""

import numpy as np
import pytest

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import (
    anchor_geometry,
    anchors,
    ball_capacity,
    centres,
    manifold_capacity,
)
from pipeline.geometry.capacity import manifolds as module
from pipeline.seeds import generator

SEEDS = (0, 1, 2)
NAMES = ("capacity", "radius", "dimension", "radius_paper", "dimension_paper")


def clouds(seed, manifolds=8, features=40, points=12, radius=0.5):
    """Gaussian clouds about random centres."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((manifolds, features, 1)) / np.sqrt(features)
    return list(
        centres + radius / features**0.5 * random.standard_normal((manifolds, features, points))
    )


def structured(seed=2, manifolds=20, points=30, features=500):
    """Centres with a rank-3 structure and a common vector, radii from 0.3 to 2, 8 dimensions each."""
    random = np.random.RandomState(seed)
    own = random.randn(features, manifolds) / np.sqrt(features)
    common = random.randn(features, 3) / np.sqrt(features)
    shared = random.randn(features, 1) / np.sqrt(features)
    centres = own + 1.5 * common @ random.randn(3, manifolds) / np.sqrt(3) + 0.5 * shared
    made = []
    for index, radius in enumerate(np.linspace(0.3, 2, manifolds)):
        axes = np.linalg.qr(random.randn(features, 8))[0]
        made.append(centres[:, [index]] + radius * axes @ random.randn(8, points) / np.sqrt(8))
    return made


def test_the_example_of_the_authors_programme_with_its_random_stream():
    """Means over manifolds that their programme gave for this input, capacity as inverse mean."""
    stream = np.random.RandomState(0)
    manifolds = [stream.randn(5000, 50) for _ in range(100)]
    found = manifold_capacity(manifolds, seed=stream)
    assert found.mean_capacity == pytest.approx(0.0396350443, rel=1e-8)
    assert found.radius.mean() == pytest.approx(1.4730521874, rel=1e-8)
    assert found.dimension.mean() == pytest.approx(36.1780097262, rel=1e-8)
    assert found.center_correlation == pytest.approx(0.0140500141, abs=1e-10)
    assert (found.K, found.resolved, found.unconverged) == (1, 0, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_in_general_position_have_capacity_two(seed):
    manifolds = list(np.random.default_rng(seed).standard_normal((30, 400, 1)))
    found = manifold_capacity(manifolds, n_t=4000, seed=seed)
    assert found.mean_capacity == pytest.approx(2, rel=0.03)
    assert not found.radius.any()
    assert not found.dimension.any()


@pytest.mark.parametrize(("radius", "dimension"), [(0.5, 2), (1.0, 3)])
def test_spheres_about_random_centres_have_the_capacity_of_balls(radius, dimension):
    random = np.random.default_rng(1)
    manifolds = []
    for _ in range(20):
        axes = np.linalg.qr(random.standard_normal((2000, dimension)))[0]
        surface = random.standard_normal((dimension, 100))
        surface /= np.linalg.norm(surface, axis=0)
        surface = np.hstack([surface, -surface])  # the centre of the points is that of the sphere
        centre = random.standard_normal((2000, 1)) / np.sqrt(2000)
        manifolds.append(centre + radius * axes @ surface)
    found = manifold_capacity(manifolds, n_t=400, seed=1)
    assert found.mean_capacity == pytest.approx(ball_capacity(radius, dimension), rel=0.05)


def by_hand(manifolds, vectors, kappa=0.0):
    """Two manifolds, whose centres have rank 1, so that nothing is removed from them."""
    origin = np.concatenate(manifolds, axis=1).mean(axis=1, keepdims=True)
    found = []
    for points, t in zip(manifolds, vectors, strict=True):
        centre = points.mean(axis=1, keepdims=True)
        s = (points - centre) / np.linalg.norm(centre - origin)
        found.append(anchor_geometry(np.vstack([s, np.ones(points.shape[1])]), t, kappa))
    return found


@pytest.mark.parametrize("kappa", [0.0, 0.7, -0.4])
@pytest.mark.parametrize("counts", [(40, 40), (60, 25)])
def test_two_manifolds_by_hand(counts, kappa):
    """More points than features need no QR; unequal numbers of points move the global mean."""
    manifolds = [one[:, :count] for one, count in zip(clouds(5, 2, 6, 60), counts, strict=True)]
    stream = np.random.RandomState(0)
    vectors = [stream.standard_normal((7, 50)) for _ in manifolds]
    found = manifold_capacity(manifolds, kappa=kappa, n_t=50, seed=np.random.RandomState(0))
    expected = by_hand(manifolds, vectors, kappa)
    assert found.K == 0
    for name in NAMES:
        values = [getattr(one, name) for one in expected]
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9)


@pytest.mark.parametrize(("kappa", "expected"), [(0.5, 0.961205), (1.0, 0.519572)])
def test_points_with_a_margin_have_the_capacity_of_gardner(kappa, expected):
    manifolds = list(np.random.default_rng(0).standard_normal((20, 400, 1)))
    found = manifold_capacity(manifolds, kappa=kappa, n_t=4000, seed=0)
    assert found.mean_capacity == pytest.approx(expected, rel=0.03)


def test_options_reach_the_search_and_its_results_come_back(monkeypatch):
    calls, kernel = [], module.centre_structure

    def watched(centres, random, select, restarts, starts):
        calls.append((select, restarts, starts, kernel(centres, random, select, restarts, starts)))
        return calls[-1][3]

    monkeypatch.setattr(module, "centre_structure", watched)
    manifolds = structured()
    found = manifold_capacity(manifolds, seed=0, select="cost", restarts=3, starts="warm")
    *options, structure = calls[0]
    assert options == ["cost", 3, "warm"]
    assert (found.K, found.unconverged) == (structure.K, structure.unconverged)
    assert found.center_correlation == structure.correlation
    assert found.residual_correlation == structure.residual[structure.K]
    monkeypatch.setattr(centres, "ITERATIONS", 2)
    assert manifold_capacity(manifolds, seed=0, restarts=3).unconverged > 0


def test_problems_that_were_solved_again_are_counted(monkeypatch):
    manifolds = clouds(2)
    expected = manifold_capacity(manifolds, n_t=20, seed=0)
    assert expected.resolved == 0
    given_up = lambda gram, right: np.full_like(right, np.nan)  # noqa: E731
    monkeypatch.setattr(anchors, "nonnegative_least_squares", given_up)
    found = manifold_capacity(manifolds, n_t=20, seed=0)
    assert found.resolved == 20 * len(manifolds)
    np.testing.assert_allclose(found.capacity, expected.capacity, rtol=1e-9)


def test_the_least_cost_of_many_restarts_gives_repeatable_capacities(monkeypatch):
    """The same T, other starts of the search."""
    found = []
    for start in (0, 1):
        streams = (
            generator(start, "a", 0, "analysis"),
            lambda i: generator(0, "b", 0, "analysis", i),
        )
        monkeypatch.setattr(module, "_streams", lambda _, streams=streams: streams)
        found.append(manifold_capacity(structured(), select="cost", restarts=50).capacity)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_the_projection_has_the_seed(monkeypatch):
    seeds, kernel = [], module.project_points

    def watched(pieces, directions, seed):
        seeds.append(seed)
        return kernel(pieces, directions, seed)

    monkeypatch.setattr(module, "project_points", watched)
    manifold_capacity(clouds(0), seed=5, directions=20)
    assert seeds == [5]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_bits_and_another_one_others(seed):
    manifolds = clouds(3)
    one, same, other = (manifold_capacity(manifolds, seed=s) for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(one.capacity, same.capacity)
    assert not np.array_equal(one.capacity, other.capacity)


@pytest.mark.parametrize("seed", SEEDS)
def test_scale_and_place_do_not_matter(seed):
    manifolds = clouds(seed)
    place = np.random.default_rng(seed).standard_normal((40, 1))
    expected = manifold_capacity(manifolds, seed=seed)
    for factor, shift in ((2.0**20, 0), (2.0**-20, 0), (1, place)):
        found = manifold_capacity([factor * one + shift for one in manifolds], seed=seed)
        for name in NAMES:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)
        assert found.K == expected.K


@pytest.mark.parametrize("exponent", [-1000, -600, -330, -280, 280, 330, 600, 1000])
def test_extreme_scales_do_not_overflow(exponent):
    manifolds = clouds(0)
    found = manifold_capacity([np.ldexp(one, exponent) for one in manifolds], seed=0)
    expected = manifold_capacity(manifolds, seed=0)
    np.testing.assert_allclose(found.capacity, expected.capacity, rtol=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        lambda one: one.astype(np.float16),
        lambda one: one.astype(np.int8),
        lambda one: one > 0,
        lambda one: one.tolist(),
        np.asfortranarray,
    ],
)
def test_numbers_of_any_kind_are_taken_and_left_as_they_are(convert):
    values = [np.round(4 * one) for one in clouds(1, features=30)]
    given = [convert(one) for one in values]
    for one in given:
        if isinstance(one, np.ndarray):
            one.flags.writeable = False
    found = manifold_capacity(given, seed=0)
    wide = [np.asarray(one, dtype=np.float64) for one in given]
    np.testing.assert_allclose(found.capacity, manifold_capacity(wide, seed=0).capacity, rtol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_features_that_are_always_zero_do_not_matter(seed):
    manifolds = clouds(seed)
    padded = [np.vstack([one, np.zeros((5, one.shape[1]))]) for one in manifolds]
    expected, found = (manifold_capacity(sets, seed=seed) for sets in (manifolds, padded))
    np.testing.assert_allclose(found.capacity, expected.capacity, rtol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_smaller_manifolds_have_more_capacity(seed):
    capacities = [
        manifold_capacity(clouds(seed, radius=r), seed=seed).mean_capacity for r in (2, 1, 0.5, 0.1)
    ]
    assert np.all(np.diff(capacities) > 0)


def test_common_structure_of_the_centres_is_removed():
    manifolds = structured()
    found = manifold_capacity(manifolds, seed=0, select="cost", restarts=30)
    assert 2 <= found.K <= 6
    assert found.residual_correlation < 0.6 * found.center_correlation
    # what is common to all centres is no direction that tells manifolds apart
    assert np.all(np.diff(found.radius[[0, 10, 19]]) > 0)


def test_the_inverse_capacities_are_averaged():
    found = manifold_capacity(structured(), seed=0)
    assert found.mean_capacity == pytest.approx(1 / np.mean(1 / found.capacity))


def test_float32_is_computed_in_float64():
    manifolds = [one.astype(np.float32) for one in clouds(0)]
    wide = [one.astype(np.float64) for one in manifolds]
    found, expected = (manifold_capacity(sets, seed=0) for sets in (manifolds, wide))
    np.testing.assert_allclose(found.capacity, expected.capacity, rtol=1e-6)


def test_manifolds_may_have_different_numbers_of_points():
    manifolds = [one[:, : 5 + index] for index, one in enumerate(clouds(4))]
    found = manifold_capacity(manifolds, seed=0)
    np.testing.assert_array_equal(found.points, np.arange(5, 13))
    assert np.isfinite(found.capacity).all()


def test_more_points_than_features_are_used_as_they_are():
    found = manifold_capacity(clouds(5, features=6, points=40), seed=0)
    assert found.dimension.max() < 6
    assert np.isfinite(found.capacity).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_manifolds_are_no_obstacle(count):
    found = manifold_capacity(clouds(6, manifolds=count), seed=0)
    assert max(0, count - 2) >= found.K
    assert np.isfinite(found.capacity).all()
    assert found.radius.max() < 1e3


@pytest.mark.parametrize("points", [1, 3, 9, 50])
def test_manifolds_of_one_repeated_point_have_no_extent(points):
    manifolds = [np.repeat(one[:, :1], points, axis=1) for one in clouds(7)]
    found = manifold_capacity(manifolds, n_t=2000, seed=0)
    for name in NAMES[1:]:
        assert not getattr(found, name).any()
    assert found.mean_capacity == pytest.approx(2, rel=0.05)


def test_two_points_have_a_dimension_near_0_8():
    found = manifold_capacity(clouds(8, points=2, manifolds=20, radius=1), n_t=2000, seed=0)
    assert 0.7 < found.dimension.mean() < 0.9


def test_many_features_are_projected():
    """Within the noise of 300 directions the geometry of 2000 features is kept."""
    manifolds = clouds(9, manifolds=10, features=2000, points=15)
    expected = manifold_capacity(manifolds, seed=0)
    found = manifold_capacity(manifolds, seed=0, directions=800)
    assert found.mean_capacity == pytest.approx(expected.mean_capacity, rel=0.05)
    assert found.radius.mean() == pytest.approx(expected.radius.mean(), rel=0.1)
    np.testing.assert_array_equal(
        manifold_capacity(manifolds, seed=0, directions=2000).capacity, expected.capacity
    )


def with_value(value):
    manifolds = clouds(0)
    manifolds[3][1, 2] = value
    return manifolds


@pytest.mark.parametrize(
    ("manifolds", "message"),
    [
        ([], "0 manifold given"),
        (clouds(0)[:1], "two or more"),
        (with_value(np.nan), "Manifold 3 holds NaN"),
        (with_value(np.inf), "Manifold 3 holds NaN or infinite"),
        ([clouds(0)[0]] * 3, "0 and 1 have the same centre"),
        ([*clouds(0), clouds(0)[5]], "5 and 8 have the same centre"),
        ([one - one.mean(axis=1, keepdims=True) for one in clouds(0)], "coincides with the mean"),
        ([np.zeros((4, 3)), np.zeros((4, 3))], "same centre"),
        ([np.ones((4, 3)), np.ones((5, 3))], "5 features and manifold 0 has 4"),
        ([np.ones((4, 3)), np.ones((4, 0))], "at least one of each"),
        ([np.ones((4, 3)), np.ones(4)], "shape \\(4,\\)"),
        ([np.ones((4, 3)), np.array([["a"]])], "real numbers"),
        (None, "no sequence of arrays"),
        (5, "no sequence of arrays"),
        ([[[1, 2], [3]], [[1], [2]]], "no sequence of arrays"),
        (clouds(0)[0], "shape \\(12,\\)"),
    ],
)
def test_manifolds_without_a_capacity_are_refused(manifolds, message):
    with pytest.raises(GeometryError, match=message):
        manifold_capacity(manifolds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kappa": np.nan}, "kappa"),
        ({"kappa": "a"}, "kappa"),
        ({"kappa": None}, "kappa"),
        ({"n_t": True}, "n_t"),
        ({"seed": None}, "seed"),
        ({"select": ["cost"]}, "stability, cost"),
        ({"n_t": 0}, "n_t"),
        ({"n_t": 2.5}, "n_t"),
        ({"directions": 0}, "directions"),
        ({"restarts": 0}, "restarts"),
        ({"select": "best"}, "stability, cost"),
        ({"starts": "cold"}, "random, warm"),
        ({"seed": "a"}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(GeometryError, match=message):
        manifold_capacity(clouds(0), **options)
