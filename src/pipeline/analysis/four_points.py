"""The four-point embedding of the models of some runs, and how like the embedding of all it is.

Source: Mao et al., PNAS 121(12), 2024, Eqs. 11 and 12, Figs. 11 and 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding import COMPONENTS, matrix_of
from pipeline.analysis.models import measured_models, metric
from pipeline.analysis.prediction_blocks import predictions_of, sample_blocks
from pipeline.analysis.stored_models import (
    Models,
    described,
    same_labels,
    sources_of,
    stored_models,
)
from pipeline.errors import GeometryError, NotMeasurable, PipelineError
from pipeline.geometry.bhattacharyya import ignorance, pairwise_distances, truth
from pipeline.geometry.bhattacharyya.chosen import (
    chosen_explained,
    chosen_products,
    chosen_sums,
)
from pipeline.geometry.bhattacharyya.sources import Source
from pipeline.geometry.inpca import Embedding, align, embed, embed_tiles
from pipeline.geometry.inpca.four_points import AT, WIDTH, progress_weights
from pipeline.geometry.predictions import as_dataset
from pipeline.runs import RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("at", "width", "limit", "components", "where")
LIMIT = 2.0  # dB to the truth from which on a model counts as away from the manifold
AXES = 3  # of an embedding of four points
Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def _register_all() -> None:
    at = "progress at which the two means between ignorance and truth are taken"
    register("four_point_at", ("choice", "middle"), "float64", at)
    reached = (
        "mean progress of the models of that mean, by their weights; NaN where no model is near"
    )
    register("four_point_reached", ("choice", "middle"), "float64", reached)
    value = "eigenvalue of the embedding of the four points"
    register("four_point_eigenvalue", ("choice", "axis"), "float64", value)
    sign = "+1 space-like, -1 time-like, 0 none, in the embedding of the four points"
    register("four_point_signature", ("choice", "axis"), "int64", sign)
    explained = (
        "explained pairwise distance of this and all earlier axes of the four-point embedding"
    )
    register("four_point_explained", ("choice", "axis"), "float64", explained)
    moved = "coordinate in the four-point embedding, aligned with inpca"
    register("four_point_inpca", ("choice", "model", "axis"), "float64", f"{moved}, of the model")
    points = f"{moved}, of ignorance, truth and the two means"
    register("four_point_place", ("choice", "four", "axis"), "float64", points)
    rmsd = "root mean squared deviation of the aligned coordinates from the first three of inpca"
    register("four_point_rmsd", ("choice",), "float64", rmsd)
    register("four_point_progress", ("model",), "float64", "progress of the model")


_register_all()


class _Choice(NamedTuple):
    """One four-point embedding: the points' own, and of the models."""

    points: Embedding
    coordinates: Array


