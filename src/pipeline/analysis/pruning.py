"""Pruned runs beside the run that they were pruned from: what Fig. 2 and its claims compare.

Source: Ciceri et al., arXiv:2303.05161, Results, "Non-monotonic dynamics reveals trade-offs due to
stragglers". Seed s of a pruned run starts from the initial weights of seed s of its source and leaves
out that seed's own set S, so that networks are compared seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import NotMeasurable, PipelineError
from pipeline.runs import Run, RunGroups, all_runs

SAME = (  # runs that agree in these are one experiment: the same network on the same training set
    *("dataset", "samples", "block", "labels"),
    *("network", "depth", "width", "kernel", "activation"),
)
ERROR_OF = {
    "radius_plus": "error_plus",
    "radius_minus": "error_minus",
    "distance": "error_distance",
}
Array = NDArray[np.float64]


@dataclass
class PruningExperiment:
    """One network on one training set T, and what was trained on T without some of its samples.

    Attributes
    ----------
    full: the run on T; None where it was not given.
    pruned: T without S(t), by ``prune_epoch``; control: without random sets of the same sizes.
    sweep: T without S(t(eps)), by rising eps (``prune_error``); sweep_control: its random sets.
    """

    full: Run | None = None
    pruned: list[Run] = field(default_factory=list)
    control: list[Run] = field(default_factory=list)
    sweep: list[Run] = field(default_factory=list)
    sweep_control: list[Run] = field(default_factory=list)

    def source(self) -> Run:
        """The run on all of T; raises PipelineError where it was not given."""
        if self.full is None:
            raise PipelineError(
                "Pruned runs are compared with the run that they were pruned from, which is not among "
                "the runs given; add it to the entry's key runs."
            )
        return self.full

    def pruned_runs(self) -> list[Run]:
        return [*self.pruned, *self.control, *self.sweep, *self.sweep_control]

    def removed(self, when: str) -> list[Run]:
        """The runs on T without S(t): ``when`` is inversion (t*), before or after (t* in the mean)."""
        if when == "inversion":
            return [run for run in self.pruned if at_inversion(run)]
        turn = float(self.source().inversion["epoch_plus"].mean())
        early = when == "before"
        others = [run for run in self.pruned if not at_inversion(run)]
        return [run for run in others if (int(run.config["prune_epoch"]) < turn) == early]


def at_inversion(run: Run) -> bool:
    """Whether a pruned run leaves out S(t*), t* being the inversion epoch of R+ or of D."""
    return str(run.config["prune_epoch"]).startswith("inversion")


def pruning_experiments(data: RunGroups) -> list[PruningExperiment]:
    """The runs of all groups, sorted into experiments, in the order in which they come."""
    found: dict[tuple[Any, ...], PruningExperiment] = {}
    for run in (run for group in data.values() for run in group):
        experiment = found.setdefault(
            tuple(run.config.get(key) for key in SAME), PruningExperiment()
        )
        random = bool(run.config.get("prune_random"))
        if run.config.get("prune_from") is None:
            experiment.full = experiment.full or run
        elif run.config.get("prune_error") is not None:
            (experiment.sweep_control if random else experiment.sweep).append(run)
        else:
            (experiment.control if random else experiment.pruned).append(run)
    for experiment in found.values():
        for runs in (experiment.sweep, experiment.sweep_control):
            runs.sort(key=lambda run: float(run.config["prune_error"]))
    return list(found.values())


def pruning_experiment(data: RunGroups) -> PruningExperiment:
    """The one experiment among the runs that has pruned runs; PipelineError for none or several."""
    found = [one for one in pruning_experiments(data) if one.pruned_runs()]
    if len(found) != 1:
        names = ", ".join(run.name for run in all_runs(data))
        raise PipelineError(
            f"{len(found)} networks have pruned runs among {names}, but one is needed; name the runs "
            "of one network in the entry's key runs."
        )
    return found[0]


def inverting_metrics(run: Run) -> list[str]:
    """The metrics that invert in at least half of a run's networks; all three where none does."""
    names = [
        metric
        for metric, error in ERROR_OF.items()
        if float(run.inversion[error.replace("error", "inverts")].mean()) >= 0.5
    ]
    return names or list(ERROR_OF)


def inversion_error(run: Run) -> Array:
    """Training error at the inversion, (seeds,): the mean over the metrics that invert.

    It is phi where all three do. A metric without an inversion has its extremum at the end of
    training, where the error says nothing (a convolutional network with small kernels).
    """
    return np.mean([run.inversion[ERROR_OF[one]].values for one in inverting_metrics(run)], axis=0)


def seeds_of(run: Run) -> NDArray[np.int64]:
    return np.asarray(run.trajectories["seed"].values, np.int64)


def at_seeds(run: Run, values: Array, seeds: NDArray[np.int64]) -> Array:
    """One value per network of a run, put in the order of ``seeds``; NaN for those it has not."""
    own = {int(seed): float(value) for seed, value in zip(seeds_of(run), values, strict=True)}
    return np.array([own.get(int(seed), np.nan) for seed in seeds])


def shared_seeds(*runs: Run) -> NDArray[np.int64]:
    """The seeds that all the runs have; NotMeasurable where there is none."""
    seeds = seeds_of(runs[0])
    for run in runs[1:]:
        seeds = np.intersect1d(seeds, seeds_of(run))
    if not seeds.size:
        raise NotMeasurable(
            f"The runs {', '.join(run.name for run in runs)} have no seed in common."
        )
    return seeds


def of_seeds(run: Run, values: NDArray[Any], seeds: NDArray[np.int64]) -> NDArray[Any]:
    """The rows of ``values`` (seeds of the run, ...) that belong to the given seeds."""
    return values[np.searchsorted(seeds_of(run), seeds)]


def noise_analysis(data: RunGroups, run: Run) -> xr.Dataset | None:
    """The analysis that holds the noisy test errors of a run; None where there is none."""
    for found in data.analyses.values():
        if "test_error_noisy" in found and run.name in found.attrs["runs"]:
            return found
    return None


def noisy_test_errors_of(data: RunGroups, run: Run) -> tuple[Array, Array] | None:
    """(sigmas, test errors (seeds, sigmas)) of one run, NaN for networks that were not evaluated.

    None where no analysis holds the run.
    """
    found = noise_analysis(data, run)
    if found is None:
        return None
    row = list(found.attrs["runs"]).index(run.name)
    errors = found["test_error_noisy"].isel(run=row).transpose("seed", "sigma")
    errors = errors.reindex(seed=seeds_of(run))
    return found["sigma"].values.astype(float), errors.values.astype(float)
