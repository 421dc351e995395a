"""Radii and distance: closed forms, the pairwise definition, invariances, faults."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import GeometryError
from pipeline.geometry.radii import (
    METRICS,
    class_manifold_geometry,
    geometry_from_sums,
    manifold_sums,
    merge_sums,
    project_on_sphere,
)

SEEDS = (0, 1, 2)
ATOL = 1e-13


def sample(seed, samples=40, units=7):
    random = np.random.default_rng(seed)
    y = np.where(np.arange(samples) % 3 == 0, -1, 1)
    return random.normal(size=(samples, units)) + 0.5 * y[:, None], random.permutation(y)


def values(geometry):
    return np.array([geometry[name] for name in METRICS])


def pairwise(h, y):
    """Eq. 8 as the paper writes it: sums over pairs."""
    a = h / np.linalg.norm(h, axis=1, keepdims=True)
    classes = [a[y == label] for label in (1, -1)]
    radii = [np.sqrt(sum(np.sum((m - x) ** 2) for x in m) / (2 * len(m) ** 2)) for m in classes]
    return np.array([*radii, np.linalg.norm(classes[0].mean(axis=0) - classes[1].mean(axis=0))])


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_pairwise_definition(seed):
    h, y = sample(seed)
    np.testing.assert_allclose(values(class_manifold_geometry(h, y)), pairwise(h, y), atol=ATOL)


def test_antipodal_clusters():
    h = np.array([[0.0, 3.0], [0.0, 1e-3], [0.0, -2.0], [0.0, -7.0]])
    geometry = class_manifold_geometry(h, np.array([1, 1, -1, -1]))
    np.testing.assert_allclose(values(geometry), [0, 0, 2], atol=ATOL)


def test_two_opposite_points_in_one_class():
    h = np.array([[1.0, 0], [-1, 0], [0, 1], [0, 1]])
    geometry = class_manifold_geometry(h, np.array([1, 1, -1, -1]))
    np.testing.assert_allclose(values(geometry), [1, 0, 1], atol=ATOL)


@pytest.mark.parametrize("corners", [2, 5, 20])
def test_orthonormal_simplex(corners):
    """n orthonormal rows: the centroid has length 1/sqrt(n), so R^2 = 1 - 1/n."""
    h = np.concatenate([np.eye(corners), np.ones((1, corners))])
    geometry = class_manifold_geometry(h, np.array([1] * corners + [-1]))
    assert geometry["radius_plus"] == pytest.approx(np.sqrt(1 - 1 / corners), abs=ATOL)
    assert geometry["radius_minus"] == 0.0
    assert geometry["distance"] == pytest.approx(1 - 1 / np.sqrt(corners), abs=ATOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_on_the_sphere_fills_it(seed):
    h = np.random.default_rng(seed).normal(size=(20000, 10))
    geometry = class_manifold_geometry(h, np.repeat([1, -1], 10000))
    assert 0.99 < geometry["radius_plus"] < 1
    assert 0.99 < geometry["radius_minus"] < 1
    assert geometry["distance"] < 0.05


def test_tiny_manifold_keeps_its_radius():
    """1 - |c|^2 would lose all digits of a radius of 1e-9."""
    h = np.array([[1.0, 1e-9], [1.0, -1e-9], [0.0, 1.0]])
    geometry = class_manifold_geometry(h, np.array([1, 1, -1]))
    assert geometry["radius_plus"] == pytest.approx(1e-9, rel=1e-6)


def test_row_of_zeros_stays_at_the_origin():
    h = np.array([[0.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    geometry = class_manifold_geometry(h, np.array([1, 1, -1]))
    # rows (0,0) and (0,1): mean |a|^2 - |c|^2 = 1/2 - 1/4
    assert geometry["radius_plus"] == pytest.approx(0.5, abs=ATOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_invariances(seed):
    h, y = sample(seed)
    random = np.random.default_rng(seed + 10)
    rotation, _ = np.linalg.qr(random.normal(size=(h.shape[1], h.shape[1])))
    expected = values(class_manifold_geometry(h, y))
    order = random.permutation(len(h))
    factors = 10.0 ** random.uniform(-200, 200, size=(len(h), 1))
    for changed, labels in ((h @ rotation, y), (h * factors, y), (h[order], y[order])):
        found = values(class_manifold_geometry(changed, labels))
        np.testing.assert_allclose(found, expected, atol=ATOL)
    swapped = class_manifold_geometry(h, -y)
    np.testing.assert_allclose(values(swapped), expected[[1, 0, 2]], atol=ATOL)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 5e-324, 1e308])
def test_rows_of_any_scale(scale):
    h = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    y = np.array([1, 1, -1, -1])
    found = class_manifold_geometry(h * scale, y)
    np.testing.assert_allclose(values(found), values(class_manifold_geometry(h, y)), atol=ATOL)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8])
def test_computes_in_float64_whatever_the_input(dtype):
    h, y = sample(0)
    rough = (4 * h).astype(dtype)
    expected = class_manifold_geometry(rough.astype(np.float64), y)
    np.testing.assert_allclose(
        values(class_manifold_geometry(rough, y)), values(expected), atol=ATOL
    )


def test_dtype_can_be_chosen():
    h, y = sample(1)
    single = values(class_manifold_geometry(h * 1e100, y, dtype=np.float32))
    double = values(class_manifold_geometry(h, y))
    assert 0 < np.max(np.abs(single - double)) < 1e-5
    assert project_on_sphere(h, np.float32).dtype == np.float32
    assert all(type(value) is float for value in class_manifold_geometry(h, y).values())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cuts", [(1,), (13, 14, 20), tuple(range(1, 40))])
def test_blocks_equal_the_whole(seed, cuts):
    h, y = sample(seed)
    blocks = [
        manifold_sums(part, labels)
        for part, labels in zip(np.split(h, cuts), np.split(y, cuts), strict=True)
    ]
    total = blocks[0]
    for block in blocks[1:]:
        total = merge_sums(total, block)
    whole = values(class_manifold_geometry(h, y))
    np.testing.assert_allclose(values(geometry_from_sums(total)), whole, atol=ATOL)


def test_leading_dimensions_are_independent():
    h = np.stack([sample(seed)[0] for seed in SEEDS])
    y = sample(0)[1]
    together = geometry_from_sums(manifold_sums(h, y))
    for index in range(len(SEEDS)):
        alone = class_manifold_geometry(h[index], y)
        found = [together[name][index] for name in METRICS]
        np.testing.assert_allclose(found, values(alone), atol=ATOL)


@pytest.mark.parametrize(
    ("h", "y", "words"),
    [
        (np.ones(3), [1, 1, -1], r"shape \(3,\)"),
        (np.ones((2, 3, 4)), [1, 1, -1], r"shape \(2, 3, 4\)"),
        (np.ones((3, 0)), [1, 1, -1], "at least one unit"),
        (np.ones((3, 2)), [1, -1], "3 samples of activations but 2 labels"),
        (np.ones((2, 2)), [[1, -1]], r"Labels of shape \(1, 2\)"),
        (
            np.ones((3, 2)),
            [1, 0, 2],
            "2 labels are neither -1 nor \\+1, the first is 0 at sample 1",
        ),
        (np.ones((2, 2)), [1.0, np.nan], "neither -1 nor \\+1"),
        (np.ones((2, 2)), [1, 1], "label -1 has no sample"),
        (np.ones((2, 2)), [-1, -1], "label \\+1 has no sample"),
        (np.zeros((0, 2)), [], "has no sample"),
        ([[1, 2], [np.nan, np.inf]], [1, -1], r"2 NaN or infinite.*\(1, 0\)"),
        (np.ones((2, 2)) * 1j, [1, -1], "complex128"),
        (np.array([["a"], ["b"]]), [1, -1], "real numbers"),
    ],
)
def test_faults_are_one_sentence(h, y, words):
    with pytest.raises(GeometryError, match=words) as caught:
        class_manifold_geometry(h, np.array(y))
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
