"""What the results of the memorisation paper's analyses hold, as figures and claims read them.

Source: Stephenson et al., ICLR 2021. Plain selections of stored numbers: nothing is measured here.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs

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
