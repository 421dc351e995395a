"""What Mao et al., PNAS 121(12), 2024, state about the embedding of four points, measured.

The embeddings and their alignment are fixed where intervals are taken: networks are drawn again, with
all their models.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.claims.measurement import Measurement, bootstrap_measurement
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, all_runs, analysis_with

BINS = np.linspace(0.1, 0.9, 9)  # edges of progress within which networks are compared
Array = NDArray[np.float64]


def rmsd(data: RunGroups) -> Measurement:
    """Root mean squared deviation of the aligned four-point embedding from that of all models."""
    found = _found(data)
    gaps = found["four_point_inpca"].values[0] - found["inpca"].values[:, :3]
    network = _networks(found)
    squares = np.bincount(network, (gaps**2).sum(axis=1))
    models = np.bincount(network)

    def statistic(weights: Array) -> float:
        return float(np.sqrt((weights @ squares) / (weights @ models)))

    note = f"{found.sizes['model']} models; interval: networks drawn again, embeddings fixed"
    return bootstrap_measurement(statistic, len(models), stand_in(data), note)


def explained_gap(data: RunGroups) -> Measurement:
    """Explained pairwise distances with three dimensions: all models' embedding less the four-point one's."""
    found = _found(data)
    whole = float(found["explained_distance"].values[2])
    four = float(found["four_point_explained"].values[0, 2])
    note = f"all models {whole:.3f}, four points {four:.3f}; one number for all networks, without interval"
    networks = len(np.unique(_networks(found)))
    return Measurement(whole - four, None, networks, None, stand_in(data), note)


def same_signs(data: RunGroups) -> Measurement:
    """Share of the first three dimensions that are space-like or time-like in both embeddings."""
    found = _found(data)
    whole, four = found["signature"].values[:3], found["four_point_signature"].values[0]
    note = f"all models {whole.tolist()}, four points {four.tolist()}; no interval"
    share = float(np.mean(whole == four))
    networks = len(np.unique(_networks(found)))
    return Measurement(share, None, networks, None, stand_in(data), note)


def residual_near_mixer(data: RunGroups) -> Measurement:
    """Distance of the residual networks from ConvMixer over their distance from FC, in the picture.

    A network's place is the mean of its models' aligned coordinates within each of 8 equal bins of
    progress from 0.1 to 0.9; a distance is the mean over residual networks and bins of |difference|.
    """
    found = _found(data)
    of_run = {run.name: str(run.config["network"]) for run in all_runs(data)}
    kinds = np.array([of_run.get(name, "") for name in found.attrs["runs"]])
    kind = kinds[found["model_run"].values]
    network, bins = _networks(found), np.digitize(found["four_point_progress"].values, BINS)
    x = found["four_point_inpca"].values[0]
    residual = [one for one in ("small_resnet", "large_resnet") if one in set(kind)]
    if not residual or not {"fc", "conv_mixer"} <= set(kind):
        raise NotMeasurable("Residual networks, ConvMixer and FC are needed, and one is missing.")

    def statistic(weights: Array) -> float:
        places = {
            name: _places(x[kind == name], bins[kind == name], weights[network[kind == name]])
            for name in ("fc", "conv_mixer", *residual)
        }
        near = [np.linalg.norm(places[one] - places["conv_mixer"], axis=1) for one in residual]
        far = [np.linalg.norm(places[one] - places["fc"], axis=1) for one in residual]
        there = np.isfinite(near) & np.isfinite(far)
        return (
            float(np.mean(np.array(near)[there]) / np.mean(np.array(far)[there]))
            if there.any()
            else np.nan
        )

    note = f"{', '.join(residual)}; interval: networks drawn again, the embedding fixed"
    return bootstrap_measurement(statistic, network.max() + 1, stand_in(data), note)


def _places(x: Array, bins: NDArray[np.int64], weights: Array) -> Array:
    """(bins, 3) weighted means of points; NaN in bins that have none."""
    found = np.full((len(BINS) - 1, x.shape[1]), np.nan)
    for number in range(1, len(BINS)):
        mine = bins == number
        if weights[mine].sum() > 0:
            found[number - 1] = weights[mine] @ x[mine] / weights[mine].sum()
    return found


def _found(data: RunGroups) -> xr.Dataset:
    """The analysis, if its first pair of points is defined."""
    found = analysis_with(data, "four_point_rmsd")
    if not np.isfinite(found["four_point_rmsd"].values[0]):
        raise NotMeasurable(" ".join(found.attrs["undefined"]))
    return found


def _networks(found: xr.Dataset) -> NDArray[np.int64]:
    """(models,) number of each model's network, from 0 on."""
    pairs = np.stack([found["model_run"].values, found["model_seed"].values])
    return np.unique(pairs, axis=1, return_inverse=True)[1].ravel().astype(np.int64)
