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
from pipeline.geometry.bhattacharyya import pairwise_distances, truth_distances
from pipeline.geometry.bhattacharyya.predictions import check_labels
from pipeline.geometry.bhattacharyya.sources import VARIABLE
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.geometry.inpca import Embedding, embed, embed_tiles
from pipeline.geometry.inpca.krylov import Sums
from pipeline.geometry.progress import geodesic_distances, progress
from pipeline.store.variables import register

METRICS = ("error", "truth_distance", "progress", "geodesic_distance")
DIMS = ("model", "sample", "class")


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


def measure_predictions(predictions: xr.DataArray, labels: ArrayLike) -> xr.Dataset:
    """Error, distance to the truth, progress and distance to the geodesic of each model.

    Arguments
    ---------
    predictions: dims (model, sample, class): root probabilities where the array has that name,
        probabilities else; of Dask arrays the result is lazy, in chunks of models.
    labels: (sample,) true classes.

    Returns a Dataset of ``METRICS`` (model,), float64, with the models' coordinates. Raises
    GeometryError as the kernels do.
    """
    if predictions.dims != DIMS:
        raise GeometryError(
            f"Predictions with dimensions {predictions.dims} given; {DIMS} are needed."
        )
    y = check_labels(labels, predictions.sizes["sample"], predictions.sizes["class"])
    rooted = predictions.name == VARIABLE
    if predictions.chunks is None:
        values: Any = _metrics(predictions.values, y, rooted)
    else:
        whole = predictions.data.rechunk({1: -1, 2: -1})
        values = whole.map_blocks(
            _metrics, y, rooted, dtype=np.float64, drop_axis=(1, 2), new_axis=1,
            chunks=(whole.chunks[0], (len(METRICS),)),
        )  # fmt: skip
    coordinates = {
        name: value for name, value in predictions.coords.items() if value.dims == ("model",)
    }
    found = {name: (("model",), values[:, k]) for k, name in enumerate(METRICS)}
    return xr.Dataset(found, coords=coordinates)


def _metrics(values: NDArray[Any], labels: NDArray[np.int64], rooted: bool) -> NDArray[np.float64]:
    """``METRICS`` of a block of models, (models, metrics); one thread, as Dask has its own."""
    p = np.square(values, dtype=np.float64) if rooted else values
    wrong = (p.argmax(axis=2) != labels).mean(axis=1)
    return np.stack(
        [
            wrong,
            truth_distances(p, labels),
            progress(p, labels, threads=1),
            geodesic_distances(p, labels, threads=1),
        ],
        axis=1,
    )


def measure_distances(predictions: xr.DataArray, *, threads: int | None = None) -> xr.DataArray:
    """Distances (model, other_model) of all pairs of models that fit in memory, float64.

    Arguments
    ---------
    predictions: as for ``measure_predictions``.
    """
    if predictions.dims != DIMS:
        raise GeometryError(
            f"Predictions with dimensions {predictions.dims} given; {DIMS} are needed."
        )
    values = predictions.values
    p = np.square(values, dtype=np.float64) if predictions.name == VARIABLE else values
    return xr.DataArray(pairwise_distances(p, threads=threads), dims=("model", "other_model"))


def measure_embedding(
    distances: xr.DataArray | TileMatrix, n_components: int = 3, *, seed: int = 0
) -> xr.Dataset:
    """InPCA of a matrix of distances, held or stored as tiles.

    Returns a Dataset of ``inpca`` (model, component), ``eigenvalue``, ``signature`` and
    ``explained_stress`` (component).
    """
    if isinstance(distances, TileMatrix):
        sums = Sums(distances.rows, distances.squares)
        return as_dataset(embed_tiles(distances.multiply, sums, n_components, seed=seed))
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