def four_points(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """InPCA of models near the manifold, the four-point embedding of the same, and their alignment.

    Needs the analyses ``models`` and ``distances`` (Bhattacharyya) of the same runs.

    Options
    -------
    at: pairs of progress at which the two means are taken (default [[0.3, 0.7]]); width: of their weights
    (default 0.05). limit: only models with a dB to the truth below it enter (default 2).
    components: of InPCA (default 50, at most all).
    where: settings and lists of their values; only runs that have one of the values of each enter. Where
    none does, or too few models are near, NotMeasurable is raised.

    Returns of the models that enter ``inpca``, ``eigenvalue``, ``signature``, ``explained_stress``,
    ``explained_distance`` and ``four_point_progress``; of each pair ``four_point_at``, ``_reached``,
    ``_eigenvalue``, ``_signature``, ``_explained``, ``_inpca``, ``_place`` and ``_rmsd``, NaN where no
    model is near (the attribute undefined says so). Axes of the two are ordered by the magnitude of
    their eigenvalues; what is explained is taken before the alignment, which mixes them. Attributes
    split, limit, left_out (models of these runs beyond the limit), runs.
    """
    check_options("four_points", options, OPTIONS)
    models = stored_models(data)
    places, where = _chosen_runs(models, options)
    if not places:
        raise NotMeasurable(f"no run of this scale has {where}.")
    matrix = matrix_of(data, models)
    if matrix.store.attrs["kind"] != "bhattacharyya":
        raise PipelineError("four_points needs Bhattacharyya distances; give it such an analysis.")
    split = str(matrix.store.attrs["split"])
    components = int(options.get("components", COMPONENTS))
    if components < AXES:
        raise PipelineError(f"components is {components}; valid are {AXES} and more.")
    chosen, progress, left_out = _chosen_models(data, models, split, options, places)
    count, sums = min(components, len(chosen)), chosen_sums(matrix, chosen)
    made = embed_tiles(chosen_products(matrix, chosen), sums, count, seed=options["seed"])
    pairs = _pairs(options.get("at", [AT]))
    weights, undefined = _weights(progress, pairs, float(options.get("width", WIDTH)))
    choices = _choices(models, split, chosen, weights)
    embeddings = [(one.coordinates, one.points.signature) for one in choices.values()]
    explained = chosen_explained(matrix, chosen, [(made.coordinates, made.signature), *embeddings])
    found = _aligned(choices, made.coordinates[:, :AXES], explained[1:], len(pairs))
    reached = np.full(pairs.shape, np.nan)
    for choice, (first, second) in weights.items():
        reached[choice] = first @ progress, second @ progress
    return (
        as_dataset(made)
        .assign(
            explained_distance=(("component",), explained[0]),
            four_point_at=(("choice", "middle"), pairs),
            four_point_reached=(("choice", "middle"), reached),
            four_point_progress=(("model",), progress),
            **found,
        )
        .assign_coords({k: (dims, v[chosen]) for k, (dims, v) in models.coordinates().items()})
        .assign_attrs(
            split=split,
            limit=float(options.get("limit", LIMIT)),
            left_out=left_out,
            undefined=undefined,
            **described(models.runs),
        )
    )


def _chosen_models(
    data: RunGroups, models: Models, split: str, options: dict[str, Any], places: list[int]
) -> tuple[Indices, Array, int]:
    """Models of the runs at these places that enter (chosen,), their progress (chosen,), and how many do
    not.
    """
    measured = measured_models(data, models)
    limit = float(options.get("limit", LIMIT))
    of_runs = np.isin(models.run, places)
    near = of_runs & (metric(measured, "truth_distance", split) < limit)
    chosen = np.flatnonzero(near)
    if len(chosen) <= AXES:
        raise NotMeasurable(
            f"{len(chosen)} models have a dB to the truth below {limit:g}; at least {AXES + 1} are "
            "needed: raise the option limit, or give more runs."
        )
    return chosen, metric(measured, "progress", split)[chosen], int(of_runs.sum() - near.sum())


def _chosen_runs(models: Models, options: dict[str, Any]) -> tuple[list[int], str]:
    """Places of the runs that the option ``where`` leaves, and the option in words."""
    where = dict(options.get("where") or {})
    known = set.intersection(*(set(run.config) for run in models.runs))
    if unknown := [str(key) for key in where if key not in known]:
        raise PipelineError(
            f"where names {', '.join(unknown)}; valid are settings of the runs: "
            f"{', '.join(sorted(known))}."
        )
    found = [
        place
        for place, run in enumerate(models.runs)
        if all(run.config[key] in values for key, values in where.items())
    ]
    told = [f"{key} {' or '.join(map(str, values))}" for key, values in where.items()]
    return found, ", ".join(told)


def _pairs(at: Any) -> Array:
    """Pairs of progress (choices, 2), checked."""
    pairs = np.asarray(at, dtype=np.float64)
    if (
        pairs.ndim != 2
        or pairs.shape[1] != 2
        or not len(pairs)
        or not ((pairs > 0) & (pairs < 1)).all()
    ):
        raise PipelineError(f"The option at is {at!r}; valid are pairs of numbers between 0 and 1.")
    return pairs


def _weights(
    progress: Array, pairs: Array, width: float
) -> tuple[dict[int, tuple[Array, Array]], list[str]]:
    """Weights (chosen,) of both means of each pair that has models near, and of the others why not."""
    found: dict[int, tuple[Array, Array]] = {}
    undefined = []
    for choice, (first, second) in enumerate(pairs):
        try:
            found[choice] = (
                progress_weights(progress, first, width),
                progress_weights(progress, second, width),
            )
        except GeometryError as error:
            undefined.append(str(error))
    return found, undefined


def _choices(
    models: Models, split: str, chosen: Indices, weights: dict[int, tuple[Array, Array]]
) -> dict[int, _Choice]:
    """The four-point embeddings of the chosen models, by choice: two passes over their predictions of
    each block of samples, in memory that the number of samples does not change.
    """
    if not weights:
        return {}
    labels, sources = same_labels(models.runs, split), sources_of(models, split)
    rows, classes = np.concatenate(list(weights.values())), sources[0].shape[2]
    among = np.zeros((2 + len(rows), 2 + len(rows)))
    to_points, count = np.zeros((len(chosen), len(among))), 0
    for samples in sample_blocks(sources, len(among)):
        y, size = labels[samples], samples.stop - samples.start
        ends = np.stack([ignorance(size, classes), truth(y, classes)])
        points = np.concatenate([ends, weighted_means(sources, samples, chosen, rows)])
        for places, p in predictions_of(sources, samples, chosen):
            to_points[places] += size * pairwise_distances(p, points, threads=1)
        among += size * pairwise_distances(points, threads=1)
        count += size
    found = {}
    for number, choice in enumerate(weights):
        four = [0, 1, 2 + 2 * number, 3 + 2 * number]
        embedding = embed(among[np.ix_(four, four)] / count, AXES)
        found[choice] = _Choice(embedding, embedding.transform(to_points[:, four] / count))
    return found


def weighted_means(
    sources: Sequence[Source], samples: slice, chosen: Indices, weights: Array
) -> Array:
    """Means (means, samples, classes) of the chosen models, of some samples.

    Arguments
    ---------
    chosen: indices of models, rising. weights: (means, chosen), each row of sum 1.
    Source: Mao et al., PNAS 121(12), 2024, Eq. 11.
    """
    found: Any = 0.0
    for places, p in predictions_of(sources, samples, chosen):
        found = found + np.tensordot(weights[:, places], p, axes=1)
    return np.asarray(found / found.sum(axis=2, keepdims=True))


def _aligned(
    choices: dict[int, _Choice], reference: Array, explained: list[Array], count: int
) -> dict[str, Any]:
    """Variables of all choices, the coordinates aligned with the reference; NaN of those that are none."""
    moved = np.full((count, *reference.shape), np.nan)
    places = np.full((count, 4, AXES), np.nan)
    values, shares = np.full((count, AXES), np.nan), np.full((count, AXES), np.nan)
    signs, rmsd = np.zeros((count, AXES), dtype=np.int64), np.full(count, np.nan)
    for number, (choice, one) in enumerate(choices.items()):
        motion = align(one.coordinates, reference)
        moved[choice] = motion.apply(one.coordinates)
        places[choice] = motion.apply(one.points.coordinates)
        values[choice], signs[choice] = one.points.eigenvalues, one.points.signature
        shares[choice], rmsd[choice] = explained[number], motion.rmsd
    return {
        "four_point_inpca": (("choice", "model", "axis"), moved),
        "four_point_place": (("choice", "four", "axis"), places),
        "four_point_eigenvalue": (("choice", "axis"), values),
        "four_point_signature": (("choice", "axis"), signs),
        "four_point_explained": (("choice", "axis"), shares),
        "four_point_rmsd": (("choice",), rmsd),
    }
