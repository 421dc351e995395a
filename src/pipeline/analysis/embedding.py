"""InPCA of the models of some runs, with ignorance, truth and the geodesic between them as new points.

Source: Mao et al., PNAS 121(12), 2024, Figs. 2, 5, S10, S11, S15, S16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.distances import drawn_mixture
from pipeline.analysis.prediction_blocks import distances_to_points
from pipeline.analysis.stored_models import (
    Models,
    analyses_holding,
    described,
    same_labels,
    sources_of,
    stored_models,
)
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya import ignorance, truth
from pipeline.geometry.bhattacharyya.mixtures import mixed_classes
from pipeline.geometry.bhattacharyya.sources import with_mixture
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.geometry.predictions import as_dataset
from pipeline.geometry.progress import geodesic
from pipeline.runs import RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("components", "points")
COMPONENTS, POINTS = 50, 51


def _register_all() -> None:
    explained = "explained pairwise distance of this and all earlier components"
    register("explained_distance", ("component",), "float64", explained)
    at = "progress of the point on the geodesic: 0 is ignorance, 1 the truth"
    register("point_progress", ("point",), "float64", at)
    where = "coordinate of the point on the geodesic from ignorance to truth"
    register("point_inpca", ("point", "component"), "float64", where)
    apart = "distance of the model to the point on the geodesic"
    register("point_distance", ("point", "model"), "float64", apart)


_register_all()


def embedding(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """InPCA of the matrix of distances of the one analysis given (see ``distances``), of the same runs.

    Options
    -------
    components: how many (default 50, at most all). points: of the geodesic from ignorance to truth, at
    equal steps of progress, put into the embedding as new points (default 51); where distances are of mixed
    classes, these points are mixed alike.

    Returns ``inpca`` (model, component), ``eigenvalue``, ``signature``, ``explained_stress`` and
    ``explained_distance`` (component), ``point_progress`` (point), ``point_inpca`` (point, component),
    ``point_distance`` (point, model) and the models' coordinates; attributes split, kind and runs.
    """
    check_options("embedding", options, OPTIONS)
    models = stored_models(data)
    matrix = matrix_of(data, models, mixed=True)
    attrs = {key: matrix.store.attrs[key] for key in ("split", "kind")}
    count = min(int(options.get("components", COMPONENTS)), matrix.models)
    made = matrix.embed(count, seed=options["seed"])
    values = np.linspace(0, 1, int(options.get("points", POINTS)))
    mixed = matrix.store.attrs.get("mixed_classes")
    to_points = point_distances(
        models, attrs["split"], attrs["kind"], values, mixed=mixed, seed=options["seed"]
    )
    explained = matrix.explained_distances(made.coordinates, made.signature)
    return (
        as_dataset(made)
        .assign(
            explained_distance=(("component",), explained),
            point_progress=(("point",), values),
            point_inpca=(("point", "component"), made.transform(to_points)),
            point_distance=(("point", "model"), to_points),
        )
        .assign_coords(models.coordinates())
        .assign_attrs(**attrs, **described(models.runs))
    )


def matrix_of(
    data: RunGroups, models: Models, name: str | None = None, *, mixed: bool = False
) -> TileMatrix:
    """The matrix of distances among the analyses given: the only one, or that of a name.

    Raises PipelineError where there is none, where it holds other runs, and, unless ``mixed``, where it is
    of mixtures of classes.
    """
    names = analyses_holding(data, "distance_tiles")
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        wanted = "one analysis" if name is None else f"the analysis {name}"
        raise PipelineError(
            f"{wanted} with a matrix of distances is needed, but given are: {', '.join(names)}; set the "
            "entry's key analyses."
        )
    matrix = TileMatrix(data.folders[name])
    runs = [run.name for run in models.runs]
    if list(matrix.store.attrs.get("runs", [])) != runs or matrix.models != len(models):
        raise PipelineError(
            f"The analysis {name} holds the distances of other runs; give it and this one the "
            "same runs, in the same order."
        )
    if matrix.store.attrs.get("mixed_classes") and not mixed:
        raise PipelineError(
            f"The analysis {name} holds distances of mixed classes, which only embedding takes; give it one "
            "without the option mixed_classes."
        )
    return matrix


def point_distances(
    models: Models,
    split: str,
    kind: str,
    values: NDArray[np.float64],
    *,
    mixed: int | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Distances (points, models) of all models to points of the geodesic from ignorance to truth.

    Arguments
    ---------
    values: (points,) progress of the points. mixed, seed: models and points have their classes mixed as
    ``distances`` does by its option mixed_classes and the root seed; None: not.
    """
    y = same_labels(models.runs, split)
    sources = sources_of(models, split)
    classes = sources[0].shape[2]
    mixture = drawn_mixture(mixed, classes, seed)

    def points(samples: slice) -> NDArray[np.float64]:
        labels = y[samples]
        found = geodesic(ignorance(labels.size, classes), truth(labels, classes), values)
        return found if mixture is None else mixed_classes(found, mixture)

    sources = with_mixture(sources, mixture)
    return distances_to_points(sources, points, kind=kind, beside=values.size)
