"""The kept weight sets of classifier runs, as analyses use them: which seeds, which epochs, which labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from pipeline.classifiers.weights import network_of
from pipeline.errors import PipelineError
from pipeline.models.layered import LayeredNetwork
from pipeline.runs import Run

NO_EPOCH = -1  # in the place of a weight set that there is not
FEWEST = 3  # first, best and last


@dataclass(frozen=True)
class KeptSeed:
    """One seed of a run and those of its weight sets that are used.

    seed: its number; row: its place among the stored seeds.
    columns, epochs: (kept,) int64, which weight sets and their epochs, increasing.
    best_epoch: of the highest test accuracy. labels, permuted: (samples,) int64 and bool, as told.
    """

    seed: int
    row: int
    columns: NDArray[np.int64]
    epochs: NDArray[np.int64]
    best_epoch: int
    labels: NDArray[np.int64]
    permuted: NDArray[np.bool_]


def kept_seeds(run: Run, seeds: int | None = None, kept: int | None = None) -> list[KeptSeed]:
    """The first ``seeds`` stored seeds (None: all) with at most ``kept`` weight sets each (None: all).

    Raises PipelineError where the run stores no weights or labels, and for numbers out of range.
    """
    stored = run.trajectories
    needed = ("kept_epoch", "kept_weights", "noisy_labels", "permuted")
    missing = [name for name in needed if name not in stored]
    if missing or not stored.sizes["stored_seed"]:
        raise PipelineError(
            f"Run {run.name} has no {', '.join(missing) or 'stored seed that did not diverge'}; give "
            "it stored_seeds, and name kept_weights, noisy_labels and permuted in the analysis' key "
            "variables."
        )
    whole_number("seeds", seeds, 1)
    found = []
    for row, seed in enumerate(stored["stored_seed"].values[:seeds].tolist()):
        of_seed = stored.sel(seed=seed)
        best, epochs = int(of_seed["best_epoch"]), stored["kept_epoch"].values[row]
        columns = chosen_columns(epochs, best, kept)
        labels, permuted = of_seed["noisy_labels"].values, of_seed["permuted"].values
        found.append(
            KeptSeed(
                seed, row, columns, epochs[columns], best, labels.astype(np.int64), permuted > 0
            )
        )
    return found


def chosen_columns(
    epochs: NDArray[np.int64], best: int, most: int | None = None
) -> NDArray[np.int64]:
    """Which kept sets are used, in order: the first, the best, the last, and others in equal steps.

    Arguments
    ---------
    epochs: (kept,) increasing, -1 where there is none; best: the best epoch, among them.
    most: how many at most, from 3 on (None: all).
    """
    whole_number("kept", most, FEWEST)
    there = np.flatnonzero(epochs != NO_EPOCH)
    if most is None or there.size <= most:
        return there
    place = int(np.searchsorted(epochs[there], best))
    spaced = np.unique(np.linspace(0, there.size - 1, most).round().astype(np.int64))
    if place not in spaced:  # the best takes the place of the nearest that is no end
        inner = spaced[1:-1]
        spaced[1 + int(np.abs(inner - place).argmin())] = place
    return there[np.sort(spaced)]


def layered_network(run: Run, device: str = "cpu") -> LayeredNetwork:
    """The network of a run, in eval mode; PipelineError where its layers have no names.

    Kernels of convolutions are held with their channels last, as ``on_device`` holds images.
    """
    network = network_of(run.trajectories)
    if not isinstance(network, LayeredNetwork):
        raise PipelineError(
            f"The network of run {run.name} has no named layers; build it with pipeline.models.layered."
        )
    found: LayeredNetwork = network.to(device)
    return found.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def kept_weights(run: Run, one: KeptSeed, column: int) -> NDArray[np.float32]:
    """One weight set (parameter,) of a seed, read from the store."""
    values: NDArray[np.float32] = (
        run.trajectories["kept_weights"].isel(stored_seed=one.row, kept=column).values
    )
    return values


def by_seed(
    used: Sequence[Sequence[KeptSeed]],
    values: Mapping[str, Sequence[Sequence[NDArray[np.float64]]]],
    epoch_name: str,
    dims: tuple[str, ...],
) -> xr.Dataset:
    """Values of every kept set as variables (run, seed, kept, ...), NaN where there is no set.

    Arguments
    ---------
    used: the seeds of each run; values: name -> for each run and seed an array (kept, ...).
    epoch_name: the variable (run, seed, kept) of the epochs, -1 where there is no set.
    dims: names of the further dimensions.
    """
    seeds = np.unique([one.seed for of_run in used for one in of_run]).astype(np.int64)
    most = max(one.columns.size for of_run in used for one in of_run)
    shape = (len(used), seeds.size, most)
    epochs = np.full(shape, NO_EPOCH, dtype=np.int64)
    arrays = {
        name: np.full(shape + found[0][0].shape[1:], np.nan) for name, found in values.items()
    }
    for run, of_run in enumerate(used):
        for place, one in enumerate(of_run):
            row = int(np.searchsorted(seeds, one.seed))
            epochs[run, row, : one.columns.size] = one.epochs
            for name, found in values.items():
                arrays[name][run, row, : one.columns.size] = found[run][place]
    lead = ("run", "seed", "kept")
    variables = {name: ((*lead, *dims), array) for name, array in arrays.items()}
    return xr.Dataset({**variables, epoch_name: (lead, epochs)}, coords={"seed": seeds})


def on_device(values: NDArray[Any], device: str) -> Tensor:
    """Inputs on a device; images with their channels last, which is how convolutions are fastest."""
    tensor = torch.from_numpy(values).to(device)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def same_layers(networks: Mapping[str, LayeredNetwork]) -> list[str]:
    """Names of the weight layers that all runs have; PipelineError where they differ."""
    (first, names), *others = [(run, one.weight_layers()) for run, one in networks.items()]
    for run, found in others:
        if found != names:
            raise PipelineError(
                f"The runs {first} and {run} have different layers ({', '.join(names)}; "
                f"{', '.join(found)}); analyse them in entries of their own."
            )
    return names


def whole_number(name: str, value: Any, least: int) -> None:
    """PipelineError where an option is neither None nor a whole number from ``least`` on."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value < least
    ):
        raise PipelineError(
            f"The option {name} is {value!r}; valid are whole numbers from {least} on, or null for all."
        )


def one_of(name: str, value: Any, valid: tuple[str, ...]) -> str:
    """The option's value; PipelineError where it is none of the valid ones."""
    if value not in valid:
        raise PipelineError(f"The option {name} is {value!r}; valid are: {', '.join(valid)}.")
    return str(value)
