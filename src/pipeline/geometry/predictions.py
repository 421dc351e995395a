"""Metrics of stored predictions: the Dask and xarray side of ``bhattacharyya``, ``inpca`` and ``progress``.

Nothing here computes geometry by itself: blocks of models go through the kernels, with all of their
samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import log_distances, pairwise_distances, truth_distances
from pipeline.geometry.bhattacharyya.predictions import check_labels
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.geometry.inpca import Embedding, embed
from pipeline.geometry.progress import project
from pipeline.store.variables import register

METRICS = ("error", "truth_distance", "progress", "geodesic_distance")
TASK_BYTES = 64_000_000  # of the probabilities of a task, in float64


def _register_all() -> None:
    meanings = {
        "error": "share of samples whose most probable class is not the true one",
        "truth_distance": "Bhattacharyya distance to the truth, half the cross-entropy",
        "progress": "progress along the geodesic from ignorance to truth, 0 to 1",
        "geodesic_distance": "Bhattacharyya distance to the geodesic's point of the same progress",
    }
    for name, meaning in meanings.items():
        register(name, ("model",), "float64", meaning)
    register(
        "inpca", ("model", "component"), "float64", "coordinate of the model, sqrt|lambda_k| v_k"
    )
    register("eigenvalue", ("component",), "float64", "eigenvalue lambda_k of the centred matrix")
    register("signature", ("component",), "int64", "+1 space-like, -1 time-like, 0 none")
    stress = "explained stress of this and all earlier components"
    register("explained_stress", ("component",), "float64", stress)


_register_all()


def measure_predictions(
    predictions: xr.DataArray,
    labels: ArrayLike,
    *,
    roots: bool = False,
    log_likelihood: xr.DataArray | None = None,
) -> xr.Dataset:
    """Error, distance to the truth, progress and distance to the geodesic of each model.

    Arguments
    ---------
    predictions: dims (model, samples, class), the samples' under any name. Of Dask arrays the result is
        lazy, a few models at a time.
    labels: (samples,) true classes. roots: the values are root probabilities, as stores hold them.
    log_likelihood: (model, samples) log-probabilities of the true class, where they are stored: with
        them distances to the truth are exact where probabilities underflow.

    Returns a Dataset of ``METRICS`` (model,), float64, with the models' coordinates. Raises
    GeometryError as the kernels do.
    """
    _check_dims(predictions)
    _, samples, classes = predictions.shape
    y = check_labels(labels, samples, classes)
    logs = None if log_likelihood is None else log_likelihood.data
    if predictions.chunks is None:
        values: Any = _metrics(
            predictions.values, None if logs is None else np.asarray(logs), y, roots
        )
    else:
        values = _lazily(predictions.data, logs, y, roots)
    coordinates = {
        name: value for name, value in predictions.coords.items() if value.dims == ("model",)
    }
    found = {name: (("model",), values[:, k]) for k, name in enumerate(METRICS)}
    return xr.Dataset(found, coords=coordinates)


def _lazily(predictions: Any, logs: Any, labels: NDArray[np.int64], roots: bool) -> Any:
    """``_metrics`` of as many models at a time as stay below a number of bytes."""
    import dask.array as da

    models = max(1, TASK_BYTES // (8 * predictions.shape[1] * predictions.shape[2]))
    models = min(models, max(predictions.chunks[0]))
    whole = predictions.rechunk({0: models, 1: -1, 2: -1})
    given: list[Any] = [whole, "mnc"]
    if logs is not None:
        given += [da.asarray(logs).rechunk({0: models, 1: -1}), "mn"]

    def block(p: NDArray[Any], *rest: NDArray[Any]) -> NDArray[np.float64]:
        return _metrics(p, rest[0] if rest else None, labels, roots)

    return da.blockwise(
        block, "mk", *given, new_axes={"k": len(METRICS)}, dtype=np.float64, concatenate=True
    )


def _check_dims(predictions: xr.DataArray) -> None:
    dims = predictions.dims
    if len(dims) != 3 or dims[0] != "model" or dims[2] != "class":
        raise GeometryError(
            f"Predictions with dimensions {dims} given; (model, samples, class) are needed."
        )


def _metrics(
    values: NDArray[Any],
    logs: NDArray[Any] | None,
    labels: NDArray[np.int64],
    roots: bool,
) -> NDArray[np.float64]:
    """``METRICS`` of a block of models, (models, metrics); one thread, as Dask has its own."""
    p = np.square(values, dtype=np.float64) if roots else values
    wrong = (p.argmax(axis=2) != labels).mean(axis=1)
    told = truth_distances(p, labels) if logs is None else log_distances(logs)
    return np.column_stack([wrong, told, project(p, labels, threads=1)])


def measure_distances(
    predictions: xr.DataArray, *, roots: bool = False, threads: int | None = None
) -> xr.DataArray:
    """Distances (model, other_model) of all pairs of models that fit in memory, float64.

    Arguments
    ---------
    predictions, roots: as for ``measure_predictions``.
    """
    _check_dims(predictions)
    values = predictions.values
    p = np.square(values, dtype=np.float64) if roots else values
    return xr.DataArray(pairwise_distances(p, threads=threads), dims=("model", "other_model"))


def measure_embedding(
    distances: xr.DataArray | TileMatrix, n_components: int = 3, *, seed: int = 0
) -> xr.Dataset:
    """InPCA of a matrix of distances, held or stored as tiles.

    Returns a Dataset of ``inpca`` (model, component), ``eigenvalue``, ``signature`` and
    ``explained_stress`` (component).
    """
    if isinstance(distances, TileMatrix):
        return as_dataset(distances.embed(n_components, seed=seed))
    return as_dataset(embed(distances.values, n_components, seed=seed))


def as_dataset(embedding: Embedding) -> xr.Dataset:
    """An embedding's registered variables."""
    return xr.Dataset(
        {
            "inpca": (("model", "component"), embedding.coordinates),
            "eigenvalue": (("component",), embedding.eigenvalues),
            "signature": (("component",), embedding.signature),
            "explained_stress": (("component",), embedding.explained_stress),
        }
    )
