"""What a figure or a claim is made from: the runs of its groups without diverged seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.inversion import healthy_seeds, inversion_of
from pipeline.errors import GeometryError, NotMeasurable, PipelineError
from pipeline.execution.dask_workers import DaskSettings
from pipeline.store import manifest
from pipeline.store.reader import open_store

# Small series, loaded at once of the runs that have them.
CURVES = (
    *("train_error", "test_error", "radius_plus", "radius_minus", "distance", "failed_epoch"),
    *("accuracy", "loss", "last_epoch", "best_epoch", "kept_epoch", "moment_epoch"),
    *("failed_update", "model_seed", "model_update", "model_epoch", "train_labels", "test_labels"),
)
SUBSTITUTES = (
    "generated",
    "generated_colour",
    "generated_spheres",
    "generated_sloppy",
)  # data sets that stand in for the paper's own


@dataclass(frozen=True)
class Run:
    """One run as figures, analyses and claims see it; seeds that diverged are already left out.

    Arguments
    ---------
    name: the run's name; config: its resolved configuration.
    trajectories: its store; inversion: its inversion points, over the same seeds (no variables for
        runs that have none).
    failed_seeds: the seeds left out.
    stated_dataset: the data set that the paper used; None for a run that is not the paper's.
    data_folder: the store of its data set. folder: the run's own.
    """

    name: str
    config: dict[str, Any]
    trajectories: xr.Dataset
    inversion: xr.Dataset
    failed_seeds: list[int] = field(default_factory=list)
    stated_dataset: str | None = None
    data_folder: Path = Path()
    folder: Path = Path()

    @property
    def seeds(self) -> int:
        """Number of seeds that did not diverge."""
        return int(self.trajectories.sizes["seed"])

    @property
    def substitution(self) -> str | None:
        """What stands in for the run's data set where that could not be had, in words."""
        return self.trajectories.attrs.get("substitution") or None

    @property
    def substituted(self) -> bool:
        """Whether the data are others than the paper's."""
        dataset = self.config["dataset"]
        other = dataset in SUBSTITUTES or dataset != (self.stated_dataset or dataset)
        return other or self.substitution is not None

    def curves(self, name: str, layer: int | None = None) -> NDArray[np.float64]:
        """A recorded quantity as (seed, epoch), metrics at the first hidden layer asked for."""
        values = self.trajectories[name]
        if "layer" in values.dims:
            values = values.sel(layer=self.config["layers"][0] if layer is None else layer)
        return np.asarray(values.transpose("seed", "epoch").values, dtype=np.float64)


