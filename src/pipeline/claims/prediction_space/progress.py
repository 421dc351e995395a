"""What Mao et al., PNAS 121(12), 2024, state about progress, the geodesic and initialisation, measured.

Each function takes the runs and the analysis ``models``, of distances to the geodesic those of
trajectories, of initialisation ``models_batch_norm``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.model_table import (
    CONFIGURATION,
    NETWORK,
    initial_distances,
    paired_progress,
)
from pipeline.analysis.trajectory_results import (
    geodesic_distances_of,
    networks_of_runs,
    runs_of,
    trained_text,
)
from pipeline.claims.measurement import (
    Measurement,
    bootstrap_measurement,
    difference_measurement,
    mean_measurement,
    share_measurement,
)
from pipeline.claims.prediction_space.models import table_of
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.predictors.variables import SPLITS
from pipeline.run_texts import network_name
from pipeline.runs import RunGroups, results_with

DIAMETER = 0.1  # of the cluster of convolutional trajectories, in dB, Fig. 7
RESIDUAL = ("small_resnet", "large_resnet")
RESNET_50 = "blur_resnet50"
Array = NDArray[np.float64]


def geodesic_far(data: RunGroups) -> Measurement:
    """Share of networks that trained whose largest distance to the geodesic at equal progress, on training
    samples, is above 0.1, the distance of convolutional trajectories from each other.
    """
    found, peaks = _peaks(data)
    values = peaks["peak"].to_numpy()
    note = (
        f"largest distance: median {np.median(values):.3f}, smallest {values.min():.3f}; "
        f"{trained_text(found)}"
    )
    return share_measurement(values > DIAMETER, stand_in(data), note)


def all_cnn_closest(data: RunGroups) -> Measurement:
    """Largest distance to the geodesic (training samples, mean over networks that trained) of AllCNN less
    that of the closest other architecture.
    """
    return _against_others(data, "all_cnn", np.argmin)


def large_resnet_farthest(data: RunGroups) -> Measurement:
    """The same of the Large ResNet less that of the farthest other architecture."""
    return _against_others(data, "large_resnet", np.argmax)


def _against_others(
    data: RunGroups, network: str, choose: Callable[[list[float]], Any]
) -> Measurement:
    found, peaks = _peaks(data)
    values = {
        str(name): group.to_numpy() for name, group in peaks.groupby("network", sort=False)["peak"]
    }
    if network not in values or len(values) < 2:
        raise NotMeasurable(
            f"{network_name(network)} and another architecture that trained are needed; those that did: "
            f"{', '.join(map(network_name, values))}."
        )
    mine = values.pop(network)
    names = list(values)
    other = names[int(choose([float(values[name].mean()) for name in names]))]
    note = (
        f"{network_name(network)} {mine.mean():.3f}; {network_name(other)} {values[other].mean():.3f}; "
        f"{trained_text(found)}"
    )
    return difference_measurement(mine, values[other], stand_in(data), note)


def _trajectories(data: RunGroups, split: str) -> xr.Dataset:
    """The analysis of trajectories of a split; NotMeasurable where there is none."""
    for found in results_with(data, "trajectory_geodesic_distance"):
        if found.attrs["split"] == split:
            return found
    raise NotMeasurable(f"No trajectories of {split} samples were given.")


def _peaks(data: RunGroups) -> tuple[xr.Dataset, pd.DataFrame]:
    """The trajectories of training samples, and of each its network and largest distance to the geodesic."""
    found = _trajectories(data, "train")
    runs, distances = runs_of(found, data, "trajectory"), geodesic_distances_of(found)
    there = np.isfinite(distances).any(axis=1)
    if not there.any():
        raise NotMeasurable("No network makes progress of 0.01 or more.")
    networks = networks_of_runs(runs)[there]
    peaks = np.nanmax(distances[there], axis=1)
    return found, pd.DataFrame({"network": networks, "peak": peaks})


def farther_on_test(data: RunGroups) -> Measurement:
    """Distance to the geodesic on test less that on training samples at equal progress, of networks that
    trained: mean over the values of progress that both reach, then over networks.
    """
    parts = {}
    for split in SPLITS:
        found = _trajectories(data, split)
        runs = [run.name for run in runs_of(found, data, "trajectory")]
        keys = zip(runs, found["trajectory_seed"].values.tolist(), strict=True)
        parts[split] = dict(zip(keys, geodesic_distances_of(found), strict=True))
    train, test = parts["train"], parts["test"]
    ahead = [test[key] - train[key] for key in train if key in test]
    means = [float(np.nanmean(one)) for one in ahead if np.isfinite(one).any()]
    if not means:
        raise NotMeasurable("No network has training and test models of equal progress.")
    note = f"mean over progress; {trained_text(found)}"
    return mean_measurement(np.array(means), stand_in(data), note)


def larger_ahead(data: RunGroups) -> Measurement:
    """Training progress of the Large less that of the Small ResNet after the same updates: mean over
    the records after initialisation, then over pairs of the same configuration and seed.
    """
    paired = paired_progress(table_of(data), *RESIDUAL, "train")
    paired = paired[paired["update"] > 0]
    if not len(paired):
        raise NotMeasurable("No Small and Large ResNet of the same configuration and seed.")
    ahead = (paired["larger"] - paired["smaller"]).groupby(
        [paired[key] for key in (*CONFIGURATION, "seed")]
    )
    means = ahead.mean().to_numpy()
    note = "n counts pairs of networks of the same configuration and seed"
    return mean_measurement(means, stand_in(data), note)


# --- correlations ---------------------------------------------------------------------------------


def _correlation(x: str, y: str, data: RunGroups) -> Measurement:
    """Pearson's correlation of two metrics over all models; interval: bootstrap over networks."""
    table = table_of(data)
    sums = _moments(table, x, y)
    note = f"over {len(table)} models of {len(sums)} networks"
    return bootstrap_measurement(
        lambda weights: _from_moments(weights @ sums), len(sums), stand_in(data), note
    )


