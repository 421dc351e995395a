"""Networks that first fit random labels, then the true ones: where they meet those that start at random.

Source: Mao et al., PNAS 121(12), 2024, Figs. 10, S10.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding import COMPONENTS, MODELS, matrix_of
from pipeline.analysis.models import measured_models, metric
from pipeline.analysis.stored_models import (
    Models,
    described,
    same_labels,
    stored_models,
    stored_predictions,
)
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya import ignorance, pairwise_distances, truth
from pipeline.geometry.inpca import embed_tiles
from pipeline.geometry.inpca.krylov import Sums
from pipeline.geometry.predictions import as_dataset
from pipeline.geometry.progress import geodesic
from pipeline.runs import Run, RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("components", "points", "near")
POINTS, NEAR = 21, 0.15
STAGES = ("reference", "random", "true")  # from random weights; to random labels; from there
Array = NDArray[np.float64]


def _register_all() -> None:
    stage = "0 from random weights to the true labels, 1 to random labels, 2 from there to the true ones"
    register("model_stage", ("model",), "int64", stage)
    near = (
        "least Bhattacharyya distance to a model of another network from random weights, NaN: none"
    )
    register("nearest_distance", ("model",), "float64", near)
    register("stage_progress", ("model",), "float64", "progress of the model towards the truth")
    path = "coordinate of the point of a geodesic (attribute paths)"
    register("path_inpca", ("path", "point", "component"), "float64", path)
    gap = "Bhattacharyya distance of the point of a geodesic to ignorance"
    register("path_ignorance", ("path", "point"), "float64", gap)
    which = "run of the network that starts from a fit of random labels, its place in the attribute runs"
    register("start_run", ("start",), "int64", which, coordinate=True)
    register("start_seed", ("start",), "int64", "seed of that network", coordinate=True)
    least = "least Bhattacharyya distance of the network to ignorance on its way to the true labels"
    register("least_ignorance_distance", ("start",), "float64", least)
    after = "from which on the network stays near those that start from random weights, NaN: it does not"
    register("merging_progress", ("start",), "float64", f"progress {after}")
    register("merging_epoch", ("start",), "float64", f"epoch {after}", "epochs")


_register_all()


class _Path(NamedTuple):
    """A geodesic: its name, and its ends, probabilities (samples, classes)."""

    name: str
    first: Array
    last: Array


def starts(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Embedding of all models, and where networks that start from random labels join the others.

    Runs with ``labelling`` fit random labels, those with ``start_from`` go from there to the true labels,
    the others are the reference. Needs the analyses ``models`` and ``distances`` (Bhattacharyya) of the
    same runs.

    Options
    -------
    components: of InPCA (default 50, at most all). points: of each geodesic (default 21).
    near: distance below which a model counts as near another (default 0.15, the paper's).

    Returns ``inpca``, ``eigenvalue``, ``signature``, ``explained_stress``; ``model_stage``,
    ``nearest_distance``, ``stage_progress``; ``path_inpca`` and ``path_ignorance`` of the geodesics between
    ignorance, truth and the ends of the first training; of each network with ``start_from``
    ``least_ignorance_distance``, ``merging_progress`` and ``merging_epoch``: of the first model from which
    on all are near a model of the reference. Attributes paths, near, split, runs.
    """
    check_options("starts", options, OPTIONS)
    models = stored_models(data)
    matrix = matrix_of(data, models)
    split, near = str(matrix.store.attrs["split"]), float(options.get("near", NEAR))
    if matrix.store.attrs["kind"] != "bhattacharyya":
        raise PipelineError("starts needs Bhattacharyya distances; give it such an analysis.")
    measured = measured_models(data, models)
    stages = np.array([_stage(run) for run in models.runs], dtype=np.int64)[models.run]
    nearest = nearest_distances(matrix.whole(), models, stages)
    count = min(int(options.get("components", COMPONENTS)), len(models))
    sums = Sums(matrix.rows, matrix.squares)
    made = embed_tiles(matrix.multiply, sums, count, seed=options["seed"])
    paths = _paths(models, split, stages)
    fractions = np.linspace(0, 1, int(options.get("points", POINTS)))
    points = np.concatenate([geodesic(one.first, one.last, fractions) for one in paths])
    at = made.transform(_to_models(points, models, split))
    flat = ignorance(points.shape[1], points.shape[2])[None]
    shape = (len(paths), fractions.size)
    progress = metric(measured, "progress", split)
    ways = _ways(
        models, stages, progress, nearest, metric(measured, "ignorance_distance", split), near
    )
    return (
        as_dataset(made)
        .assign(
            model_stage=(("model",), stages),
            nearest_distance=(("model",), nearest),
            stage_progress=(("model",), progress),
            path_inpca=(("path", "point", "component"), at.reshape(*shape, -1)),
            path_ignorance=(
                ("path", "point"),
                pairwise_distances(points, flat, threads=1).reshape(shape),
            ),
        )
        .assign(ways)
        .assign_coords(models.coordinates())
        .assign_attrs(
            paths=[one.name for one in paths], near=near, split=split, **described(models.runs)
        )
    )