class RunGroups(dict[str, list[Run]]):
    """The runs of each group, and what else a figure, an analysis or a claim may need.

    Attributes
    ----------
    analyses: results of analyses, by name; folders: those of their stores, where these are not read whole.
    unavailable: name -> reason of the runs whose data could not be had; they are in no group.
    group_of: name -> group of these runs.
    """

    def __init__(
        self,
        groups: Mapping[str, list[Run]] | None = None,
        analyses: Mapping[str, xr.Dataset] | None = None,
        unavailable: Mapping[str, str] | None = None,
        group_of: Mapping[str, str] | None = None,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(groups or {})
        self.analyses: dict[str, xr.Dataset] = dict(analyses or {})
        self.unavailable: dict[str, str] = dict(unavailable or {})
        self.group_of: dict[str, str] = dict(group_of or {})
        self.folders: dict[str, Path] = dict(folders or {})


@dataclass(frozen=True)
class Place:
    """Where an analysis that writes its own store does so.

    folder: of the store; cache: a folder that is kept between jobs; record: the provenance that its
    manifest holds; threads: of the job; dask: where its tasks run.
    """

    folder: Path
    cache: Path
    record: dict[str, Any]
    threads: int
    dask: DaskSettings = field(default_factory=DaskSettings)


def make_run(
    name: str,
    config: dict[str, Any],
    trajectories: xr.Dataset,
    inversion: xr.Dataset | None,
    stated_dataset: str | None = None,
    data_folder: Path = Path(),
    folder: Path = Path(),
) -> Run:
    """A Run without the seeds that diverged; raises GeometryError where none is left.

    ``inversion`` is None for a run whose trainer has no inversion points.
    """
    try:
        kept, failed = _healthy(trajectories)
    except GeometryError as error:
        raise GeometryError(f"Run {name}: {error}") from error
    for dim in ("stored_seed", "recorded_seed"):  # those of which more is stored
        if dim in kept.coords:
            kept = kept.isel({dim: np.isin(kept[dim].values, kept["seed"].values)})
    if inversion is None:
        return Run(name, config, kept, xr.Dataset(), failed, stated_dataset, data_folder, folder)
    if list(kept["seed"].values) != list(inversion["seed"].values):
        raise GeometryError(
            f"Run {name}: its inversion was measured on other seeds than its trajectories hold; "
            "delete its group's folder under inversion/ and run the workflow again."
        )
    return Run(name, config, kept, inversion.load(), failed, stated_dataset, data_folder, folder)


def _healthy(trajectories: xr.Dataset) -> tuple[xr.Dataset, list[int]]:
    """``healthy_seeds``; of runs whose failures are counted in updates, none may be left: what is made of
    many of them leaves such a run out, and counts it.
    """
    if "failed_update" not in trajectories:
        return healthy_seeds(trajectories)
    failed = trajectories["failed_update"].values >= 0
    seeds = [int(seed) for seed in trajectories["seed"].values[failed]]
    return trajectories.isel(seed=np.flatnonzero(~failed)), seeds


def load_runs(
    entries: Iterable[Mapping[str, Any]],
    variables: Iterable[str] = (),
    analyses: Mapping[str, str] | None = None,
    folders: Mapping[str, str] | None = None,
) -> RunGroups:
    """Open the stores of runs, by group, in the order given, and those of analyses.

    Arguments
    ---------
    entries: each with ``group``, ``name``, ``config`` (resolved run), and the folders
        ``trajectories``, ``inversion`` (of the group; None where there are none) and ``data``;
        ``stated_dataset``, the paper's, where there is one.
    variables: trajectory variables beside the curves, opened lazily, of the runs that have them.
    analyses: name -> folder. folders: the same of those that are not opened here.
    """
    wanted, inversions = tuple(variables), {}
    found = RunGroups()
    for entry in entries:
        group = found.setdefault(entry["group"], [])
        folder = Path(entry["trajectories"])
        content = manifest.read(folder)
        if reason := content["attrs"].get("unavailable"):
            found.unavailable[entry["name"]] = reason
            found.group_of[entry["name"]] = entry["group"]
            continue
        curves = [name for name in CURVES if name in content["arrays"]]
        trajectories = open_store(folder, variables=curves, lazy=False)
        if extra := _stored(wanted, content["arrays"]):
            trajectories = trajectories.merge(open_store(folder, variables=extra))
        place = entry["inversion"]
        if place is not None and place not in inversions:
            inversions[place] = open_store(Path(place), lazy=False)
        group.append(
            make_run(
                entry["name"],
                dict(entry["config"]),
                trajectories,
                None if place is None else inversion_of(inversions[place], entry["name"]),
                entry.get("stated_dataset"),
                Path(entry.get("data", "")),
                folder,
            )
        )
    for name, place in (analyses or {}).items():
        found.analyses[name] = open_store(Path(place), lazy=False)
    for name, place in (folders or {}).items():
        found.folders[name] = Path(place)
        if reason := manifest.read(Path(place))["attrs"].get("unavailable"):
            found.unavailable[name] = reason
    return found


def _stored(wanted: Iterable[str], arrays: Iterable[str]) -> list[str]:
    """The stored arrays of some variables: of one that is stored per layer, those of all layers."""
    return [
        array
        for array in arrays
        for name in wanted
        if array == name or re.fullmatch(rf"{re.escape(name)}_[1-9][0-9]*", array)
    ]


def chosen(data: RunGroups, groups: Iterable[str], analyses: Iterable[str] = ()) -> RunGroups:
    """The groups and analyses that a figure or a claim names, in its order.

    Raises PipelineError listing the groups that there are.
    """
    names = list(groups)
    missing = [name for name in names if name not in data]
    if missing:
        raise PipelineError(
            f"The runs {', '.join(missing)} are needed but not given; given are {', '.join(data)}."
        )
    return RunGroups(
        {name: data[name] for name in names},
        {name: data.analyses[name] for name in analyses},
        {
            name: reason
            for name, reason in data.unavailable.items()
            if data.group_of.get(name, names[0]) in names
        },
        data.group_of,
    )


def analysis_with(data: RunGroups, variable: str) -> xr.Dataset:
    """The first analysis given that holds a variable; the error of ``not_given`` where none does."""
    return results_with(data, variable)[0]


def results_with(data: RunGroups, variable: str) -> list[xr.Dataset]:
    """The analyses given that hold a variable, in their order; the error of ``not_given`` without any."""
    found = [one for one in data.analyses.values() if variable in one]
    if not found:
        raise not_given(data, f"analysis with {variable}")
    return found


def not_given(data: RunGroups, what: str) -> PipelineError:
    """The error of a caller that finds no ``what`` among the analyses given: NotMeasurable with the reasons
    where some of them could not be made, else a sentence on the entry.
    """
    given = {*data.analyses, *data.folders}
    reasons = {reason for name, reason in data.unavailable.items() if name in given}
    reasons |= {
        str(one.attrs["unavailable"])
        for one in data.analyses.values()
        if "unavailable" in one.attrs
    }
    if reasons:
        told = "; ".join(sorted(reason.rstrip(".") for reason in reasons))
        return NotMeasurable(f"{told}.")
    return PipelineError(
        f"No {what} was given (given: {', '.join(sorted(given)) or 'none'}); name it in the entry's key "
        "analyses."
    )


def check_options(function: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise PipelineError for an option that an analysis does not have; ``seed`` comes from the rule."""
    valid = ["seed", *known]
    if unknown := sorted(set(options) - set(valid)):
        raise PipelineError(
            f"{function} has no options {', '.join(unknown)}; valid are: {', '.join(valid)}."
        )


def all_runs(data: RunGroups) -> list[Run]:
    """Every run of every group; raises PipelineError where there is none."""
    runs = [run for group in data.values() for run in group]
    if not runs:
        raise PipelineError("No run was given; name at least one in the entry's key runs.")
    return runs


def convolutional_runs(data: RunGroups) -> list[Run]:
    """The convolutional runs on all samples, by kernel size; raises PipelineError where there is none."""
    runs = [
        run
        for run in all_runs(data)
        if run.config.get("kernel") is not None and run.config.get("prune_from") is None
    ]
    if not runs:
        raise PipelineError(
            "No convolutional run (with kernel) on all samples is among the runs given; add one to "
            "the entry's key runs."
        )
    return sorted(runs, key=lambda run: int(run.config["kernel"]))