def _moments(table: pd.DataFrame, x: str, y: str) -> Array:
    """(networks, 6) sums over models of 1, x, y, x^2, y^2, xy, about the means of all models."""
    first, second = (table[one] - table[one].mean() for one in (x, y))
    columns = [first * 0 + 1, first, second, first**2, second**2, first * second]
    joined = pd.concat(columns, axis=1, keys=range(6)).groupby(
        [table[key] for key in NETWORK], sort=False
    )
    found: Array = joined.sum().to_numpy(dtype=float)
    return found


def _from_moments(sums: Array) -> float:
    n, x, y, xx, yy, xy = sums
    spread = (n * xx - x * x) * (n * yy - y * y)
    return float((n * xy - x * y) / np.sqrt(spread)) if spread > 0 else float("nan")


progress_and_train_error = partial(_correlation, "train_progress", "train_error")
progress_and_test_error = partial(_correlation, "test_progress", "test_error")
train_and_test_progress = partial(_correlation, "train_progress", "test_progress")


# --- initialisation -------------------------------------------------------------------------------


def running_statistics(data: RunGroups) -> Measurement:
    """Largest dB to ignorance over dB(P0, P*) of residual networks at initialisation with the running
    statistics of a fresh network, ResNet-50 alone where it is among them; the paper's is on ImageNet.
    """
    table = initial_distances(data)
    mine = table[(table["statistics"] == "running") & table["network"].isin((*RESIDUAL, RESNET_50))]
    if (mine["network"] == RESNET_50).any():
        mine = mine[mine["network"] == RESNET_50]
    if not len(mine):
        raise NotMeasurable("No residual network with running statistics is among the runs.")
    value = float(mine["train_relative"].max())
    names = " and ".join(network_name(str(one)) for one in mine["network"].unique())
    note = f"largest of {len(mine)}, {names}; the paper's is a ResNet-50 on ImageNet"
    return Measurement(value, None, len(mine), None, True, note)


def estimated_statistics(data: RunGroups) -> Measurement:
    """dB to ignorance over dB(P0, P*) at initialisation with re-estimated statistics: mean over
    networks.
    """
    table = initial_distances(data)
    mine = table[table["statistics"] == "initial"]["train_relative"].to_numpy(dtype=float)
    if not mine.size:
        raise NotMeasurable("No network with re-estimated statistics is among the runs.")
    others = table[table["statistics"] == "running"]["train_relative"]
    note = f"largest {mine.max():.3g}"
    if len(others):
        note += f"; with running statistics {others.mean():.3g} in the mean"
    return mean_measurement(mine, stand_in(data), note)
