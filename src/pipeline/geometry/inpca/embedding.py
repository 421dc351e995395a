"""Intensive principal component analysis: Minkowski coordinates of models from their distances.

    W = -1/2 L D L,  L = 1 - 11^T/m,  W = sum_k lambda_k v_k v_k^T,  x_k = sqrt|lambda_k| v_k

with eigenvalues of either sign, in the order of their magnitude. With all k the embedding is
isometric: D_uv = sum_k sign(lambda_k) (x_ku - x_kv)^2.

Source: Quinn et al., PNAS 116(28), 2019; Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError

DENSE = 1500  # matrices up to this size are decomposed whole
RANK = 1e-13  # eigenvalues below it, relative to the largest, are rounding
SYMMETRY = 1e-6  # largest asymmetry of D, relative to its largest value
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Embedding:
    """Coordinates of models.

    coordinates: (m, n_components); eigenvalues: (n_components,) by falling magnitude; signature:
        (n_components,) +1 (space-like), -1 (time-like) or 0.
    explained_stress: (n_components,), cumulative: 1 - sqrt(1 - sum_{k<=K} lambda_k^2 / sum_ij W_ij^2).
    shares: (m,) that sum to 1, of the centring; row_means: (m,) mean distance of each model to all, by
        shares; multiplicities: (m,) 1, or the weights omega.
    norm: sqrt(sum_ij W_ij^2); residuals: (n_components,) |W v - lambda v| of unit vectors v.
    """

    coordinates: Array
    eigenvalues: Array
    signature: NDArray[np.int64]
    explained_stress: Array
    row_means: Array
    shares: Array
    multiplicities: Array
    norm: float
    residuals: Array

    def transform(self, d: ArrayLike) -> Array:
        """Coordinates (new, n_components) of new models from their distances to those embedded.

            w_i = -1/2 [d_i - mean_j d_j - (row means)_i + grand mean],
            x_k = sum_i w_i v_ki / (sign(lambda_k) sqrt|lambda_k|)

        A model that is embedded gets its own coordinates. What is the same in all w_i of a model has no
        effect, as sum_i v_ki = 0: so test predictions are put into an embedding of train predictions by
        their distances alone, whatever mean is taken of them.

        Arguments
        ---------
        d: (new, m) distances.

        Raises GeometryError for other shapes and for distances that are not finite.
        """
        new = np.atleast_2d(np.asarray(d, dtype=np.float64))
        if new.ndim != 2 or new.shape[1] != len(self.row_means) or not np.isfinite(new).all():
            raise GeometryError(
                f"Distances of shape {new.shape} given; finite distances (new, {len(self.row_means)}) "
                "to the embedded models are needed."
            )
        means = new @ self.shares
        w = -0.5 * (new - means[:, None] - self.row_means + self.shares @ self.row_means)
        found: Array = w @ self._directions()
        return found

    def transform_tiles(self, multiply: Callable[[Array], Array]) -> Array:
        """The same for as many new models as there are old ones, from passes over a matrix that is not
        held: their distances (new, m) to the old models.

        Arguments
        ---------
        multiply: X (m, block) -> d X, as ``TileMatrix.multiply`` of the test predictions' distances.
        """
        size, directions = len(self.row_means), self._directions()
        found = multiply(np.hstack([directions, self.shares[:, None]]))
        moved = found[:, :-1] - np.outer(found[:, -1], directions.sum(axis=0))
        constant = (self.row_means - self.shares @ self.row_means) @ directions
        if len(moved) != size:
            raise GeometryError(
                f"Distances of {len(moved)} models given; those of {size} are needed."
            )
        return np.asarray(-0.5 * (moved - constant))

    def _directions(self) -> Array:
        """What w is multiplied by, (m, n_components)."""
        there = self.signature != 0
        factors = np.zeros(len(there))
        factors[there] = 1 / self.eigenvalues[there]
        found: Array = self.multiplicities[:, None] * self.coordinates * factors
        return found


def embed(
    D: ArrayLike, n_components: int = 3, *, weights: ArrayLike | None = None, seed: int = 0
) -> Embedding:
    """Embed m models from their distances.

    Arguments
    ---------
    D: (m, m) symmetric distances, zero on the diagonal. n_components: at most m.
    weights: (m,) multiplicities of any sum, omega being these over their sum: L = 1 - 1 omega^T,
        (W diag omega) v = lambda v with v^T diag(omega) v = 1. The coordinates are those of repeated
        models; the eigenvalues are those of the repeated matrix over its size.
    seed: of the start vector of the iterative solver, used for more than 1500 models.

    float64. Raises GeometryError for other shapes, asymmetry, values that are not finite, weights
    that are not positive and n_components out of range.
    """
    matrix, multiplicities = _check(D, n_components, weights)
    shares = multiplicities / multiplicities.sum()
    row_means = matrix @ shares
    W = -0.5 * (matrix - row_means[:, None] - row_means + shares @ row_means)
    root = np.sqrt(multiplicities)
    W *= root[:, None]  # symmetric in this form
    W *= root
    values, vectors = _eigenpairs(W, n_components, seed)
    residuals = np.linalg.norm(W @ vectors - vectors * values, axis=0)
    norm = float(np.linalg.norm(W))
    means = (row_means, shares)
    return finish(values, vectors / root[:, None], norm, means, multiplicities, residuals)


def finish(
    values: Array,
    vectors: Array,
    norm: float,
    means: tuple[Array, Array],
    multiplicities: Array,
    residuals: Array,
) -> Embedding:
    """The embedding of eigenpairs (k,), (m, k), ordered by magnitude, with their signs settled.

    ``means`` are the row means of D and the shares that they were taken with.

    The sign of a vector is arbitrary: its entry of largest magnitude is made positive.
    """
    largest = np.argmax(np.abs(vectors), axis=0)
    vectors = vectors * np.where(vectors[largest, np.arange(len(values))] < 0, -1.0, 1.0)
    top = np.abs(values).max(initial=0.0)
    signature = np.where(np.abs(values) > RANK * max(top, norm), np.sign(values), 0).astype(
        np.int64
    )
    share = np.cumsum(values**2) / norm**2 if norm > 0 else np.ones(len(values))
    coordinates = vectors * np.sqrt(np.abs(values)) * (signature != 0)
    stress = 1 - np.sqrt(np.maximum(1 - share, 0))
    return Embedding(
        coordinates, values, signature, stress, *means, multiplicities, norm, residuals
    )


def _eigenpairs(W: Array, count: int, seed: int) -> tuple[Array, Array]:
    """The ``count`` eigenpairs of largest magnitude, in that order."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    if len(W) <= DENSE or count > len(W) // 4:
        values, vectors = eigh(W)
    elif not W.any():
        values, vectors = np.zeros(count), np.eye(len(W), count)
    else:
        start = np.random.default_rng(seed).standard_normal(len(W))
        try:
            values, vectors = eigsh(W, k=count, which="LM", v0=start)
        except ArpackNoConvergence as error:
            raise GeometryError(
                f"The largest {count} eigenvalues of {len(W)} models were not found ({error}); ask for "
                "fewer or more components."
            ) from error
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    return values[order], vectors[:, order]


