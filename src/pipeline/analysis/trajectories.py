"""Trajectories of trained networks at equal progress: distances, tube widths, and their embedding.

Source: Mao et al., PNAS 121(12), 2024, Figs. 7, S5-S7, S9.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.models import measured_models, metric
from pipeline.analysis.stored_models import (
    Models,
    check_split,
    described,
    same_labels,
    sources_of,
    stored_models,
)
from pipeline.errors import NotMeasurable
from pipeline.geometry.inpca import embed
from pipeline.geometry.progress.geodesics import GRID, progress_grid
from pipeline.geometry.progress.stored import (
    Trajectory,
    TrajectoryMeasures,
    measure_trajectories,
)
from pipeline.runs import Place, RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("split", "largest_error", "values", "components", "memory_mb")
LARGEST_ERROR = 0.1  # of the last model, on train samples: networks above it have not trained
COMPONENTS = 10
FEWEST = 3  # trajectories that are compared
Array = NDArray[np.float64]


def _register_all() -> None:
    one, step = ("trajectory",), ("trajectory", "progress_value")
    run = "run whose trajectory it is, its place in the attribute runs"
    register("trajectory_run", one, "int64", run, coordinate=True)
    register("trajectory_seed", one, "int64", "seed whose trajectory it is", coordinate=True)
    at = "progress at which trajectories are compared"
    register("compared_progress", ("progress_value",), "float64", at)
    apart = "distance of two trajectories: mean Bhattacharyya distance at equal progress"
    register("trajectory_distance", ("trajectory", "other_trajectory"), "float64", apart)
    width = "Bhattacharyya distance to the mean of the run's seeds at equal progress, NaN of a single seed"
    register("tube_width", step, "float64", width)
    gap = "Bhattacharyya distance to the geodesic's point of equal progress"
    register("trajectory_geodesic_distance", step, "float64", gap)
    reached = "largest progress of the trajectory; beyond it its last model stands"
    register("trajectory_reached", one, "float64", reached)
    register(
        "trajectory_inpca", ("trajectory", "component"), "float64", "coordinate of the trajectory"
    )
    point = "coordinate of the geodesic as a new trajectory"
    register("geodesic_inpca", ("component",), "float64", point)
    which = "run of the configuration, its place in the attribute runs"
    register("configuration_run", ("configuration",), "int64", which, coordinate=True)
    mean = "distance of two configurations: mean over pairs of their trajectories"
    register("configuration_distance", ("configuration", "other_configuration"), "float64", mean)
    far = "distance of the configuration to the geodesic, mean over its trajectories"
    register("configuration_geodesic_distance", ("configuration",), "float64", far)
    seeds = "mean distance of pairs of the configuration's own trajectories, NaN of a single one"
    register("seed_distance", ("configuration",), "float64", seeds)


_register_all()


class _Trained(NamedTuple):
    """The trajectories that are compared: runs and seeds (t,), models, and how many are left out."""

    run: NDArray[np.int64]
    seed: NDArray[np.int64]
    models: list[NDArray[np.int64]]
    left_out: int


def trajectories(data: RunGroups, options: dict[str, Any], place: Place) -> xr.Dataset:
    """Distances of the trajectories of networks that trained, their tubes, and InPCA of the distances.

    Needs the analysis ``models`` of the same runs. A configuration is a run; its trajectories are those
    of its seeds.

    Options
    -------
    split: train or test, of predictions and of progress. largest_error: only networks whose last train
    error is at most it enter (default 0.1). values: of progress, equidistant up to 1 (default 100).
    components: of InPCA (default 10, at most all). memory_mb: to work in (default 1024).

    Returns ``trajectory_distance``, ``tube_width``, ``trajectory_geodesic_distance``,
    ``trajectory_reached``, ``trajectory_inpca``, ``geodesic_inpca``, ``eigenvalue``, ``signature``,
    ``explained_stress``, ``configuration_distance``, ``configuration_geodesic_distance`` and
    ``seed_distance``; attributes split, largest_error, left_out (networks that did not train), runs.
    Raises NotMeasurable with fewer than three trajectories, and of one configuration only.
    """
    check_options("trajectories", options, OPTIONS)
    split = check_split(options.get("split"))
    models, largest = stored_models(data), float(options.get("largest_error", LARGEST_ERROR))
    measured = measured_models(data, models)
    trained = _trained(models, metric(measured, "error", "train"), largest)
    if len(trained.run) < FEWEST or len(np.unique(trained.run)) < 2:
        raise NotMeasurable(
            f"{len(trained.run)} of {len(trained.run) + trained.left_out} networks have a last train error "
            f"of at most {largest:g}, too few to compare trajectories."
        )
    progress = metric(measured, "progress", split)
    memory = int(options.get("memory_mb", 1024)) << 20
    values = progress_grid(options.get("values", GRID))
    found = _measured(models, trained, progress, split, values, memory, place.threads)
    reached = np.array([progress[mine].max() for mine in trained.models])
    result = _described(found, trained, values, int(options.get("components", COMPONENTS)))
    return result.assign(trajectory_reached=(("trajectory",), reached)).assign_attrs(
        split=split, largest_error=largest, left_out=trained.left_out, **described(models.runs)
    )


def between_configurations(
    distances: Array, configurations: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Mean distances (c, c) of pairs of trajectories of two configurations, 0 on the diagonal, and those
    (c,) of two trajectories of one, NaN where there is but one.

    Arguments
    ---------
    distances: (t, t); configurations: (t,) integers, in whose order the results are.
    """
    members = (configurations == np.unique(configurations)[:, None]).astype(np.float64)
    sums, counts = members @ distances @ members.T, members.sum(axis=1)
    own = np.full(len(counts), np.nan)
    several = counts > 1
    own[several] = sums.diagonal()[several] / (counts * (counts - 1))[several]
    means = (sums + sums.T) / (2 * np.outer(counts, counts))  # symmetric to the last digit
    np.fill_diagonal(means, 0)
    return means, own


