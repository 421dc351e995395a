"""Networks that first fit random labels, then the true ones: where they meet those that start at random.

Source: Mao et al., PNAS 121(12), 2024, Figs. 10, S10.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding import COMPONENTS, matrix_of
from pipeline.analysis.models import measured_models, metric
from pipeline.analysis.prediction_blocks import distances_to_points, sample_blocks
from pipeline.analysis.stored_models import (
    Models,
    described,
    same_labels,
    sources_of,
    stored_models,
    stored_predictions,
)
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya import ignorance, pairwise_distances, truth
from pipeline.geometry.predictions import as_dataset
from pipeline.geometry.progress import geodesic
from pipeline.predictors.samples import learnt_labels
from pipeline.runs import Run, RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("components", "points", "near")
POINTS, NEAR = 21, 0.15
PATH_ENDS = {"train": "labellings", "test": "last models"}  # test samples have no random labels
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
    unlearnt = "error on its random labels of the last model of a network that learnt them"
    register("labelling_error", ("labelled",), "float64", unlearnt)
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
    ignorance, truth and the random labellings, of test samples, which these do not label, the ends of the
    first training (attribute path_ends); of each network with ``labelling`` the ``labelling_error`` of its
    last model on recorded training samples; of each network with ``start_from``
    ``least_ignorance_distance``, ``merging_progress`` and ``merging_epoch``: of the first model from which
    on all are near a model of the reference. Attributes paths, path_ends, near, split, runs.
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
    made = matrix.embed(count, seed=options["seed"])
    paths = _paths(models, split, stages, options["seed"])
    fractions = np.linspace(0, 1, int(options.get("points", POINTS)))
    to_models, to_flat = _path_distances(paths, fractions, models, split)
    at = made.transform(to_models)
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
            path_ignorance=(("path", "point"), to_flat.reshape(shape)),
        )
        .assign(ways)
        .assign(labelling_error=(("labelled",), labelling_errors(models, options["seed"])))
        .assign_coords(models.coordinates())
        .assign_attrs(
            paths=[one.name for one in paths],
            path_ends=PATH_ENDS[split],
            near=near,
            split=split,
            **described(models.runs),
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


def _paths(models: Models, split: str, stages: NDArray[np.int64], seed: int) -> list[_Path]:
    """From ignorance to truth; then of each run that fits random labels from ignorance to its labelling,
    and from there to the truth. Of test samples the last model of its first seed takes the place of the
    labelling.

    Arguments
    ---------
    seed: the root seed, which the labellings were drawn by.
    """
    labels = same_labels(models.runs, split)
    roots = [stored_predictions(run, split)["root_probabilities"] for run in models.runs]
    classes = roots[0].sizes["class"]
    flat, told = ignorance(labels.size, classes), truth(labels, classes)
    found, seen = [_Path("ignorance to truth", flat, told)], set()
    firsts = models.first_of_run
    for place, _, mine in models.trajectories():
        if stages[mine[0]] != STAGES.index("random") or place in seen:
            continue
        seen.add(place)
        run = models.runs[place]
        if split == "train":
            end = truth(random_labels(run, classes, seed)[: labels.size], classes)
        else:
            last = roots[place].isel(model=mine[-1] - firsts[place]).values
            end = np.square(last, dtype=np.float64)
        found.append(_Path(f"ignorance to {run.name}", flat, end))
        found.append(_Path(f"{run.name} to truth", end, told))
    return found


def labelling_errors(models: Models, seed: int) -> Array:
    """Errors (labelled,) on their random labels of the last models of networks that learnt them, on the
    recorded training samples.

    Arguments
    ---------
    seed: the root seed.
    """
    found, firsts = [], models.first_of_run
    for place, _, mine in models.trajectories():
        run = models.runs[place]
        if run.config.get("labelling") is None:
            continue
        roots = stored_predictions(run, "train")["root_probabilities"]
        said = roots.isel(model=mine[-1] - firsts[place]).values.argmax(axis=1)
        labels = random_labels(run, roots.sizes["class"], seed)[: said.size]
        found.append(np.mean(said != labels))
    return np.array(found, dtype=np.float64)


def random_labels(run: Run, classes: int, seed: int) -> NDArray[np.int64]:
    """The labels (samples,) of all training samples that a run with ``labelling`` learnt.

    Arguments
    ---------
    seed: the root seed.
    """
    unknown = np.zeros(int(run.config["samples"]), dtype=np.int64)  # true classes do not count
    return learnt_labels(unknown, classes, run.config["labelling"], seed)


def _path_distances(
    paths: list[_Path], fractions: Array, models: Models, split: str
) -> tuple[Array, Array]:
    """Distances of the points of all paths to all models, (points, models), and to ignorance, (points,)."""
    sources, total = sources_of(models, split), len(paths[0].first)

    def points(samples: slice) -> Array:
        return np.concatenate(
            [geodesic(one.first[samples], one.last[samples], fractions) for one in paths]
        )

    to_flat = np.zeros(len(paths) * fractions.size)
    for samples in sample_blocks(sources, to_flat.size):
        some = points(samples)
        flat = ignorance(*some.shape[1:])[None]
        to_flat += some.shape[1] / total * pairwise_distances(some, flat, threads=1)[:, 0]
    return distances_to_points(sources, points, beside=to_flat.size), to_flat


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
