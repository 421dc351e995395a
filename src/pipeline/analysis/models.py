"""What every recorded model is: error, distance to truth and to ignorance, progress.

Source: Mao et al., PNAS 121(12), 2024, Figs. 4, 8, 9, S1, Table 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.stored_models import (
    Models,
    analyses_holding,
    described,
    same_labels,
    stored_models,
    stored_predictions,
)
from pipeline.errors import PipelineError
from pipeline.geometry.predictions import METRICS, measure_predictions
from pipeline.predictors.variables import SPLITS
from pipeline.runs import Run, RunGroups, check_options
from pipeline.store.reader import open_store
from pipeline.store.variables import register

ALL = (*METRICS, "ignorance_distance")


def _register_all() -> None:
    register(
        "model_metrics",
        ("metric", "split", "model"),
        "float64",
        "error, distance to truth, progress, distance to the geodesic and to ignorance (attribute metrics)",
    )


_register_all()


def models(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Metrics of all models of all runs, on train and on test samples.

    Returns ``model_metrics`` (metric, split, model), float64, its metrics those of
    ``geometry.predictions.measure_predictions`` and ``ignorance_distance``, dB to the uniform
    distribution; the models' coordinates; attributes metrics, splits, runs and failed_seeds.
    """
    check_options("models", options, ())
    known = stored_models(data)
    found = np.full((len(ALL), len(SPLITS), len(known)), np.nan)
    for column, split in enumerate(SPLITS):
        y = same_labels(known.runs, split)
        start = 0
        for run in known.runs:
            values = _metrics(run, split, y)
            found[:, column, start : start + values.shape[1]] = values
            start += values.shape[1]
    return xr.Dataset(
        {"model_metrics": (("metric", "split", "model"), found)},
        coords=known.coordinates(),
        attrs={"metrics": list(ALL), "splits": list(SPLITS), **described(known.runs)},
    )


def metric(found: xr.Dataset, name: str, split: str) -> NDArray[np.float64]:
    """One metric (models,) of a result of ``models``."""
    place = found.attrs["metrics"].index(name), found.attrs["splits"].index(split)
    return np.asarray(found["model_metrics"].values[place])


def measured_models(data: RunGroups, known: Models) -> xr.Dataset:
    """The result of the analysis ``models`` among those given, of the same runs.

    Raises PipelineError where there is none, and where it is of other runs.
    """
    found = open_store(data.folders[analyses_holding(data, "model_metrics")[0]], lazy=False)
    if list(found.attrs["runs"]) != [run.name for run in known.runs]:
        raise PipelineError(
            "The analysis with model_metrics is of other runs; give it and this one the same runs, in the "
            "same order."
        )
    return found


def _metrics(run: Run, split: str, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """``ALL`` (metrics, models) of one run."""
    stored = stored_predictions(run, split)
    measured = measure_predictions(
        stored["root_probabilities"], labels, roots=True, log_likelihood=stored["log_likelihood"]
    ).compute()
    rows = [measured[name].values for name in METRICS]
    return np.stack([*rows, _ignorance(stored["root_probabilities"])])


def _ignorance(roots: xr.DataArray) -> NDArray[np.float64]:
    """-(1/N) sum_n log sum_c sqrt(p / C) of models (model, sample, class) given as roots."""
    affinity = roots.astype(np.float64).sum("class") / np.sqrt(roots.sizes["class"])
    distances = -np.log(affinity).mean("sample")
    return np.asarray(np.maximum(distances.values, 0))