def _check(D: Any, n_components: int, weights: Any) -> tuple[Array, Array]:
    matrix = np.asarray(D, dtype=np.float64)
    size = len(matrix) if matrix.ndim else 0
    if matrix.ndim != 2 or matrix.shape != (size, size) or not size:
        raise GeometryError(f"D has shape {matrix.shape}; distances (m, m) are needed.")
    if not np.isfinite(matrix).all():
        raise GeometryError(
            "D has values that are not finite; leave out the models that have no distance."
        )
    largest = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > SYMMETRY * largest:
        raise GeometryError("D is not symmetric; give the distances of one set of models.")
    if np.abs(np.diag(matrix)).max() > SYMMETRY * largest:
        raise GeometryError("D is not 0 on its diagonal; give the distances of one set of models.")
    if not 1 <= n_components <= size:
        raise GeometryError(
            f"n_components is {n_components}; valid are 1 to {size} for {size} models."
        )
    return (matrix + matrix.T) / 2, check_weights(weights, size)


def check_weights(weights: Any, size: int) -> Array:
    """Weights (m,) over their sum; ones for None. GeometryError where one is not above 0."""
    if weights is None:
        return np.ones(size)
    omega = np.asarray(weights, dtype=np.float64)
    if omega.shape != (size,) or not np.isfinite(omega).all() or not (omega > 0).all():
        raise GeometryError(
            f"weights of shape {omega.shape} given for {size} models; one finite weight above 0 for "
            "each is needed."
        )
    return omega / omega.sum()
