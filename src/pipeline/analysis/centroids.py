"""Centroids of an ensemble of networks after equal updates: progress and error of six means.

Source: Mao et al., PNAS 121(12), 2024, App. D.4, Fig. S13, Table S1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.stored_models import (
    Models,
    described,
    same_labels,
    stored_models,
    stored_predictions,
)
from pipeline.errors import GeometryError, NotMeasurable, PipelineError
from pipeline.geometry.progress import CENTROIDS, centroid, progress
from pipeline.predictors.variables import SPLITS
from pipeline.runs import Place, RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("kinds",)
FEWEST = 2  # networks of an ensemble
Array = NDArray[np.float64]


def _register_all() -> None:
    register(
        "record_update", ("record",), "int64", "updates done when all were recorded", "updates"
    )
    register("record_epoch", ("record",), "float64", "epochs done when all were recorded", "epochs")
    where = ("split", "centroid", "record")
    of_mean = "of the ensemble's mean (attribute centroids), NaN where it was not found"
    register("centroid_progress", where, "float64", f"progress {of_mean}")
    register("centroid_error", where, "float64", f"share of samples misclassified {of_mean}")
    each = ("split", "network", "record")
    register("network_progress", each, "float64", "progress of one network of the ensemble")
    register("network_error", each, "float64", "share of samples that it misclassifies")
    without = "of the last mean of all networks but one"
    left = ("split", "centroid", "network")
    register("left_out_progress", left, "float64", f"progress {without}")
    register("left_out_error", left, "float64", f"share of samples misclassified {without}")


_register_all()


def centroids(data: RunGroups, options: dict[str, Any], place: Place) -> xr.Dataset:
    """Progress and error of the centroids of one run's networks at each update that all recorded.

    Options
    -------
    kinds: names of ``geometry.progress.CENTROIDS`` (default: all).

    Returns ``centroid_progress`` and ``centroid_error`` (split, centroid, record), ``network_progress``
    and ``network_error`` (split, network, record), ``left_out_progress`` and ``left_out_error`` (split,
    centroid, network) at the last update, for jackknife errors; attributes splits, centroids, undefined
    (where a centroid was not found, and why), runs. Raises NotMeasurable for a single network,
    PipelineError for several runs and kinds that there are not.
    """
    check_options("centroids", options, OPTIONS)
    kinds = list(options.get("kinds") or CENTROIDS)
    if unknown := [str(kind) for kind in kinds if kind not in CENTROIDS]:
        raise PipelineError(
            f"The option kinds names {', '.join(unknown)}; valid are: {', '.join(CENTROIDS)}."
        )
    models = stored_models(data)
    if len(models.runs) != 1:
        raise PipelineError(
            f"centroids takes the networks of one run, but {len(models.runs)} were given; set the entry's "
            "key runs."
        )
    ways = [mine for _, _, mine in models.trajectories()]
    if len(ways) < FEWEST:
        raise NotMeasurable("an ensemble needs two networks or more.")
    updates = sorted(set.intersection(*(set(models.update[mine].tolist()) for mine in ways)))
    found = {
        split: _of_split(models, split, ways, updates, kinds, place.threads) for split in SPLITS
    }
    dims = {
        "centroid": ("split", "centroid", "record"),
        "network": ("split", "network", "record"),
        "left_out": ("split", "centroid", "network"),
    }
    variables = {
        f"{name}_{quantity}": (
            which,
            np.stack([found[split][0][name][k] for split in SPLITS]),
        )
        for name, which in dims.items()
        for k, quantity in enumerate(("progress", "error"))
    }
    first = ways[0][np.isin(models.update[ways[0]], updates)]
    return xr.Dataset(
        {
            **variables,
            "record_update": (("record",), models.update[first]),
            "record_epoch": (("record",), models.epoch[first]),
        },
        attrs={
            "splits": list(SPLITS),
            "centroids": kinds,
            "undefined": [text for split in SPLITS for text in found[split][1]],
            **described(models.runs),
        },
    )


def _of_split(
    models: Models,
    split: str,
    ways: list[NDArray[np.int64]],
    updates: list[int],
    kinds: list[str],
    threads: int,
) -> tuple[dict[str, Array], list[str]]:
    """(quantity, ...) of ``centroid``, ``network`` and ``left_out``, and what was not found."""
    run = models.runs[0]
    labels, roots = same_labels([run], split), stored_predictions(run, split)["root_probabilities"]
    means = np.empty((2, len(kinds), len(updates)))
    each = np.empty((2, len(ways), len(updates)))
    left = np.empty((2, len(kinds), len(ways)))
    undefined: list[str] = []
    for k, update in enumerate(updates):
        places = [int(mine[models.update[mine] == update][0]) for mine in ways]
        p = np.square(roots.isel(model=places).values, dtype=np.float64)
        where = f"{split}, update {update}"
        each[:, :, k] = _measured(p, labels, threads)
        means[:, :, k] = _of_centroids(p, labels, kinds, threads, undefined, where)
    for k in range(len(ways)):
        others = np.delete(p, k, axis=0)
        text = f"{where}, without network {k}"
        left[:, :, k] = _of_centroids(others, labels, kinds, threads, undefined, text)
    return {"centroid": means, "network": each, "left_out": left}, undefined


def _of_centroids(
    p: Array,
    labels: NDArray[np.int64],
    kinds: list[str],
    threads: int,
    undefined: list[str],
    where: str,
) -> Array:
    """(2, kinds) progress and error of the centroids of models (models, samples, classes)."""
    found = np.full((2, len(kinds)), np.nan)
    for place, kind in enumerate(kinds):
        try:
            mean = centroid(p, kind)
        except GeometryError as error:
            undefined.append(f"{where}: {error}")
            continue
        found[:, place] = _measured(mean[None], labels, threads)[:, 0]
    return found


def _measured(p: Array, labels: NDArray[np.int64], threads: int) -> Array:
    """(2, models) progress and error."""
    wrong = (p.argmax(axis=2) != labels).mean(axis=1)
    return np.stack([progress(p, labels, threads=threads), wrong])