def _trained(models: Models, errors: Array, largest: float) -> _Trained:
    runs, seeds, of_models, left_out = [], [], [], 0
    for run, seed, mine in models.trajectories():
        if errors[mine[-1]] <= largest:
            runs.append(run)
            seeds.append(seed)
            of_models.append(mine)
        else:
            left_out += 1
    found = np.array(runs, dtype=np.int64), np.array(seeds, dtype=np.int64)
    return _Trained(*found, of_models, left_out)


def _measured(
    models: Models,
    trained: _Trained,
    progress: Array,
    split: str,
    values: Array,
    memory: int,
    threads: int,
) -> TrajectoryMeasures:
    """The measures of the kernel, of whole stores as its sources."""
    sources = sources_of(models, split)  # one of each run, all of its models
    firsts = models.first_of_run
    given = [
        Trajectory(int(run), mine - firsts[run], progress[mine])
        for run, mine in zip(trained.run, trained.models, strict=True)
    ]
    labels = same_labels(models.runs, split)
    return measure_trajectories(
        sources, given, labels, trained.run, at=values, memory=memory, threads=threads
    )


def _described(
    found: TrajectoryMeasures, trained: _Trained, values: Array, components: int
) -> xr.Dataset:
    """The variables of the result."""
    made = embed(found.distances, min(components, len(found.distances)))
    to_geodesic = found.geodesic_distances.mean(axis=1)
    means, own = between_configurations(found.distances, trained.run)
    runs = np.unique(trained.run)
    single = np.isin(trained.run, runs[np.isnan(own)])
    widths = np.where(single[:, None], np.nan, found.tube_widths)
    far = np.array([to_geodesic[trained.run == run].mean() for run in runs])
    step = ("trajectory", "progress_value")
    return xr.Dataset(
        {
            "compared_progress": (step[1:], values),
            "trajectory_distance": (("trajectory", "other_trajectory"), found.distances),
            "tube_width": (step, widths),
            "trajectory_geodesic_distance": (step, found.geodesic_distances),
            "trajectory_inpca": (("trajectory", "component"), made.coordinates),
            "geodesic_inpca": (("component",), made.transform(to_geodesic)[0]),
            "eigenvalue": (("component",), made.eigenvalues),
            "signature": (("component",), made.signature),
            "explained_stress": (("component",), made.explained_stress),
            "configuration_distance": (("configuration", "other_configuration"), means),
            "configuration_geodesic_distance": (("configuration",), far),
            "seed_distance": (("configuration",), own),
        },
        coords={
            "trajectory_run": (("trajectory",), trained.run),
            "trajectory_seed": (("trajectory",), trained.seed),
            "configuration_run": (("configuration",), runs),
        },
    )
