"""What embeddings explain, and principal components of predictions for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.predictions import check_predictions
from pipeline.geometry.inpca.embedding import Embedding, finish
from pipeline.geometry.prediction_distances import prediction_distances

ROWS = 256  # rows of a matrix of distances handled at a time
Array = NDArray[np.float64]


def minkowski_distances(left: Array, right: Array, signature: NDArray[np.int64]) -> Array:
    """sum_k sign_k (x_ku - x_kv)^2 of all pairs (left, right) of points (points, k)."""
    signed = left * signature
    squares = np.sum(signed * left, axis=1)[:, None] + np.sum(right * right * signature, axis=1)
    found: Array = squares - 2 * (signed @ right.T)
    return found


def explained_distances(
    D: ArrayLike, coordinates: ArrayLike, signature: ArrayLike | None = None
) -> Array:
    """Explained pairwise distances of the first K = 1, 2, ... dimensions, (dimensions,).

        1 - sum_uv |D_uv - D^K_uv| / sum_uv D_uv

    Arguments
    ---------
    D: (m, m). coordinates: (m, dimensions) of any embedding; signature: (dimensions,), +1 for all by
        default.

    Raises GeometryError for shapes that do not fit and distances that are all 0.
    """
    matrix = np.asarray(D, dtype=np.float64)
    x = np.asarray(coordinates, dtype=np.float64)
    signs = np.ones(x.shape[-1]) if signature is None else np.asarray(signature, dtype=np.float64)
    if x.ndim != 2 or matrix.shape != (len(x), len(x)) or signs.shape != x.shape[1:]:
        raise GeometryError(
            f"D of shape {matrix.shape}, coordinates of shape {x.shape} and a signature of shape "
            f"{signs.shape} do not fit; (m, m), (m, dimensions) and (dimensions,) are needed."
        )
    if not (np.isfinite(matrix).all() and np.isfinite(x).all()):
        raise GeometryError("Distances or coordinates are not finite; leave these models out.")
    total = matrix.sum()
    if not total > 0:
        raise GeometryError("All distances are 0: nothing can be explained of them.")
    return np.asarray(1 - missed_distances(matrix, x, x, signs) / total)


def missed_distances(
    distances: NDArray[Any], left: Array, right: Array, signature: NDArray[Any]
) -> Array:
    """sum_uv |D_uv - D^K_uv| of a block of pairs for K = 1, 2, ... dimensions, (dimensions,).

    Arguments
    ---------
    distances: (left, right), float32 or float64; left, right: coordinates (models, dimensions);
        signature: (dimensions,).
    """
    missed = np.zeros(len(signature))
    for start in range(0, len(left), ROWS):
        rest = distances[start : start + ROWS].astype(np.float64)
        for k, sign in enumerate(signature):
            rest -= sign * (left[start : start + ROWS, k, None] - right[:, k]) ** 2
            missed[k] += np.abs(rest).sum()
    return missed


def pca(
    p: ArrayLike, n_components: int = 3, *, public_code: bool = False
) -> tuple[Embedding, Array]:
    """Principal components of predictions, and their explained variance sum_k lambda_k / trace, cumulative.

        D_uv = (1/N) sum_n |p_n(u) - p_n(v)|^2,  W = -1/2 L D L

    Arguments
    ---------
    p: probabilities (models, samples, classes). public_code: as the authors' programme has it,
        D_uv = [(1/N) sum_n |p_n(u) - p_n(v)|]^2, centred on the first model.
    """
    models = check_predictions(p, "p")
    size = len(models)
    if not 1 <= n_components <= size:
        raise GeometryError(
            f"n_components is {n_components}; valid are 1 to {size} for {size} models."
        )
    distances = euclidean_distances(models, public_code=public_code)
    shares = np.eye(1, size)[0] if public_code else np.full(size, 1 / size)
    means = distances @ shares
    W = -0.5 * (distances - means[:, None] - means + shares @ means)
    values, vectors = np.linalg.eigh((W + W.T) / 2)
    order = np.argsort(-np.abs(values), kind="stable")[:n_components]
    norm, trace = float(np.linalg.norm(W)), float(np.trace(W))
    if not trace > 0:
        raise GeometryError("All models are equal: there is no variance to be explained.")
    chosen, basis = values[order], vectors[:, order]
    residuals = np.linalg.norm(W @ basis - basis * chosen, axis=0)
    made = finish(chosen, basis, norm, (means, shares), np.ones(size), residuals)
    return made, np.cumsum(chosen) / trace


def euclidean_distances(p: NDArray[Any], *, public_code: bool = False) -> Array:
    """(1/N) sum_n |p_n - q_n|^2 of all pairs (m, m), float64; of the authors' programme the square of
    the mean |p_n - q_n|.
    """
    if not public_code:
        return prediction_distances(p, kind="euclidean")
    count, samples, _ = p.shape
    found = np.zeros((count, count))
    for n in range(samples):
        x = p[:, n].astype(np.float64)
        x = x - x.mean(axis=0)  # nearer to 0, where differences of squares lose less
        squares = np.sum(x**2, axis=1)
        gaps = np.maximum(squares[:, None] + squares - 2 * (x @ x.T), 0)
        found += np.sqrt(gaps)
    np.fill_diagonal(found, 0)
    return (found / samples) ** 2
