"""Exact capacity of balls, total dimension, random projection: closed forms, invariances, bad input."""

import math

import numpy as np
import pytest

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import ball_capacity, total_dimension
from pipeline.geometry.capacity.projection import BLOCK, project_points

SEEDS = (0, 1, 2)
RADII = (0.1, 0.5, 1.0, 2.0, 5.0)
# Exact capacities of balls, all three regimes integrated in double precision.
BALLS = {
    1: (1.774777, 1.257597, 1.000000, 0.829991, 0.727625),
    2: (1.654351, 0.949860, 0.666667, 0.513554, 0.437739),
    5: (1.450199, 0.576511, 0.333333, 0.234443, 0.196705),
    10: (1.261591, 0.360046, 0.181818, 0.121616, 0.101835),
    50: (0.743809, 0.092593, 0.039216, 0.024876, 0.020771),
}


@pytest.mark.parametrize("dimension", BALLS)
def test_capacity_of_balls(dimension):
    found = [ball_capacity(radius, dimension) for radius in RADII]
    np.testing.assert_allclose(found, BALLS[dimension], atol=5.1e-7)


@pytest.mark.parametrize(("dimension", "expected"), [(1, 0.587934), (2, 0.426334), (10, 0.139478)])
def test_capacity_of_balls_with_a_margin(dimension, expected):
    assert ball_capacity(1.0, dimension, 0.5) == pytest.approx(expected, abs=5.1e-7)


@pytest.mark.parametrize(
    ("kappa", "expected"), [(0.0, 2.0), (0.5, 0.961205), (1.0, 0.519572), (2.0, 0.200231)]
)
def test_balls_without_extent_are_points(kappa, expected):
    for radius, dimension in ((0, 7), (3, 0), (1e-9, 3)):
        assert ball_capacity(radius, dimension, kappa) == pytest.approx(expected, abs=1e-6)


def test_unit_balls_have_the_capacity_2_over_d_plus_1():
    """A cone of half angle 45 degrees is self-dual: its statistical dimension is half of D + 1."""
    for dimension in (1, 2, 3, 7, 40):
        assert ball_capacity(1.0, dimension) == pytest.approx(2 / (dimension + 1), rel=1e-9)


def test_cones_and_their_polar_cones_share_the_space():
    """Statistical dimensions of the cones of R and 1/R (polar to each other) add up to D + 1."""
    for radius, dimension in ((0.3, 2), (2.0, 5), (0.05, 30)):
        total = 1 / ball_capacity(radius, dimension) + 1 / ball_capacity(1 / radius, dimension)
        assert total == pytest.approx(dimension + 1, rel=1e-9)


# Integrals with 30 digits.
FAR_BALLS = [
    ((1, 1e-6, 0), 1.9999980000020001),
    ((1, 0.3, 0), 1.5384615384615388),
    ((1, 1, -10), 17819956190670.2),
    ((5, 1000, 0.5), 0.0010334140785538),
    ((1e-3, 2e5, 0), 1.0324175539),
    ((0.01, 1.01e6, 0), 0.00980490196078431),
]


@pytest.mark.parametrize(("ball", "expected"), FAR_BALLS)
def test_balls_far_from_the_table(ball, expected):
    assert ball_capacity(*ball) == pytest.approx(expected, rel=1e-9)


def test_the_normal_takes_over_where_the_chi_distribution_is_one():
    below, above = (1 / ball_capacity(0.001, d) for d in (0.9999e6, 1.0001e6))
    assert 1 / ball_capacity(0.001, 1e6) == pytest.approx((below + above) / 2, rel=1e-8)


def test_huge_balls_cost_their_dimension_and_half_the_axis():
    for radius in (1e8, 1e155, 1e300):
        assert ball_capacity(radius, 2) == pytest.approx(1 / 2.5, rel=1e-7)


def test_numbers_of_any_kind_make_a_ball():
    assert ball_capacity(np.float32(0.5), np.int8(3)) == ball_capacity(0.5, 3.0)


