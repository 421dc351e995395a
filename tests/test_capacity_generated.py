"""Generated manifolds: shapes, places, seeds and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.generated import SHAPES, generated_manifolds

SMALL: dict[str, Any] = {"manifolds": 6, "points": 50, "features": 80, "dimension": 4}


def deviations(radius: float, shape: str, **options: Any) -> tuple[list[Any], list[Any]]:
    """Deviations from the centre and centres, of manifolds and of the same shrunk to points."""
    options = SMALL | options
    sets = generated_manifolds(shape, radius=radius, **options)
    shrunk = generated_manifolds(shape, radius=0.0, **options)
    centres = [one[:, 0] for one in shrunk]
    return [one - c[:, None] for one, c in zip(sets, centres, strict=True)], centres


@pytest.mark.parametrize("shape", SHAPES)
def test_manifolds_lie_in_as_many_dimensions_as_asked_for(shape: str) -> None:
    apart, centres = deviations(0.7, shape)
    assert len(apart) == 6
    for one, centre in zip(apart, centres, strict=True):
        assert one.shape == (80, 50)
        assert one.dtype == np.float64
        assert np.linalg.matrix_rank(one, tol=1e-9) == 4
        assert np.linalg.norm(centre) == pytest.approx(1)


def test_points_of_a_sphere_are_at_its_radius_and_those_of_a_ball_within() -> None:
    sphere, _ = deviations(0.7, "sphere")
    ball, _ = deviations(0.7, "ball", points=4000)
    np.testing.assert_allclose(np.linalg.norm(sphere[0], axis=0), 0.7, rtol=1e-12)
    lengths = np.linalg.norm(ball[0], axis=0) / 0.7
    assert lengths.max() <= 1 + 1e-12
    assert np.mean(lengths**4) == pytest.approx(0.5, abs=0.02)  # the volume within is uniform


def test_a_cloud_has_its_radius_as_root_mean_square() -> None:
    cloud, _ = deviations(0.7, "cloud", points=4000)
    assert np.sqrt(np.mean(np.sum(cloud[0] ** 2, axis=0))) == pytest.approx(0.7, rel=0.03)


def test_an_ellipsoid_has_its_aspect() -> None:
    apart, _ = deviations(0.7, "ellipsoid", points=4000, aspect=0.25)
    axes = np.linalg.svd(apart[0], compute_uv=False)[:4]
    expected = np.geomspace(0.7, 0.7 * 0.25, 4) * np.sqrt(4000 / 4)
    np.testing.assert_allclose(axes, expected, rtol=0.05)


def test_radii_of_a_pair_are_evenly_spaced() -> None:
    apart, _ = deviations([0.5, 1.5], "sphere")  # type: ignore[arg-type]
    found = [np.linalg.norm(one[:, 0]) for one in apart]
    np.testing.assert_allclose(found, np.linspace(0.5, 1.5, 6), rtol=1e-12)


def test_centres_share_a_part_of_the_rank_asked_for() -> None:
    options: dict[str, Any] = {"manifolds": 30, "points": 1, "features": 400}
    own = np.hstack(generated_manifolds(**options))
    mixed = np.hstack(generated_manifolds(**options, correlation=2.5, rank=2))
    common = mixed - own
    assert np.linalg.matrix_rank(common, tol=1e-9) == 2
    assert np.sqrt(np.mean(np.sum(common**2, axis=0))) == pytest.approx(2.5)


def test_the_seed_decides() -> None:
    first, again = generated_manifolds(**SMALL, seed=3), generated_manifolds(**SMALL, seed=3)
    other = generated_manifolds(**SMALL, seed=4)
    drawn = generated_manifolds(**SMALL, seed=np.random.default_rng(3))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, drawn)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": "cube"}, "'cube' given; valid are: sphere, ball, ellipsoid, cloud"),
        ({"manifolds": 0}, "manifolds = 0"),
        ({"points": True}, "points = True"),
        ({"dimension": 81}, "80 features hold at most"),
        ({"rank": 81}, "80 features hold at most"),
        ({"radius": -0.1}, "radius = -0.1"),
        ({"radius": [1.0, float("nan")]}, "or a pair"),
        ({"radius": [1.0, 2.0, 3.0]}, "or a pair"),
        ({"radius": "1"}, "radius = '1'"),
        ({"aspect": 0.0}, "aspect = 0.0"),
        ({"aspect": 2}, "aspect = 2"),
        ({"correlation": float("inf")}, "correlation = inf"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(GeometryError, match=words.replace("[", r"\[")):
        generated_manifolds(**(SMALL | options))
