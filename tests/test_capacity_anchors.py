"""Capacity, radius and dimension of one manifold: reference values, closed forms, edge cases."""

import math

import numpy as np
import pytest

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import anchor_geometry, ball_capacity
from pipeline.geometry.capacity.anchors import anchor_points

SEEDS = (0, 1, 2)

# Computed in double precision with the authors' public programme and with exact solvers: seed, D, m,
# scale, n_t, kappa; alpha, R (centred), D (programme), R uncentred, D of the paper.
REFERENCE = [
    (
        (0, 5, 12, 0.5, 300, 0.0),
        (0.494499055999, 1.056568297147, 2.828251439607, 1.102866849884, 2.904831296346),
    ),
    (
        (1, 20, 30, 1.0, 200, 0.0),
        (0.099954489244, 1.573256704128, 12.624741642427, 1.622696886041, 13.005348108195),
    ),
    (
        (2, 10, 40, 0.3, 200, 0.5),
        (0.242027708345, 0.785981569013, 6.011588394482, 0.815127078469, 5.922640301204),
    ),
]


def with_axis(points):
    return np.vstack([points, np.ones(points.shape[1])])


def simplex(m):
    """m orthonormal points, centred and divided by the length of their centre."""
    return with_axis(math.sqrt(m) * np.eye(m) - 1 / math.sqrt(m))


@pytest.mark.parametrize(("settings", "expected"), REFERENCE)
def test_reference_values(settings, expected):
    seed, dimension, m, scale, count, kappa = settings
    random = np.random.RandomState(seed)
    s = with_axis(scale * random.randn(dimension, m))
    found = anchor_geometry(s, random.randn(dimension + 1, count), kappa)
    values = (
        found.capacity,
        found.radius,
        found.dimension,
        found.radius_paper,
        found.dimension_paper,
    )
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    assert found.resolved == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 2.0])
def test_a_point_has_the_capacity_of_gardner(seed, kappa):
    """1/alpha = <[t0 + kappa]_+^2>, exactly for the given t, and (1 + k^2) Phi(k) + k phi(k) in the mean."""
    count = 20000
    t = np.random.default_rng(seed).standard_normal((4, count))
    found = anchor_geometry(with_axis(np.zeros((3, 1))), t, kappa)
    squares = np.maximum(t[-1] + kappa, 0) ** 2
    assert found.capacity == pytest.approx(1 / squares.mean(), rel=1e-12)
    assert (found.radius, found.dimension) == (0, 0)
    normal = math.exp(-(kappa**2) / 2) / math.sqrt(2 * math.pi)
    mean = (1 + kappa**2) * (1 + math.erf(kappa / math.sqrt(2))) / 2 + kappa * normal
    assert abs(squares.mean() - mean) < 3 * squares.std() / math.sqrt(count)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [2, 10, 50])
def test_orthonormal_points_are_solved_coordinate_by_coordinate(seed, m):
    """s_i.s_j = m delta_ij: 1/alpha = <sum_i [b_i]_+^2> / m for any t; m/2 in the mean."""
    s, count = simplex(m), 4000
    t = np.random.default_rng(seed).standard_normal((m + 1, count))
    inverse = np.sum(np.maximum(s.T @ t, 0) ** 2, axis=0) / m
    found = anchor_geometry(s, t)
    assert 1 / found.capacity == pytest.approx(inverse.mean(), rel=1e-12)
    assert abs(inverse.mean() - m / 2) < 3 * inverse.std() / math.sqrt(count)


def test_many_orthonormal_points_reach_the_limits_of_radius_and_dimension():
    m = 400
    t = np.random.default_rng(5).standard_normal((m + 1, 300))
    found = anchor_geometry(simplex(m), t)
    assert found.radius == pytest.approx(math.sqrt(math.pi - 1), rel=0.02)
    assert found.dimension / m == pytest.approx((math.pi / 2) / (math.pi - 1), rel=0.02)


@pytest.mark.parametrize(("radius", "kappa"), [(0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 0.5)])
def test_a_segment_has_the_capacity_of_a_ball_in_one_dimension(radius, kappa):
    count = 40000
    t = np.random.default_rng(7).standard_normal((2, count))
    s = with_axis(np.array([[radius, -radius]]))
    _, lengths, _ = anchor_points(s, t, kappa)
    assert abs(lengths.mean() - 1 / ball_capacity(radius, 1, kappa)) < 3 * lengths.std() / 200


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_a_polygon_with_many_corners_has_the_capacity_of_a_disc(kappa):
    count, radius = 20000, 1.0
    angle = 2 * np.pi * np.arange(720) / 720
    s = with_axis(radius * np.array([np.cos(angle), np.sin(angle)]))
    t = np.random.default_rng(8).standard_normal((3, count))
    _, lengths, _ = anchor_points(s, t, kappa)
    assert (
        abs(lengths.mean() - 1 / ball_capacity(radius, 2, kappa)) < 3 * lengths.std() / count**0.5
    )