def test_the_large_d_formula_is_approached():
    """1/alpha = int Dt0 (R sqrt D - t0)^2 / (R^2 + 1), t0 < R sqrt D; 4 % off for a unit segment."""

    def formula(radius, dimension):
        edge = radius * math.sqrt(dimension)
        grid = np.linspace(-12, edge, 200001)
        density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
        return (radius**2 + 1) / np.trapezoid(density * (edge - grid) ** 2, grid)

    assert formula(1.0, 1) / ball_capacity(1.0, 1) == pytest.approx(1.04, abs=0.005)
    errors = [
        abs(formula(1 / math.sqrt(d), d) / ball_capacity(1 / math.sqrt(d), d) - 1)
        for d in (10, 100, 1000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


@pytest.mark.parametrize(
    ("radius", "dimension", "kappa"),
    [
        (-1, 2, 0),
        (math.nan, 2, 0),
        (math.inf, 2, 0),
        (1, -1, 0),
        (1, math.inf, 0),
        (None, 2, 0),
        ("1", 2, 0),
        (np.array([1.0, 2.0]), 2, 0),
        (1, 1, math.nan),
    ],
)
def test_impossible_balls_are_refused(radius, dimension, kappa):
    with pytest.raises(GeometryError, match="finite numbers"):
        ball_capacity(radius, dimension, kappa)


@pytest.mark.parametrize("shape", [(5, 400), (400, 5)])
@pytest.mark.parametrize("seed", SEEDS)
def test_total_dimension_is_that_of_the_covariance(seed, shape):
    points = (
        np.random.default_rng(seed).standard_normal(shape) * np.arange(1, shape[0] + 1)[:, None]
    )
    centred = points - points.mean(axis=1, keepdims=True)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    found = total_dimension(points)
    assert found.participation_ratio == pytest.approx(variances.sum() ** 2 / (variances**2).sum())
    share = np.cumsum(variances) / variances.sum()
    assert found.explained_dimension == int(np.flatnonzero(share >= 0.9)[0]) + 1


def test_equal_variances_are_all_counted():
    """The number of components reaches the share, the last one counts too."""
    points = np.hstack([np.eye(10), -np.eye(10)])
    assert total_dimension(points) == pytest.approx((10.0, 9))
    assert total_dimension(points, share=1.0).explained_dimension == 10
    assert total_dimension(points, share=0.91).explained_dimension == 10


@pytest.mark.parametrize("seed", SEEDS)
def test_total_dimension_does_not_depend_on_scale_place_or_rotation(seed):
    random = np.random.default_rng(seed)
    points = random.standard_normal((6, 50)) * np.arange(1, 7)[:, None]
    q = np.linalg.qr(random.standard_normal((6, 6)))[0]
    expected = total_dimension(points)
    for other in (points * 1e200, points * 1e-200, q @ points + 3):
        assert total_dimension(other) == pytest.approx(expected, rel=1e-9)


def test_points_that_are_all_the_same_have_no_dimension():
    assert total_dimension(np.full((4, 9), 0.3)) == (0, 0)
    assert total_dimension(np.ones((4, 1))) == (0, 0)


@pytest.mark.parametrize(
    ("points", "share", "message"),
    [
        (np.ones(3), 0.9, "are needed"),
        (np.full((2, 2), np.inf), 0.9, "infinite"),
        (np.ones((2, 2)), 0.0, "share"),
    ],
)
def test_points_without_a_total_dimension_are_refused(points, share, message):
    with pytest.raises(GeometryError, match=message):
        total_dimension(points, share)


@pytest.mark.parametrize("seed", SEEDS)
def test_projections_are_coordinates_along_unit_directions(seed):
    """The unit vectors' images are the rows of the directions: each of length 1 over all features."""
    features = BLOCK + 40
    directions = project_points([np.eye(features)], 20, seed)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-12)
    points = np.random.default_rng(seed).standard_normal((features, 7))
    np.testing.assert_allclose(project_points([points], 20, seed), directions @ points, atol=1e-12)


def test_projections_do_not_depend_on_pieces_or_dtype_but_on_the_seed():
    points = np.random.default_rng(0).standard_normal((1500, 30)).astype(np.float32)
    whole = project_points([points], 100, 3)
    assert whole.dtype == np.float32
    pieces = project_points([points[:, :11], points[:, 11:]], 100, 3)
    np.testing.assert_array_equal(whole, pieces)
    fine = project_points([points.astype(np.float64)], 100, 3)
    assert fine.dtype == np.float64
    np.testing.assert_allclose(whole, fine, atol=2e-5)
    assert np.abs(project_points([points], 100, 4) - whole).max() > 0.1


def test_projections_keep_distances():
    """|y|^2 = (directions / features) |x|^2 in the mean, with a relative spread of sqrt(2 / directions)."""
    features, directions = 4000, 2000
    points = np.random.default_rng(1).standard_normal((features, 40))
    projected = project_points([points], directions, 0)
    ratio = np.sum(projected**2, axis=0) / np.sum(points**2, axis=0) * features / directions
    assert np.abs(ratio - 1).max() < 5 * math.sqrt(2 / directions)
