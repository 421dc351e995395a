"""The models of runs whose predictions are recorded, as analyses use them: in which order, from where.

All matrices and series over models have the same order: the runs of the groups in the order given, of
each run its stored models, seed by seed. Seeds that diverged have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import NotMeasurable, PipelineError
from pipeline.geometry.bhattacharyya.sources import Source, prediction_sources
from pipeline.predictors.variables import SPLITS
from pipeline.runs import Run, RunGroups, all_runs, not_given
from pipeline.store import manifest
from pipeline.store.reader import open_store
from pipeline.store.variables import register


def _register_all() -> None:
    run = "run whose model it is, its place in the attribute runs"
    register("model_run", ("model",), "int64", run, coordinate=True)


_register_all()


@dataclass(frozen=True)
class Models:
    """All models of some runs, in the order of all matrices.

    runs: those that have models; run: (models,) place of each model's run among them; seed, update:
    (models,) int64; epoch: (models,) float64.
    """

    runs: list[Run]
    run: NDArray[np.int64]
    seed: NDArray[np.int64]
    update: NDArray[np.int64]
    epoch: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.run)

    @property
    def first_of_run(self) -> NDArray[np.int64]:
        """(runs,) place of each run's first model."""
        return np.searchsorted(self.run, np.arange(len(self.runs)))

    def trajectories(self) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """(place of the run, seed, models by rising update) of each network."""
        for place in range(len(self.runs)):
            for seed in np.unique(self.seed[self.run == place]):
                found = np.flatnonzero((self.run == place) & (self.seed == seed))
                yield place, int(seed), found[np.argsort(self.update[found], kind="stable")]

    def ends(self) -> NDArray[np.int64]:
        """The last model of each network, in the order of ``trajectories``."""
        return np.array([models[-1] for _, _, models in self.trajectories()], dtype=np.int64)

    def coordinates(self) -> dict[str, tuple[tuple[str], NDArray[Any]]]:
        """Coordinates of a Dataset over all models."""
        return {
            "model_run": (("model",), self.run),
            "model_seed": (("model",), self.seed),
            "model_update": (("model",), self.update),
            "model_epoch": (("model",), self.epoch),
        }

    def config(self, key: str) -> NDArray[Any]:
        """(models,) a setting of each model's run."""
        values = np.array([run.config[key] for run in self.runs])
        return np.asarray(values[self.run])


def stored_models(data: RunGroups) -> Models:
    """The models of all runs of all groups; raises NotMeasurable where there is none."""
    runs = [run for run in all_runs(data) if run.trajectories.sizes.get("model")]
    if not runs:
        raise NotMeasurable("no run has a stored model: all seeds diverged.")
    stores = [run.trajectories for run in runs]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([one[name].values for one in stores])

    counts = [one.sizes["model"] for one in stores]
    return Models(
        runs,
        np.repeat(np.arange(len(runs)), counts),
        joined("model_seed"),
        joined("model_update"),
        joined("model_epoch"),
    )


def analyses_holding(data: RunGroups, variable: str) -> list[str]:
    """The names of the analyses given whose stores hold a variable; else the error of ``not_given``."""
    found = [
        name for name, folder in data.folders.items() if variable in manifest.read(folder)["arrays"]
    ]
    if not found:
        raise not_given(data, f"analysis with {variable}")
    return found


def described(runs: Sequence[Run]) -> dict[str, Any]:
    """Attributes of a result over some runs: their names, and how many seeds were left out."""
    return {
        "runs": [run.name for run in runs],
        "failed_seeds": [len(run.failed_seeds) for run in runs],
    }


def check_split(split: Any) -> str:
    """A split, or PipelineError."""
    if split not in SPLITS:
        raise PipelineError(f"The option split is {split!r}; valid is one of: {', '.join(SPLITS)}.")
    return str(split)


def same_labels(runs: Iterable[Run], split: str) -> NDArray[np.int64]:
    """The true classes (samples,) that all runs have; PipelineError where they differ."""
    found: NDArray[np.int64] | None = None
    for run in runs:
        labels = run.trajectories[f"{split}_labels"].values
        if found is None:
            found = labels
        elif not np.array_equal(found, labels):
            raise PipelineError(
                f"Run {run.name} has other {split} samples than the first; models can be compared on the "
                "same samples only."
            )
    if found is None:
        raise PipelineError("No run was given.")
    return found


def sources_of(models: Models, split: str, chosen: NDArray[np.int64] | None = None) -> list[Source]:
    """The sources of a matrix of distances of these models.

    Arguments
    ---------
    chosen: indices of models, rising; None: all.
    """
    name, folders = f"{split}_root_probabilities", [run.folder for run in models.runs]
    same_labels(models.runs, split)
    if chosen is None:
        return prediction_sources(folders, name)
    firsts = models.first_of_run
    places = {
        str(folder): (chosen[models.run[chosen] == k] - firsts[k]).tolist()
        for k, folder in enumerate(folders)
    }
    used = [folder for folder in folders if places[str(folder)]]
    return prediction_sources(used, name, {str(folder): places[str(folder)] for folder in used})


def stored_predictions(run: Run, split: str) -> xr.Dataset:
    """``root_probabilities`` (model, sample, class) and ``log_likelihood`` (model, sample) of a run,
    opened lazily.
    """
    names = [f"{split}_root_probabilities", f"{split}_log_likelihood"]
    found = open_store(run.folder, variables=names)
    renamed = {name: name.removeprefix(f"{split}_") for name in names}
    return found[names].rename({**renamed, f"{split}_sample": "sample"})