def test_a_huge_symmetric_manifold_costs_its_dimension_and_half_the_axis():
    """The cone of +-R e_k, R large, is nearly R^D x R_+: its statistical dimension is D + 1/2."""
    dimension, count = 6, 4000
    s = with_axis(1e4 * np.hstack([np.eye(dimension), -np.eye(dimension)]))
    t = np.random.default_rng(3).standard_normal((dimension + 1, count))
    _, lengths, _ = anchor_points(s, t, 0.0)
    assert abs(lengths.mean() - (dimension + 0.5)) < 3 * lengths.std() / count**0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_solutions_are_projections_on_the_polyhedral_cone(seed):
    """V = T - S a: feasible, and orthogonal to S a (Moreau)."""
    random = np.random.default_rng(seed)
    s, t, kappa = (
        with_axis(0.7 * random.standard_normal((9, 25))),
        random.standard_normal((10, 50)),
        0.3,
    )
    anchors, lengths, _ = anchor_points(s, t, kappa)
    shifted = t + kappa * np.eye(10)[:, -1:]
    touched = lengths > 0
    scale = np.sum(shifted * anchors, axis=0) / np.sum(anchors**2, axis=0)
    projection = np.where(touched, scale, 0) * anchors
    v = t - projection
    assert (v.T @ s + kappa).max() < 1e-10
    np.testing.assert_allclose(np.sum(projection**2, axis=0), lengths, atol=1e-10)
    np.testing.assert_allclose(anchors[-1], 1, atol=1e-12)


def test_where_no_point_touches_the_anchor_is_the_nearest_point():
    s = with_axis(np.array([[0.5, -0.5]]))
    t = np.array([[1.0, -1.0], [-10.0, -10.0]])
    anchors, lengths, _ = anchor_points(s, t, 0.0)
    assert not lengths.any()
    np.testing.assert_array_equal(anchors[0], [0.5, -0.5])
    found = anchor_geometry(s, t)
    assert found.capacity == math.inf
    assert found.radius == 0.5
    assert found.dimension == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_rotations_within_the_manifold_change_nothing(seed):
    random = np.random.default_rng(seed)
    points, t = random.standard_normal((8, 20)), random.standard_normal((9, 100))
    q = np.linalg.qr(random.standard_normal((8, 8)))[0]
    turned = np.vstack([q @ t[:-1], t[-1:]])
    first, second = (
        anchor_geometry(with_axis(points), t),
        anchor_geometry(with_axis(q @ points), turned),
    )
    for name in ("capacity", "radius", "dimension", "radius_paper", "dimension_paper"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_margin_only_shifts_the_axis(seed):
    random = np.random.default_rng(seed)
    s, t = with_axis(random.standard_normal((6, 15))), random.standard_normal((7, 80))
    shifted = t + 0.7 * np.eye(7)[:, -1:]
    assert anchor_geometry(s, t, 0.7).capacity == pytest.approx(
        anchor_geometry(s, shifted).capacity
    )


def test_points_inside_the_hull_do_not_count():
    random = np.random.default_rng(0)
    points, t = random.standard_normal((4, 12)), random.standard_normal((5, 200))
    mixtures = points @ random.dirichlet(np.ones(12), size=30).T
    alone, more = (
        anchor_geometry(with_axis(points), t),
        anchor_geometry(with_axis(np.hstack([points, mixtures])), t),
    )
    assert more.capacity == pytest.approx(alone.capacity, rel=1e-9)


def test_two_points_in_qr_coordinates_have_a_dimension_near_0_8():
    """One of the two coordinates of two centred points is zero, and is counted."""
    t = np.random.default_rng(1).standard_normal((3, 20000))
    found = anchor_geometry(with_axis(np.array([[1.0, -1.0], [0.0, 0.0]])), t)
    assert 0.7 < found.dimension < 0.9


def test_repeated_points_have_neither_radius_nor_dimension():
    t = np.random.default_rng(2).standard_normal((6, 500))
    found = anchor_geometry(with_axis(np.zeros((5, 7))), t)
    assert (found.radius, found.dimension, found.radius_paper, found.dimension_paper) == (
        0,
        0,
        0,
        0,
    )
    assert found.capacity == pytest.approx(2, rel=0.2)


def test_nearly_dependent_points_are_solved_again_on_the_points_themselves():
    """Distances of 1e-7 are lost in the Gram matrix, whose rounding is 1e-16 of squares of order 1."""
    random = np.random.default_rng(4)
    points = np.ones((6, 1)) + 1e-7 * random.standard_normal((6, 14))
    t = random.standard_normal((7, 100))
    s = with_axis(points)
    _, lengths, resolved = anchor_points(s, t, 0.0)
    assert resolved > 0
    from scipy.optimize import nnls

    exact = [nnls(s, target)[1] for target in t.T]  # |S a - T|
    np.testing.assert_allclose(np.sum(t**2, axis=0) - lengths, np.square(exact), atol=1e-9)


@pytest.mark.parametrize(
    ("s", "t", "kappa", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 5)), 0.0, "D\\+1 rows"),
        (np.zeros((3, 2)), np.ones((3, 5)), 0.0, "not all ones"),
        (np.full((3, 2), np.nan), np.ones((3, 5)), 0.0, "NaN"),
        (np.ones((3, 2)), np.full((3, 5), np.inf), 0.0, "NaN or infinite"),
        (np.ones((3, 2)), np.ones((3, 0)), 0.0, "at least one column"),
        (np.ones(3), np.ones((3, 5)), 0.0, "matrix of real numbers"),
        (np.ones((3, 2), dtype=complex), np.ones((3, 5)), 0.0, "complex"),
        (np.ones((3, 2)), np.ones((3, 5)), np.nan, "kappa"),
    ],
)
def test_bad_input_is_refused_with_the_reason(s, t, kappa, message):
    with pytest.raises(GeometryError, match=message):
        anchor_geometry(s, t, kappa)