def nearest_distances(distances: Any, models: Models, stages: NDArray[np.int64]) -> Array:
    """Least distance (models,) of each model to those of the reference that are of another network.

    Arguments
    ---------
    distances: (models, models); stages: (models,) places in ``STAGES``.
    """
    found = np.full(len(models), np.nan)
    reference = stages == 0
    for run, seed, mine in models.trajectories():
        other = reference & ~((models.run == run) & (models.seed == seed))
        if other.any():
            found[mine] = distances[np.ix_(mine, np.flatnonzero(other))].min(axis=1)
    return found


def merging(nearest: Array, near: float) -> int | None:
    """The first of a network's models from which on all are near, by their distances (models,)."""
    away = np.flatnonzero(~(nearest < near))
    first = int(away[-1]) + 1 if away.size else 0
    return first if first < nearest.size else None


def _stage(run: Run) -> int:
    if run.config.get("labelling") is not None:
        return STAGES.index("random")
    return STAGES.index("true" if run.config.get("start_from") else "reference")


def _paths(models: Models, split: str, stages: NDArray[np.int64]) -> list[_Path]:
    """From ignorance to truth; then of each run that fits random labels from ignorance to its last model,
    and from there to the truth. Of several seeds the first counts: others start near it.
    """
    labels = same_labels(models.runs, split)
    roots = [stored_predictions(run, split)["root_probabilities"] for run in models.runs]
    classes = roots[0].sizes["class"]
    flat, told = ignorance(labels.size, classes), truth(labels, classes)
    found, seen = [_Path("ignorance to truth", flat, told)], set()
    firsts = np.searchsorted(models.run, np.arange(len(models.runs)))
    for run, _, mine in models.trajectories():
        if stages[mine[0]] != STAGES.index("random") or run in seen:
            continue
        seen.add(run)
        last = np.square(roots[run].isel(model=mine[-1] - firsts[run]).values, dtype=np.float64)
        name = models.runs[run].name
        found.append(_Path(f"ignorance to {name}", flat, last))
        found.append(_Path(f"{name} to truth", last, told))
    return found


def _to_models(points: Array, models: Models, split: str) -> Array:
    """Distances (points, models) of points (points, samples, classes) to all models."""
    parts = []
    for run in models.runs:
        roots = stored_predictions(run, split)["root_probabilities"]
        for first in range(0, roots.sizes["model"], MODELS):
            some = roots.isel(model=slice(first, first + MODELS)).values
            parts.append(pairwise_distances(points, np.square(some, dtype=np.float64), threads=1))
    return np.concatenate(parts, axis=1)


def _ways(
    models: Models,
    stages: NDArray[np.int64],
    progress: Array,
    nearest: Array,
    to_ignorance: Array,
    near: float,
) -> dict[str, tuple[tuple[str], NDArray[Any]]]:
    """What is told of each network that starts from a fit of random labels."""
    rows = []
    for run, seed, mine in models.trajectories():
        if stages[mine[0]] == STAGES.index("true"):
            k = merging(nearest[mine], near)
            there = (np.nan, np.nan) if k is None else (progress[mine[k]], models.epoch[mine[k]])
            rows.append((run, seed, to_ignorance[mine].min(), *there))
    names = (
        "start_run",
        "start_seed",
        "least_ignorance_distance",
        "merging_progress",
        "merging_epoch",
    )
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(names)).T
    return {
        name: (("start",), column.astype(np.int64) if name in names[:2] else column)
        for name, column in zip(names, columns, strict=True)
    }
