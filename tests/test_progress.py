"""Progress, geodesics, trajectories at equal progress, tubes and centroids: closed forms and identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up_predictions import plain_distances, stress, trajectory
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import ignorance, truth
from pipeline.geometry.progress import (
    CENTROIDS,
    at_progress,
    centroid,
    geodesic,
    geodesic_distances,
    paired_distances,
    progress,
    trajectory_distance,
    trajectory_distances,
    tube_widths,
)
from pipeline.geometry.progress.torch_projection import device_progress

SEEDS = [0, 1, 2]
Array = NDArray[np.float64]


def ends(labels: NDArray[np.int64], classes: int = 10) -> tuple[Array, Array]:
    return ignorance(len(labels), classes), truth(labels, classes)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_points_of_the_geodesic_have_their_own_progress(classes: int) -> None:
    labels = np.arange(30) % classes
    values = np.linspace(0, 1, 41)
    points = geodesic(*ends(labels, classes), values)
    np.testing.assert_allclose(progress(points, labels), values, atol=1e-11)
    np.testing.assert_allclose(geodesic_distances(points, labels), 0, atol=1e-12)
    np.testing.assert_allclose(points.sum(axis=2), 1, rtol=1e-12)


def test_distances_along_the_geodesic() -> None:
    labels, values = np.arange(20) % 10, np.linspace(0, 1, 11)
    flat, told = ends(labels)
    points = geodesic(flat, told, values)
    angle = math.acos(1 / math.sqrt(10))
    of_flat = paired_distances(points, np.repeat(flat[None], 11, axis=0))
    of_truth = paired_distances(points, np.repeat(told[None], 11, axis=0))
    np.testing.assert_allclose(of_flat, -np.log(np.cos(values * angle)), atol=1e-14)
    np.testing.assert_allclose(of_truth, -np.log(np.cos((1 - values) * angle)), atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_progress_is_the_nearest_point_of_the_geodesic(seed: int) -> None:
    p, labels = trajectory(seed, models=12)
    flat, told = ends(labels)

    def distance(value: float, model: Array) -> float:
        affinity = np.sqrt(model * geodesic(flat, told, [value])[0]).sum(axis=1)
        return float(np.arccos(np.minimum(affinity, 1)).mean())

    for model, found in zip(p, progress(p, labels), strict=True):
        wanted = minimize_scalar(
            distance, bounds=(0, 1), args=(model,), method="bounded", options={"xatol": 1e-8}
        )
        assert found == pytest.approx(wanted.x, abs=2e-6)
        assert distance(found, model) <= wanted.fun + 1e-12


@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("error", [0.0, 0.2, 0.6, 0.74, 0.76, 0.8, 0.85, 0.89, 0.91, 1.0])
def test_progress_of_certain_models_with_errors(error: float, classes: int) -> None:
    samples = 100
    labels = np.zeros(samples, dtype=np.int64)
    wrong = round(error * samples)
    hot = np.zeros((1, samples, classes))
    hot[0, :wrong, 1] = hot[0, wrong:, 0] = 1
    start = math.asin(1 / math.sqrt(classes))
    if error <= math.sqrt(classes - 1) / (1 + math.sqrt(classes - 1)):
        wanted = 1.0
    elif error >= (classes - 1) / classes:
        wanted = 0.0
    else:
        ratio = (1 - error) / error
        # at C = 3 and an error below a half the ratio exceeds 1, but progress is 1 there
        angle = math.asin(ratio * math.sqrt((classes - 2) / (1 - ratio**2)))
        wanted = (angle - start) / (math.pi / 2 - start)
    assert progress(hot, labels)[0] == pytest.approx(wanted, abs=1e-10)


def test_progress_does_not_depend_on_threads_precision_or_way() -> None:
    p, labels = trajectory(0, models=150)
    found = progress(p, labels, threads=1)
    np.testing.assert_array_equal(found, progress(p, labels, threads=3))
    np.testing.assert_allclose(progress(p.astype(np.float32), labels), found, atol=1e-6)
    extreme = progress(stress(0), labels)
    np.testing.assert_allclose(device_progress(stress(0), labels, "cpu"), extreme, atol=1e-9)
    np.testing.assert_allclose(device_progress(p, labels, "cpu"), found, atol=1e-9)
    assert found.std() > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_geodesic_between_any_models_starts_and_ends_there(seed: int) -> None:
    p, _ = trajectory(seed, models=2)
    points = geodesic(p[0], p[1], [0, 0.5, 1])
    np.testing.assert_allclose(points[0], p[0], atol=1e-12)
    np.testing.assert_allclose(points[2], p[1], atol=1e-12)
    angle = np.arccos(np.sqrt(p[0] * p[1]).sum(axis=1))
    half = np.arccos(np.minimum(np.sqrt(p[0] * points[1]).sum(axis=1), 1))
    np.testing.assert_allclose(half, angle / 2, atol=1e-7)
    np.testing.assert_allclose(geodesic(p[0], p[0], [0.3])[0], p[0], atol=1e-12)


def test_a_trajectory_at_given_progress() -> None:
    labels = np.arange(20) % 10
    told = np.array([0.1, 0.4, 0.3, 0.8])
    points = geodesic(*ends(labels), told)
    found = at_progress(points, told, [0.05, 0.2, 0.35, 0.4, 0.6, 0.9])
    flat, certain = ends(labels)
    between = geodesic(flat, certain, [0.1, 0.2, 0.35, 0.4, 0.6, 0.8])
    # 0.4: the first checkpoint above it is the last one, after the one at 0.3
    np.testing.assert_allclose(found, between, atol=1e-12)
    assert at_progress(points, told).shape == (100, 20, 10)
    np.testing.assert_allclose(at_progress(points, told, 2)[0], geodesic(flat, certain, [0.5])[0])


def test_a_trajectory_and_its_retimed_self_have_distance_0() -> None:
    labels, values = np.arange(20) % 10, np.linspace(0, 1, 30)
    one, two = (geodesic(*ends(labels), x) for x in (values, values**2))
    assert trajectory_distance(one, two, labels) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_trajectory_distances_are_means_at_equal_progress(seed: int) -> None:
    parts = [trajectory(seed + k, models=15, steepness=9)[0] for k in (0, 10, 20)]
    labels = trajectory(seed)[1]
    at = [at_progress(p, progress(p, labels), 10) for p in parts]
    found = trajectory_distances(at)
    for i in range(3):
        for j in range(3):
            plain = np.mean([plain_distances(at[i][[s]], at[j][[s]])[0, 0] for s in range(10)])
            assert found[i, j] == pytest.approx(plain if i != j else 0, abs=1e-7)
            if i != j:
                one = trajectory_distance(parts[i], parts[j], labels, 10)
                assert one == pytest.approx(found[i, j], abs=1e-7)


def test_tubes_are_as_wide_as_seeds_differ() -> None:
    p, _ = trajectory(0, models=6)
    np.testing.assert_allclose(tube_widths([p, p, p]), 0, atol=1e-15)
    q = trajectory(1, models=6)[0]
    found = tube_widths([p, q])
    mean = (p + q) / 2
    np.testing.assert_allclose(found[0], np.diag(plain_distances(p, mean)), atol=1e-12)
    assert found.shape == (2, 6)


@pytest.mark.parametrize("seed", SEEDS)
def test_centroids_are_the_means_of_their_divergences(seed: int) -> None:
    """Against a numerical minimum over all distributions; harmonic and Jeffreys by their formulas."""
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(4), (5, 1))

    def divergence(kind: str, q: Array) -> float:
        x = p[:, 0]
        return float(
            {
                "arithmetic": lambda: ((x - q) ** 2).sum(),
                "root_arithmetic": lambda: -np.sqrt(x * q).sum(),
                "geometric": lambda: (q * np.log(q / x)).sum(),
                "bhattacharyya": lambda: -np.log(np.sqrt(x * q).sum(axis=1)).sum(),
                "jeffreys": lambda: ((x - q) * np.log(x / q)).sum(),
            }[kind]()
        )

    for kind in ("arithmetic", "root_arithmetic", "geometric", "bhattacharyya", "jeffreys"):
        found = centroid(p, kind)[0]

        def loss(z: Array, kind: str = kind) -> float:
            e = np.exp(z - z.max())
            return divergence(kind, e / e.sum())

        best = minimize(loss, np.log(found), method="BFGS", options={"gtol": 1e-10})
        # Jeffreys' closed form is near the minimum over distributions, not at it
        slack = 2e-3 if kind == "jeffreys" else 1e-9
        assert divergence(kind, found) <= best.fun + slack
    harmonic = 1 / (1 / p).mean(axis=0)
    np.testing.assert_allclose(centroid(p, "harmonic"), harmonic / harmonic.sum(), rtol=1e-12)
    geometric = np.exp(np.log(p).mean(axis=0))
    np.testing.assert_allclose(centroid(p, "geometric"), geometric / geometric.sum(), rtol=1e-12)


@pytest.mark.parametrize("kind", CENTROIDS)
def test_centroids_of_equal_and_of_impossible_models(kind: str) -> None:
    p, _ = trajectory(0, models=1)
    np.testing.assert_allclose(centroid(np.repeat(p, 3, axis=0), kind), p[0], rtol=1e-9, atol=1e-15)
    hard = np.eye(10)[np.random.default_rng(0).integers(0, 10, (4, 30))]
    found = centroid(hard, kind)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_bad_input_is_refused() -> None:
    p, labels = trajectory(0, models=3)
    with pytest.raises(GeometryError, match="There is no centroid 'median'; valid are: arithmetic"):
        centroid(p, "median")
    with pytest.raises(GeometryError, match="lambda must be from 0 to 1"):
        geodesic(p[0], p[1], [1.5])
    with pytest.raises(GeometryError, match="one finite value for each of the 3"):
        at_progress(p, [0.1, np.nan, 0.2])
    with pytest.raises(GeometryError, match="at least 1 is needed"):
        at_progress(p, [0.1, 0.2, 0.3], 0)
    with pytest.raises(GeometryError, match="Labels"):
        progress(p, labels[:-1])
    with pytest.raises(GeometryError, match="give as many of both"):
        paired_distances(p, p[:2])
    with pytest.raises(GeometryError, match="all must be"):
        trajectory_distances([p, p[:2]])
    with pytest.raises(GeometryError, match="must be from 0 to 1"):
        at_progress(p, [0.1, 0.2, 0.3], [2.0])
    with pytest.raises(GeometryError, match="Trajectories of shapes"):
        tube_widths([p, p[:2]])


@pytest.mark.gpu
def test_a_gpu_gives_the_same_progress() -> None:
    for p, labels in (trajectory(0, models=150), (stress(0), trajectory(0)[1])):
        np.testing.assert_allclose(
            progress(p, labels, device="cuda"), progress(p, labels), atol=1e-9
        )
