"""What a figure or a claim is made from: the runs of its groups without diverged seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.inversion import healthy_seeds
from pipeline.errors import GeometryError, PipelineError
from pipeline.store.reader import open_store

CURVES = ("train_error", "test_error", "radius_plus", "radius_minus", "distance", "failed_epoch")
SUBSTITUTES = ("generated",)  # data sets that stand in for the paper's own
DATASET_NAMES = {
    "mnist": "MNIST",
    "kmnist": "KMNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "generated": "generated data",
}


@dataclass(frozen=True)
class FigureRun:
    """One run as figures and claims see it; seeds that diverged are already left out.

    Arguments
    ---------
    name: the run's name; config: its resolved configuration.
    trajectories: its store, lazily; inversion: its inversion store. Both over the same seeds.
    failed_seeds: the seeds left out.
    stated_dataset: the data set that the paper used; None for a run that is not the paper's.
    """

    name: str
    config: dict[str, Any]
    trajectories: xr.Dataset
    inversion: xr.Dataset
    failed_seeds: list[int] = field(default_factory=list)
    stated_dataset: str | None = None

    @property
    def seeds(self) -> int:
        """Number of seeds that did not diverge."""
        return int(self.trajectories.sizes["seed"])

    @property
    def substituted(self) -> bool:
        """Whether the data are others than the paper's."""
        dataset = self.config["dataset"]
        return dataset in SUBSTITUTES or dataset != (self.stated_dataset or dataset)

    def curves(self, name: str) -> NDArray[np.float64]:
        """A recorded quantity as (seed, epoch), metrics at the first hidden layer asked for."""
        values = self.trajectories[name]
        if "layer" in values.dims:
            values = values.sel(layer=self.config["layers"][0])
        return np.asarray(values.transpose("seed", "epoch").values, dtype=np.float64)


RunGroups = dict[str, list[FigureRun]]


def make_run(
    name: str,
    config: dict[str, Any],
    trajectories: xr.Dataset,
    inversion: xr.Dataset,
    stated_dataset: str | None = None,
) -> FigureRun:
    """A FigureRun without the seeds that diverged; raises GeometryError where none is left."""
    try:
        kept, failed = healthy_seeds(trajectories)
    except GeometryError as error:
        raise GeometryError(f"Run {name}: {error}") from error
    if list(kept["seed"].values) != list(inversion["seed"].values):
        raise GeometryError(
            f"Run {name}: its inversion was measured on other seeds than its trajectories hold; "
            "delete the run's folder under inversion/ and run the workflow again."
        )
    return FigureRun(name, config, kept, inversion.load(), failed, stated_dataset)


def load_runs(entries: Iterable[Mapping[str, Any]], variables: Iterable[str] = CURVES) -> RunGroups:
    """Open the stores of runs, by group, in the order given.

    Arguments
    ---------
    entries: each with ``group``, ``name``, ``config`` (resolved run), and the folders
        ``trajectories`` and ``inversion``; ``stated_dataset``, the paper's, where there is one.
    variables: trajectory variables to open; only these are verified and read.
    """
    wanted = tuple(variables)
    groups: RunGroups = {}
    for entry in entries:
        trajectories = open_store(Path(entry["trajectories"]), variables=wanted, lazy=False)
        inversion = open_store(Path(entry["inversion"]), lazy=False)
        config, stated = dict(entry["config"]), entry.get("stated_dataset")
        run = make_run(entry["name"], config, trajectories, inversion, stated)
        groups.setdefault(entry["group"], []).append(run)
    return groups


def chosen(data: RunGroups, groups: Iterable[str]) -> RunGroups:
    """The groups that a figure or a claim names; raises PipelineError listing those there are."""
    names = list(groups)
    missing = [name for name in names if name not in data]
    if missing:
        raise PipelineError(
            f"The runs {', '.join(missing)} are needed but not given; given are {', '.join(data)}."
        )
    return {name: data[name] for name in names}


def all_runs(data: RunGroups) -> list[FigureRun]:
    """Every run of every group; raises PipelineError where there is none."""
    runs = [run for group in data.values() for run in group]
    if not runs:
        raise PipelineError("No run was given; name at least one in the entry's key runs.")
    return runs


def count_text(runs: list[FigureRun]) -> str:
    """How many networks the runs hold and how many diverged, in words."""
    kept = sum(run.seeds for run in runs)
    failed = sum(len(run.failed_seeds) for run in runs)
    sizes = sorted({run.seeds for run in runs})
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    split = f" ({len(runs)} runs of {each})" if len(runs) > 1 else ""
    lost = f"{failed} more diverged and are left out" if failed else "none diverged"
    return f"n = {kept} independent networks{split}; {lost}"


def data_text(runs: list[FigureRun]) -> str:
    """The data behind the runs, substituted data named as such."""
    names = sorted({run.config["dataset"] for run in runs})
    samples = sorted({int(run.config["samples"]) for run in runs})
    shown = ", ".join(DATASET_NAMES.get(name, name) for name in names)
    size = " or ".join(map(str, samples))
    if any(run.substituted for run in runs):
        return (
            f"substituted: {shown}, {size} training samples; "
            "the numbers say nothing about the paper's"
        )
    return f"{shown}, {size} training samples"
