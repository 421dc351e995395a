"""What Mao et al., PNAS 121(12), 2024, state about distances of trajectories, measured.

Each function takes an analysis ``trajectories`` or ``importance``. Distances are of pairs, which are
not independent: where there is an interval, it is over what the function names.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.trajectory_results import (
    CONVOLUTIONAL,
    diameter,
    networks_of_runs,
    runs_of,
    seed_importance,
    seeds_text,
)
from pipeline.claims.measurement import (
    Measurement,
    bootstrap_measurement,
    mean_measurement,
)
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with

Array = NDArray[np.float64]


def network_importance(data: RunGroups) -> Measurement:
    """Importance of the network less that of the next setting, mean and interval over seeds."""
    found = analysis_with(data, "covariate_importance")
    others = [name for name in found.attrs["varied"] if name != "network"]
    return _importance_gap(data, found, ["network"], others)


def optimisation_importance(data: RunGroups) -> Measurement:
    """The larger importance of optimiser and batch size less the larger of weight decay and augmentation."""
    found = analysis_with(data, "covariate_importance")
    return _importance_gap(
        data, found, ["optimizer", "batch_size"], ["weight_decay", "augmentation"]
    )


def _importance_gap(
    data: RunGroups, found: xr.Dataset, first: list[str], second: list[str]
) -> Measurement:
    """max importance of the first less max importance of the second settings, those that vary."""
    names, varied = found.attrs["covariates"], found.attrs["varied"]
    one, two = ([names.index(key) for key in keys if key in varied] for keys in (first, second))
    if not one or not two:
        words = ", ".join(first if not one else second)
        raise NotMeasurable(f"At this scale no two configurations that trained differ in {words}.")
    values = seed_importance(found)
    if not len(values):
        raise NotMeasurable("No seed has five configurations that trained.")
    gaps = values[:, one].max(axis=1) - values[:, two].max(axis=1)
    whole = found["covariate_importance"].values[0]
    told = ", ".join(f"{names[k]} {whole[k]:.3f}" for k in (*one, *two))
    note = f"n counts seeds; settings with one value at this scale are left out; of means over seeds: {told}"
    return mean_measurement(gaps, stand_in(data), note)


def median_tube_width(data: RunGroups) -> Measurement:
    """Median tube width over configurations, seeds and progress; interval: bootstrap over configurations."""
    found = analysis_with(data, "tube_width")
    of_run, widths = found["trajectory_run"].values, found["tube_width"].values
    groups = [widths[of_run == run] for run in found["configuration_run"].values]
    groups = [group for group in groups if np.isfinite(group).all()]
    if not groups:
        raise NotMeasurable("No configuration has two networks that trained, so there is no tube.")
    networks = sum(len(group) for group in groups)
    values = np.concatenate([group.ravel() for group in groups])
    members = np.repeat(np.arange(len(groups)), [group.size for group in groups])
    return bootstrap_measurement(
        lambda weights: weighted_median(values, weights[members]),
        len(groups),
        stand_in(data),
        f"n counts configurations with two networks or more that trained, {networks} networks, "
        f"{seeds_text(found)} each; the mean over seeds holds the network itself, so that fewer seeds give "
        "smaller widths (2 about half of the paper's 10)",
    )


def weighted_median(values: Array, weights: Array) -> float:
    """The middle of values (n,) that count as often as weights (n,) say; NaN without any."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    if not total[-1] > 0:
        return float("nan")
    low, high = (np.searchsorted(total, total[-1] / 2, side) for side in ("left", "right"))
    return float((values[order[low]] + values[order[min(high, len(order) - 1)]]) / 2)


def convolutional_diameter(data: RunGroups) -> Measurement:
    """The largest mean distance of two configurations of convolutional networks."""
    return _diameter(data, True)


def other_diameter(data: RunGroups) -> Measurement:
    """The same of fully connected networks and ViT."""
    return _diameter(data, False)


def _diameter(data: RunGroups, convolutional: bool) -> Measurement:
    found = analysis_with(data, "configuration_distance")
    networks = networks_of_runs(runs_of(found, data))
    members = np.isin(networks, CONVOLUTIONAL) == convolutional
    value = diameter(found["configuration_distance"].values, members)
    kinds = ", ".join(dict.fromkeys(networks[members]))
    note = f"n counts configurations ({kinds}); a maximum has no interval here"
    return Measurement(value, None, int(members.sum()), None, stand_in(data), note)


def geodesic_distance_ratio(data: RunGroups) -> Measurement:
    """The least distance of a configuration to the geodesic over the median distance of two configurations;
    interval: bootstrap over configurations.
    """
    found = analysis_with(data, "configuration_distance")
    distances = found["configuration_distance"].values
    far = found["configuration_geodesic_distance"].values
    first, second = np.triu_indices(len(far), 1)
    pairs = distances[first, second]

    def ratio(weights: Array) -> float:
        middle = weighted_median(pairs, weights[first] * weights[second])
        return float(far[weights > 0].min() / middle) if middle > 0 else float("nan")

    note = f"n counts configurations; distances to the geodesic {far.min():.3f} to {far.max():.3f}"
    return bootstrap_measurement(ratio, len(far), stand_in(data), note)
