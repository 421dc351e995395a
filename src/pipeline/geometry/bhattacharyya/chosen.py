"""Some of the models of a stored matrix of distances: what an embedding of these alone needs.

Nothing is copied. Tiles without a chosen model are not read.

Source of the distance: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.geometry.inpca.comparison import missed_distances
from pipeline.geometry.inpca.krylov import Sums

Array = NDArray[np.float64]


class ChosenTile(NamedTuple):
    """Distances (rows, columns) of chosen models; rows, columns: their places among the chosen;
    same: both sides are the same models.
    """

    rows: slice
    columns: slice
    distances: NDArray[np.float32]
    same: bool


def chosen_tiles(matrix: TileMatrix, chosen: NDArray[np.int64]) -> Iterator[ChosenTile]:
    """The tiles of a matrix, of each the chosen models alone.

    Arguments
    ---------
    chosen: indices of models, rising; GeometryError for others.
    """
    picked = _check(matrix, chosen)
    side = matrix.side
    for number, (i, j) in enumerate(matrix.places):
        rows, columns = (
            slice(*np.searchsorted(picked, [one * side, (one + 1) * side]).tolist())
            for one in (i, j)
        )
        if rows.start < rows.stop and columns.start < columns.stop:
            places = np.ix_(picked[rows] - i * side, picked[columns] - j * side)
            yield ChosenTile(rows, columns, matrix.tile(number)[places], i == j)


def chosen_sums(matrix: TileMatrix, chosen: NDArray[np.int64]) -> Sums:
    """Row sums and sum of squares of the chosen models' distances, from one pass."""
    rows, squares = np.zeros(len(chosen)), 0.0
    for tile in chosen_tiles(matrix, chosen):
        values = tile.distances.astype(np.float64)
        rows[tile.rows] += values.sum(axis=1)
        if not tile.same:
            rows[tile.columns] += values.sum(axis=0)
        squares += (1 if tile.same else 2) * float(np.einsum("ij,ij->", values, values))
    return Sums(rows, squares)


def chosen_products(matrix: TileMatrix, chosen: NDArray[np.int64]) -> Callable[[Array], Array]:
    """X (chosen, block) -> D X of the chosen models' distances D, one pass."""

    def multiply(x: Array) -> Array:
        found = np.zeros(x.shape)
        for tile in chosen_tiles(matrix, chosen):
            values = tile.distances.astype(np.float64)
            found[tile.rows] += values @ x[tile.columns]
            if not tile.same:
                found[tile.columns] += values.T @ x[tile.rows]
        return found

    return multiply


def chosen_explained(
    matrix: TileMatrix,
    chosen: NDArray[np.int64],
    embeddings: Sequence[tuple[Array, NDArray[np.int64]]],
) -> list[Array]:
    """Explained pairwise distances of the first K dimensions of several embeddings, from one pass.

        1 - sum_uv |D_uv - D^K_uv| / sum_uv D_uv

    Arguments
    ---------
    embeddings: coordinates (chosen, dimensions) and signature (dimensions,) of each.

    Raises GeometryError for coordinates of other models and distances that are all 0.
    Source: Mao et al., PNAS 121(12), 2024, Eq. 12.
    """
    for coordinates, signature in embeddings:
        if coordinates.shape != (len(chosen), len(signature)) or not np.isfinite(coordinates).all():
            raise GeometryError(
                f"Coordinates of shape {coordinates.shape} given; finite ones of {len(chosen)} models "
                f"and {len(signature)} dimensions are needed."
            )
    missed = [np.zeros(len(signature)) for _, signature in embeddings]
    total = 0.0
    for tile in chosen_tiles(matrix, chosen):
        times = 1 if tile.same else 2
        total += times * float(tile.distances.sum(dtype=np.float64))
        for found, (x, signature) in zip(missed, embeddings, strict=True):
            left, right = x[tile.rows], x[tile.columns]
            found += times * missed_distances(tile.distances, left, right, signature)
    if not total > 0:
        raise GeometryError("All distances are 0: nothing can be explained of them.")
    return [1 - found / total for found in missed]


def _check(matrix: TileMatrix, chosen: Any) -> NDArray[np.int64]:
    found = np.asarray(chosen)
    rising = found.ndim == 1 and found.size and found.dtype.kind in "iu"
    if not rising or (np.diff(found) <= 0).any() or found[0] < 0 or found[-1] >= matrix.models:
        raise GeometryError(
            f"Chosen models must be rising indices from 0 to {matrix.models - 1}, at least one."
        )
    return found.astype(np.int64)
