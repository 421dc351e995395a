"""What the results of trajectories hold, as figures and claims read them: nothing is measured here.

Source: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.importance import SETTINGS
from pipeline.errors import NotMeasurable
from pipeline.runs import Run, RunGroups, all_runs

CONVOLUTIONAL = ("all_cnn", "small_resnet", "large_resnet", "conv_mixer")
Array = NDArray[np.float64]


def geodesic_distances_of(found: xr.Dataset) -> Array:
    """Distances (trajectories, values) to the geodesic at equal progress; NaN beyond the progress that a
    trajectory has reached, where its last model stands.
    """
    beyond = found["compared_progress"].values > found["trajectory_reached"].values[:, None]
    return np.where(beyond, np.nan, found["trajectory_geodesic_distance"].values)


def trained_text(found: xr.Dataset) -> str:
    """How many networks trained, and are compared, and how many did not."""
    error, left_out = float(found.attrs["largest_error"]), int(found.attrs["left_out"])
    some = f", {left_out} others left out" if left_out else ""
    return f"{found.sizes['trajectory']} networks with a train error of at most {error:g} at the end{some}"


def seeds_text(found: xr.Dataset) -> str:
    """How many seeds the configurations with a tube have: a width grows with their number."""
    counts = np.unique(found["trajectory_run"].values, return_counts=True)[1]
    several = counts[counts > 1]
    low, high = int(several.min()), int(several.max())
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"


def runs_of(found: xr.Dataset, data: RunGroups, dim: str = "configuration") -> list[Run]:
    """The run of each configuration or trajectory of a result."""
    by_name = {run.name: run for run in all_runs(data)}
    return [by_name[found.attrs["runs"][place]] for place in found[f"{dim}_run"].values]


def networks_of_runs(runs: list[Run]) -> NDArray[Any]:
    """(runs,) the network of each."""
    return np.array([str(run.config["network"]) for run in runs])


def diameter(distances: Array, members: NDArray[np.bool_]) -> float:
    """The largest distance (c, c) of two members; NotMeasurable where there are fewer than two."""
    if members.sum() < 2:
        raise NotMeasurable("A diameter needs two configurations or more that trained.")
    return float(distances[np.ix_(members, members)].max())


def median_distance(distances: Array) -> float:
    """The median distance (c, c) of two configurations."""
    return float(np.median(distances[np.triu_indices(len(distances), 1)]))


def seed_importance(found: xr.Dataset) -> Array:
    """``covariate_importance`` (seeds, covariates) of each seed's trajectories alone."""
    return np.asarray(found["covariate_importance"].values[1:])


def settings_that_vary(runs: list[Run]) -> list[str]:
    """The settings in which some runs differ."""
    return [key for key in SETTINGS if len({str(run.config[key]) for run in runs}) > 1]
