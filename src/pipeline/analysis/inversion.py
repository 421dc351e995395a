"""The inversion of a training trajectory: where the class manifolds stop contracting.

Source: Ciceri et al., arXiv:2303.05161, Methods, Eq. 10 (inversion epoch) and Eq. 2 (misclassified
sets). Kernels take plain arrays; ``find_inversions`` applies them to the trajectories of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pipeline.analysis.sets import crossing_epoch, curve_of, stragglers
from pipeline.errors import GeometryError
from pipeline.store.variables import register

MIN_RISE = 1e-3  # a change of a radius or of the distance below this is none
NOISE_EPOCHS = 10  # with fewer, noise cannot be told from curvature: it is taken as 0
WIDTHS = (1, 9)  # epochs of the centred means with which a curve is looked at
QUANTITIES = ("plus", "minus", "distance")
Array = NDArray[Any]


def _register_all() -> None:
    each, curve, by_size = ("run", "seed"), ("curve",), ("size",)
    for quantity, of in zip(QUANTITIES, ("R+", "R-", "D"), strict=True):
        register(f"epoch_{quantity}", each, "int64", f"epoch t* of the extremum of {of}", "epochs")
        register(f"error_{quantity}", each, "float64", f"training error at the epoch t* of {of}")
        register(f"inverts_{quantity}", each, "bool", f"whether {of} has an inversion point")
    register("phi", each, "float64", "inversion criterion phi")
    register("stragglers", each, "int64", "samples misclassified at t* of R+", "samples")
    register("inverts", each, "bool", "whether the network shows manifold inversion")
    register("found", each, "bool", "whether the seed has inversion points (it did not diverge)")
    # of a curve (a run, or runs of several sizes): what several analyses say of its networks
    register("phi_mean", curve, "float64", "phi, mean over networks", optional_dims=by_size)
    sd = "phi, standard deviation over networks"
    register("phi_sd", curve, "float64", sd, optional_dims=by_size)
    register("networks", curve, "int64", "number of networks", "networks", optional_dims=by_size)


_register_all()


@dataclass(frozen=True)
class Extremum:
    """The extremum of one metric: epoch, the way to it, the way back, whether it inverts."""

    epoch: int
    fall: float
    rise: float
    inverts: bool


@dataclass(frozen=True)
class InversionPoint:
    """Inversion of one trajectory (Eq. 10): t* and eps_tr(t*) of R+, R- and D.

    ``phi`` is the mean training error at the three epochs. ``inverts`` holds if all three curves
    invert. ``rise_*`` is how far the curve comes back from its extremum, without units.
    """

    epoch_plus: int
    epoch_minus: int
    epoch_distance: int
    error_plus: float
    error_minus: float
    error_distance: float
    phi: float
    rise_plus: float
    rise_minus: float
    rise_distance: float
    inverts_plus: bool
    inverts_minus: bool
    inverts_distance: bool
    inverts: bool


def inversion_point(
    train_error: ArrayLike,
    radius_plus: ArrayLike,
    radius_minus: ArrayLike,
    distance: ArrayLike,
) -> InversionPoint:
    """The inversion of one trajectory.

    t*_R+ = argmin_t R+, t*_R- = argmin_t R-, t*_D = argmax_t D (Eq. 10; the first epoch on ties);
    phi = mean of eps_tr at the three epochs. Whether a curve inverts is decided by ``extremum``.

    Arguments
    ---------
    train_error: (epochs,) fraction of the training samples misclassified, epoch 0 first.
    radius_plus, radius_minus, distance: (epochs,), without units, float64.

    Raises GeometryError (a ValueError) for NaN or infinities, lengths that differ, under 3 epochs.
    """
    error = curve_of("train_error", train_error)
    curves = {
        "plus": curve_of("radius_plus", radius_plus),
        "minus": curve_of("radius_minus", radius_minus),
        "distance": -curve_of("distance", distance),
    }
    lengths = [error.size, *(curve.size for curve in curves.values())]
    if len(set(lengths)) > 1:
        raise GeometryError(
            "train_error, radius_plus, radius_minus and distance have the lengths "
            f"{', '.join(map(str, lengths))}; give one value of each per epoch."
        )
    plus, minus, apart = (extremum(curve) for curve in curves.values())
    errors = [float(error[one.epoch]) for one in (plus, minus, apart)]
    return InversionPoint(
        epoch_plus=plus.epoch,
        epoch_minus=minus.epoch,
        epoch_distance=apart.epoch,
        error_plus=errors[0],
        error_minus=errors[1],
        error_distance=errors[2],
        phi=float(np.mean(errors)),
        rise_plus=plus.rise,
        rise_minus=minus.rise,
        rise_distance=apart.rise,
        inverts_plus=plus.inverts,
        inverts_minus=minus.inverts,
        inverts_distance=apart.inverts,
        inverts=plus.inverts and minus.inverts and apart.inverts,
    )


def extremum(curve: ArrayLike) -> Extremum:
    """The minimum of a curve, and whether it is an inversion (give -D for the distance).

    The rule: a curve inverts if, seen at one of the widths w = 1 and 9 epochs (centred means x_w),
    it falls to its minimum t* and comes back from it, both by more than the noise:

        fall = max_{t < t*} x_w(t) - x_w(t*),   rise = max_{t > t*} x_w(t) - x_w(t*)
        fall, rise > max(0.001, z sigma / sqrt(w)),   z = (2 sqrt(2 ln T) + 2) (1 + 10/T)

    T is the number of epochs and sigma the standard deviation of the noise between epochs,
    median |x(t-1) - 2 x(t) + x(t+1)| / (0.6745 sqrt(6)). T values of white noise span about
    2 sqrt(2 ln T) sigma, so z leaves a margin of 2 sigma and more for short curves, where sigma is
    uncertain; below 10 epochs sigma is taken as 0. A minimum at the first or at the last epoch is
    no inversion, and a minimum of noise on a flat or monotone curve is none. The width of 1 finds
    sharp minima of the smooth curves of full-batch training, the width of 9 shallow ones under
    noise.

    Arguments
    ---------
    curve: (epochs,) finite values, epoch 0 first, at least 3.

    Raises GeometryError as ``inversion_point`` does.
    """
    x = curve_of("The curve", curve)
    t = int(np.argmin(x))
    if t in (0, x.size - 1):
        way = float(np.max(x) - x[t])
        return Extremum(t, way if t else 0.0, 0.0 if t else way, False)
    factor = (2 * np.sqrt(2 * np.log(x.size)) + 2) * (1 + 10 / x.size)
    sigma = noise_level(x)
    inverts = False
    for width in WIDTHS:
        smooth = moving_mean(x, width)
        fall, rise = np.max(smooth[:t]) - smooth[t], np.max(smooth[t + 1 :]) - smooth[t]
        least = max(MIN_RISE, factor * sigma / np.sqrt(width))
        inverts = inverts or bool(min(fall, rise) > least)
    return Extremum(t, float(np.max(x[:t]) - x[t]), float(np.max(x[t + 1 :]) - x[t]), inverts)


def noise_level(curve: Array) -> float:
    """Standard deviation of independent noise on a smooth curve, from its second differences.

    sigma = median |x(t-1) - 2 x(t) + x(t+1)| / (0.6745 sqrt(6)); 0 for fewer than 10 epochs.
    """
    if curve.size < NOISE_EPOCHS:
        return 0.0
    return float(np.median(np.abs(np.diff(curve, n=2))) / (0.6745 * np.sqrt(6)))


def moving_mean(curve: Array, width: int) -> Array:
    """Centred mean over ``width`` (odd) epochs; at the ends over those that there are."""
    ones = np.ones(min(width, 2 * curve.size - 1))
    kept = slice(ones.size // 2, ones.size // 2 + curve.size)
    return np.convolve(curve, ones)[kept] / np.convolve(np.ones(curve.size), ones)[kept]


def mean_over_error(train_error: Array, values: Array, grid: Array) -> Array:
    """A metric as a function of the training error: the mean over seeds of x(t(eps)).

    Every seed contributes its value at its own t(eps) (``crossing_epoch``). Where a seed never
    reaches eps the mean would be one of other seeds than elsewhere, so the result is NaN there.

    Arguments
    ---------
    train_error, values: (seed, epoch), without NaN.
    grid: (points,) training errors, fractions.

    Returns (points,) means, float64.
    """
    means = np.full(len(grid), np.nan)
    for point, epsilon in enumerate(grid):
        epochs = [crossing_epoch(one, epsilon) for one in train_error]
        if None not in epochs:
            means[point] = np.mean([x[t] for x, t in zip(values, epochs, strict=True)])
    return means


def misclassified_at(trajectories: xr.Dataset, epoch: ArrayLike, samples: int) -> Array:
    """``stragglers`` of recorded trajectories, reading only the epochs asked for.

    Arguments
    ---------
    trajectories: misclassified (seed, epoch, sample_byte), possibly lazy.
    epoch: (seed,) values of the coordinate ``epoch``, one per seed.
    samples: number of training samples.

    Returns (seed, samples) booleans; errors as ``stragglers``.
    """
    bits = trajectories["misclassified"].transpose("seed", "epoch", "sample_byte")
    wanted = np.asarray(epoch)
    recorded = np.isin(wanted, bits["epoch"].values)
    if not recorded.all():
        raise GeometryError(
            f"Epoch {wanted[~recorded][0]} was not recorded; recorded are "
            f"{bits['epoch'].values.min()} to {bits['epoch'].values.max()}."
        )
    chosen = bits.sel(epoch=xr.DataArray(wanted, dims="seed")).transpose("seed", "sample_byte")
    return stragglers(chosen.values[:, None, :], 0, samples)


def healthy_seeds(trajectories: xr.Dataset) -> tuple[xr.Dataset, list[int]]:
    """The trajectories of the seeds that did not diverge, and the list of those that did.

    Arguments
    ---------
    trajectories: with ``failed_epoch`` (seed), -1 where training did not diverge.

    Raises GeometryError where every seed diverged.
    """
    failed = trajectories["failed_epoch"].values >= 0
    if failed.all():
        raise GeometryError(
            f"All {failed.size} seeds diverged, so there is nothing to measure; lower "
            "learning_rate."
        )
    kept = trajectories.isel(seed=np.flatnonzero(~failed))
    return kept, [int(seed) for seed in trajectories["seed"].values[failed]]


def find_inversions(trajectories: xr.Dataset, layer: int | None = None) -> xr.Dataset:
    """``inversion_point`` of every seed of a run.

    Arguments
    ---------
    trajectories: train_error (seed, epoch), radius_plus, radius_minus, distance (seed, epoch,
        layer), failed_epoch (seed), misclassified (seed, epoch, sample_byte), and of a pruned run
        kept_samples (seed, sample_byte): what is left out is no straggler.
    layer: hidden layer, counted from 1; the first recorded one by default.

    Returns, per seed: epoch_*, error_*, inverts_* of plus, minus and distance, phi, inverts, and
    ``stragglers`` = |S(t*_R+)|. Seeds that diverged are left out and listed in the attribute
    ``failed_seeds``. Raises GeometryError for a layer that was not recorded or no seed that is
    left.
    """
    recorded = [int(value) for value in trajectories["layer"].values]
    layer = recorded[0] if layer is None else layer
    if layer not in recorded:
        raise GeometryError(
            f"Layer {layer} was not recorded; recorded are {', '.join(map(str, recorded))} "
            "(config key layers)."
        )
    kept, failed = healthy_seeds(trajectories)
    names = ["train_error", "radius_plus", "radius_minus", "distance"]
    columns = kept[names].sel(layer=layer).transpose("seed", "epoch").compute()
    points = [
        inversion_point(*(columns[name].values[seed] for name in names))
        for seed in range(columns.sizes["seed"])
    ]
    kinds = [f"{kind}_{name}" for kind in ("epoch", "error", "inverts") for name in QUANTITIES]
    found = {
        field: ("seed", np.array([getattr(point, field) for point in points]))
        for field in ("phi", "inverts", *kinds)
    }
    result = xr.Dataset(found, coords={"seed": columns["seed"].values})
    epoch = columns["epoch"].values  # the kernel's epochs are indices
    for name in QUANTITIES:
        index = result[f"epoch_{name}"].values
        result[f"epoch_{name}"] = ("seed", epoch[index].astype(np.int64))
    samples = 8 * kept.sizes["sample_byte"]  # the bits beyond the last sample are 0
    sets = misclassified_at(kept, result["epoch_plus"].values, samples)
    if "kept_samples" in kept:
        sets &= np.unpackbits(kept["kept_samples"].values, axis=-1).astype(bool)
    result["stragglers"] = ("seed", sets.sum(axis=1, dtype=np.int64))
    return result.assign_attrs(failed_seeds=failed, layer=layer)


def group_inversions(found: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The results of ``find_inversions`` of several runs as one dataset.

    Dimensions (run, seed): ``run`` counts the runs in the order of the attribute ``runs``; ``found``
    says which seeds have a point. A seed that diverged has NaN, -1 or False.
    """
    seeds = sorted({int(seed) for one in found.values() for seed in one["seed"].values})
    parts = []
    for one in found.values():
        full = {name: np.full(len(seeds), fill(values.dtype)) for name, values in one.items()}
        place = np.searchsorted(seeds, one["seed"].values)
        for name, values in one.items():
            full[str(name)][place] = values.values
        full["found"] = np.isin(seeds, one["seed"].values)
        parts.append(xr.Dataset({name: ("seed", values) for name, values in full.items()}))
    if not parts:
        return xr.Dataset(attrs={"runs": [], "layers": []})
    joined = xr.concat(parts, dim="run").assign_coords(
        seed=np.array(seeds, np.int64), run=np.arange(len(parts), dtype=np.int64)
    )
    layers = [int(one.attrs["layer"]) for one in found.values()]
    return joined.assign_attrs(runs=list(found), layers=layers)


def fill(dtype: np.dtype) -> Any:
    """What stands for a missing value: NaN, -1 or False."""
    return np.nan if dtype.kind == "f" else dtype.type(False if dtype.kind == "b" else -1)


def inversion_of(group: xr.Dataset, run: str) -> xr.Dataset:
    """The inversion points of one run's seeds, from the result of ``group_inversions``.

    Raises GeometryError for a run that the group does not hold.
    """
    runs = list(group.attrs["runs"])
    if run not in runs:
        raise GeometryError(
            f"The inversion points are of the runs {', '.join(runs)}, not of {run}; delete the "
            "group's folder under inversion/ and run the workflow again."
        )
    one = group.isel(run=runs.index(run), drop=True)
    return one.isel(seed=np.flatnonzero(one["found"].values)).drop_vars("found")
