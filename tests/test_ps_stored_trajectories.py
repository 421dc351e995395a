"""Distances of stored trajectories: those of the kernels, whatever the blocks, memory and threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up_predictions import softmax, trajectory
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import ignorance, truth
from pipeline.geometry.bhattacharyya.sources import Source, prediction_sources
from pipeline.geometry.progress import (
    at_progress,
    geodesic,
    paired_distances,
    progress,
    trajectory_distances,
    tube_widths,
)
from pipeline.geometry.progress.stored import Trajectory, TrajectoryMeasures, measure_trajectories
from pipeline.store.writer import StoreWriter

VALUES, SAMPLES, CLASSES = 20, 23, 5
CONFIGURATIONS = [0, 0, 0, 1, 1]
Array = NDArray[np.float64]


def store(folder: Path, p: Array) -> Path:
    writer = StoreWriter(folder)
    writer.create("train_root_probabilities", p.shape, dtype=np.float32)
    writer.write("train_root_probabilities", np.sqrt(p).astype(np.float32))
    writer.close({"config": {}, "code": "test"})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Source], list[Array], Array]:
    """Two stores of 3 and 2 trajectories of 7 and 9 models, their predictions, and the labels."""
    folder = tmp_path_factory.mktemp("stores")
    labels = trajectory(0, 1, SAMPLES, CLASSES)[1]
    found = []
    for number in range(5):
        random = np.random.default_rng((7, number))
        aim = np.eye(CLASSES)[labels] + 0.4 * random.standard_normal((SAMPLES, CLASSES))
        steps = np.linspace(0, 6, 7 if number < 3 else 9)[:, None, None]
        p = softmax(steps * aim + 0.3 * random.standard_normal((len(steps), SAMPLES, CLASSES)))
        found.append(p)
    stores = [
        store(folder / "a", np.concatenate(found[:3])),
        store(folder / "b", np.concatenate(found[3:])),
    ]
    return prediction_sources(stores, "train_root_probabilities"), found, labels


def asked(found: list[Array], labels: Array) -> list[Trajectory]:
    starts = [0, 7, 14, 0, 9]
    return [
        Trajectory(int(k > 2), np.arange(len(p)) + starts[k], progress(p, labels))
        for k, p in enumerate(found)
    ]


def plain(found: list[Array], labels: Array) -> TrajectoryMeasures:
    moved = [at_progress(p, progress(p, labels), VALUES) for p in found]
    flat, told = ignorance(SAMPLES, CLASSES), truth(labels, CLASSES)
    points = geodesic(flat, told, np.arange(1, VALUES + 1) / VALUES)
    return TrajectoryMeasures(
        trajectory_distances(moved),
        np.concatenate([tube_widths(moved[:3]), tube_widths(moved[3:])]),
        np.stack([paired_distances(one, points) for one in moved]),
    )


@pytest.mark.parametrize(
    ("block", "memory", "threads"),
    [(None, 1 << 30, None), (7, 1 << 30, 2), (1, 1, 1), (9, 9000, 1)],
)
def test_they_are_those_of_the_kernels(
    made: tuple[list[Source], list[Array], Array],
    block: int | None,
    memory: int,
    threads: int | None,
) -> None:
    sources, found, labels = made
    measured = measure_trajectories(
        sources,
        asked(found, labels),
        labels,
        CONFIGURATIONS,
        at=VALUES,
        block=block,
        memory=memory,
        threads=threads,
    )
    for one, other in zip(measured, plain(found, labels), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(measured.distances, measured.distances.T)
    assert not measured.distances.diagonal().any()


def test_the_same_trajectory_re_timed_is_at_distance_0(
    made: tuple[list[Source], list[Array], Array],
) -> None:
    sources, found, labels = made
    one, *_, other = asked(found, labels)
    measured = measure_trajectories(sources, [one, one, other], labels, [0, 0, 1], at=VALUES)
    assert measured.distances[0, 1] == pytest.approx(0, abs=1e-7)
    np.testing.assert_array_equal(measured.distances[0, 2], measured.distances[1, 2])
    assert measured.distances[0, 2] > 1e-3
    np.testing.assert_allclose(measured.tube_widths, 0, atol=1e-7)


def test_pairs_without_a_common_answer_are_computed_exactly(tmp_path: Path) -> None:
    labels = np.zeros(SAMPLES, dtype=np.int64)
    sure = np.stack([np.full((1, SAMPLES, CLASSES), 1e-30) for _ in range(2)])
    sure[0, ..., 1], sure[1, ..., 2] = 1, 1
    sources = prediction_sources(
        [store(tmp_path / str(k), p) for k, p in enumerate(sure)], "train_root_probabilities"
    )
    given = [Trajectory(k, np.array([0]), np.array([0.0])) for k in range(2)]
    measured = measure_trajectories(sources, given, labels, [0, 1], at=3, block=5)
    assert measured.distances[0, 1] == pytest.approx(-np.log(2e-15), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"source": 2}, "is of source 2, which is not given"),
        ({"models": np.array([0, 21])}, "models from 0 to 20"),
        ({"models": np.array([], dtype=np.int64)}, "has 0 models"),
        ({"progress": np.full(7, np.nan)}, "finite progress"),
    ],
)
def test_trajectories_that_make_no_sense(
    made: tuple[list[Source], list[Array], Array], changes: dict[str, object], text: str
) -> None:
    sources, found, labels = made
    bad = asked(found, labels)[0]._replace(**changes)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=text):
        measure_trajectories(sources, [bad], labels, [0])


def test_other_arguments_that_make_no_sense(
    made: tuple[list[Source], list[Array], Array],
) -> None:
    sources, found, labels = made
    good = asked(found, labels)
    with pytest.raises(GeometryError, match="configurations has shape"):
        measure_trajectories(sources, good, labels, [0])
    with pytest.raises(GeometryError, match="Labels of shape"):
        measure_trajectories(sources, good, labels[:3], CONFIGURATIONS)
    with pytest.raises(GeometryError, match="No trajectory"):
        measure_trajectories(sources, [], labels, [])
    with pytest.raises(GeometryError, match="block is 0"):
        measure_trajectories(sources, good, labels, CONFIGURATIONS, block=0)
