"""What the results of the memorisation paper's analyses hold, as figures and claims read them.

Source: Stephenson et al., ICLR 2021. Selections of stored numbers, epochs that all seeds have, sizes of
layers: nothing is measured here.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs

GRID = 41  # common epochs onto which the curves of all seeds are interpolated
Array = NDArray[np.float64]


def mean_of(values: Array, axis: int = 0) -> Array:
    """Mean without NaN; NaN where nothing is left."""
    count = np.isfinite(values).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def first_run(found: xr.Dataset, epochs: str) -> xr.Dataset:
    """The first run of an analysis, with those seeds of which it has an epoch."""
    one = found.isel(run=0)
    there = (one[epochs] >= 0).any([dim for dim in one[epochs].dims if dim != "seed"])
    return one.isel(seed=np.flatnonzero(there.values))


def subset(run: Run, name: str) -> Array:
    """Accuracy (seed, epoch) of one subset of a run's samples."""
    names = list(run.trajectories.attrs["subsets"])
    if name not in names:
        raise PipelineError(f"{name!r} is no subset; valid are: {', '.join(names)}.")
    values: Array = run.trajectories["accuracy"].values[..., names.index(name)]
    return values


def moment_index(stack: xr.Dataset, moment: str) -> int:
    """Index of a moment along the checkpoints of a stack; PipelineError lists those measured."""
    moments = [str(one) for one in stack.attrs["moments"]]
    if moment not in moments:
        raise PipelineError(
            f"The moment {moment!r} was not measured; the analysis has: {', '.join(moments)}."
        )
    return moments.index(moment)


def cells(stack: xr.Dataset, metric: str, moment: str, kind: str) -> Array:
    """(seed, layer) values of one metric; those of single manifolds are averaged over manifolds."""
    kinds = [str(one) for one in stack.attrs["kinds"]]
    chosen = stack[metric].isel(checkpoint=moment_index(stack, moment), kind=kinds.index(kind))
    if "manifold" in chosen.dims:
        chosen = chosen.mean("manifold")
    values: Array = chosen.transpose("seed", "layer").values
    return values


def bound(stack: xr.Dataset, kind: str = "permuted") -> float:
    """2/M, the capacity of M points in random directions; M: mean points of the manifolds of a kind,
    of all kinds where that one is empty.
    """
    points = stack["manifold_points"]
    kinds = [str(one) for one in stack.attrs["kinds"]]
    mine = points.isel(kind=kinds.index(kind)).values if kind in kinds else np.zeros(0)
    used = mine[mine > 0] if (mine > 0).any() else points.values[points.values > 0]
    return 2 / float(np.mean(used))


def layer_features(run: Run, names: list[str]) -> NDArray[np.int64]:
    """(layers,) features N of each layer named, of one sample; no weights are needed."""
    import torch  # figures and claims that ask for no network start without it

    from pipeline.classifiers.weights import network_of
    from pipeline.models.layered import LayeredNetwork, record_layers

    with torch.device("meta"):  # shapes only
        network = network_of(run.trajectories)
        if not isinstance(network, LayeredNetwork):
            raise PipelineError(
                f"The network of run {run.name} has no named layers; build it with "
                "pipeline.models.layered."
            )
        sample = torch.zeros(1, *run.trajectories.attrs["shape"])
        _, found = record_layers(network, sample, names)
    return np.array([found[name].shape[1] for name in names], dtype=np.int64)


def common_epochs(epochs: NDArray[np.int64]) -> Array:
    """(``GRID``,) evenly spaced epochs from 0 to the smallest last epoch of the seeds.

    Arguments
    ---------
    epochs: (seed, kept) of the kept weight sets; -1: none.
    """
    return np.linspace(0, float(epochs.max(axis=1).min()), GRID)


def on_grid(grid: Array, epochs: NDArray[np.int64], values: Array) -> Array:
    """(seed, epoch) curves at the epochs of ``grid``, interpolated linearly between kept epochs.

    NaN before the first and after the last epoch that has a value, and all along where fewer than
    two have.

    Arguments
    ---------
    grid: (epoch,); epochs: (seed, kept), increasing, -1: none; values: (seed, kept), NaN: none.
    """
    curves = np.full((len(values), grid.size), np.nan)
    for row, (own, curve) in enumerate(zip(epochs, values, strict=True)):
        there = (own >= 0) & np.isfinite(curve)
        if there.sum() > 1:
            curves[row] = np.interp(grid, own[there], curve[there], np.nan, np.nan)
    return curves


def shown_layers(names: list[str], which: str) -> list[str]:
    """Names of the layers whose curves are drawn."""
    convolutions = [name for name in names if name.startswith("conv")]
    hidden = convolutions or names[:-1]
    if which == "all":
        return names
    if which == "hidden":
        return hidden
    if which == "every_third":
        return [name for name in hidden if name in {*hidden[::3], *hidden[-2:]}]
    raise PipelineError(f"layers = {which!r} given; valid are: hidden, every_third, all.")


def best_test_accuracy(run: Run, one: xr.Dataset) -> Array:
    """Test accuracy at its best epoch of each seed that was rewound."""
    rows = np.searchsorted(run.trajectories["seed"].values, one["seed"].values)
    best = run.trajectories["best_epoch"].values[rows]
    values: Array = subset(run, "test")[rows, best]
    return values


def log_norms(one: xr.Dataset, part: str) -> Array:
    """log10 of the norms (seed, kept, layer) of one part; NaN where a norm is 0 or there is none."""
    parts = [str(name) for name in one.attrs["parts"]]
    values = one["gradient_norm"].isel(part=parts.index(part))
    norms = values.transpose("seed", "kept", "weight_layer").values
    with np.errstate(divide="ignore"):
        logs = np.log10(norms)
    logs[~np.isfinite(logs)] = np.nan
    result: Array = logs
    return result


def of_width(data: RunGroups, stack: xr.Dataset, quantity: str, moment: str) -> list[Array]:
    """(seeds,) values of one quantity of each run of a stack, in its order.

    Arguments
    ---------
    quantity: ``test_accuracy``, or a metric of the stack, of the test manifolds at its last layer.
    """
    runs = {run.name: run for run in all_runs(data)}
    found = []
    for index, name in enumerate(stack.attrs["runs"]):
        if quantity == "test_accuracy":
            found.append(_test_accuracy(runs[str(name)], moment))
        else:
            found.append(cells(stack.isel(run=index), quantity, moment, "test")[:, -1])
    return found


def _test_accuracy(run: Run, moment: str) -> Array:
    """Test accuracy of each seed at its best or last epoch."""
    epochs = run.trajectories["best_epoch" if moment == "best" else "last_epoch"].values
    values: Array = subset(run, "test")[np.arange(len(epochs)), epochs]
    return values


def log_ratio(one: xr.Dataset, part: str, divisor: str | None) -> Array:
    """log10 of the ratio of two parts' norms (seed, kept, layer); of one part's where there is no other."""
    values = log_norms(one, part)
    return values if divisor is None else values - log_norms(one, divisor)
