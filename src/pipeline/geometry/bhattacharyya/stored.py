"""Matrices of distances out of core: tiles of pairs of models, in a store of their own.

Each tile is one Dask task. It reads its models sample block by sample block and holds products, never
predictions of all samples; so memory depends on the side of a tile alone. What a tile was made of is
its key: tiles that an earlier matrix had, with the same models, are taken from a cache.

Source of the distance: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.sources import Block, Source, sample_blocks, split_models
from pipeline.geometry.bhattacharyya.tiles import (
    PAIRS,
    SIDE,
    Tile,
    add_samples,
    empty_tile,
    exact_distances,
)
from pipeline.store import manifest
from pipeline.store.reader import open_store
from pipeline.store.variables import register
from pipeline.store.writer import StoreWriter

TILE = 2048  # models on a side of a tile
BLOCK_BYTES = 24_000_000  # of predictions of one side that are read at a time
DIGEST = 32  # bytes of a SHA-256
METHOD = "1"  # raised where tiles come out otherwise than before
Array = NDArray[np.float64]


def _register_all() -> None:
    register(
        "distance_tiles",
        ("tile", "left", "right"),
        "float32",
        "Bhattacharyya distances of the models of two blocks, 0 beyond the last model",
    )
    register("tile_left", ("tile",), "int64", "block of models along the rows of the tile")
    register("tile_right", ("tile",), "int64", "block of models along its columns, not before it")
    register("distance_row_sum", ("model",), "float64", "sum of the model's distances to all")
    register("distance_squares", (), "float64", "sum of the squares of all distances")


_register_all()


class TileResult(NamedTuple):
    """What a tile's task returns: sums of its rows and columns, sum of squares, whether from the cache."""

    rows: Array
    columns: Array
    squares: float
    cached: bool


def measure_tiles(
    sources: Sequence[Source],
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    side: int = TILE,
    cache: Path | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Distances of all pairs of models of some stores, written as tiles; returns the manifest.

    Arguments
    ---------
    sources: in the order of the matrix. folder: of the new store. provenance: as for ``StoreWriter``.
    side: models on a side of a tile. cache: a folder that keeps tiles for the next matrix; it must be
        no output of a rule. attrs: of the store.

    Tasks run where Dask's settings or an active client say; each uses one thread.
    """
    import dask

    blocks = split_models(sources, side)
    places = [(i, j) for i in range(len(blocks)) for j in range(i, len(blocks))]
    models = sum(block.models for block in blocks)
    writer = StoreWriter(folder, {**(attrs or {}), "models": models, "side": side})
    writer.create("distance_tiles", (len(places), side, side), chunks={"tile": 1})
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    task = dask.delayed(_measure_tile, pure=False)
    tasks = [
        task(blocks[i], blocks[j], i == j, side, str(folder), number, cache and str(cache))
        for number, (i, j) in enumerate(places)
    ]
    found: tuple[TileResult, ...] = dask.compute(*tasks)
    rows, squares = _summed(found, places, side, models)
    for name, values in (
        ("tile_left", np.array([i for i, _ in places], dtype=np.int64)),
        ("tile_right", np.array([j for _, j in places], dtype=np.int64)),
        ("distance_row_sum", rows),
        ("distance_squares", np.array(squares)),
    ):
        writer.create(name, values.shape)
        writer.write(name, values)
    return writer.close(provenance)


def _measure_tile(
    left: Block, right: Block, same: bool, side: int, folder: str, number: int, cache: str | None
) -> TileResult:
    """Compute or fetch one tile, write it as one chunk of the store, return its sums."""
    import zarr

    key = hashlib.sha256(f"{METHOD} {side} {left.key()} {right.key()}".encode()).hexdigest()
    kept = None if cache is None else Path(cache) / f"{key}.tile"
    distances = None if kept is None else _fetched(kept, (left.models, right.models))
    cached = distances is not None
    if distances is None:
        distances = tile_distances(left, right, same=same)
        if kept is not None:
            _keep(kept, distances)
    whole = np.zeros((side, side), np.float32)
    whole[: left.models, : right.models] = distances
    array: Any = zarr.open_array(manifest.zarr_path(folder) / "distance_tiles", mode="r+")
    array[number] = whole
    wide = distances.astype(np.float64, copy=False)
    return TileResult(
        wide.sum(axis=1), wide.sum(axis=0), float(np.einsum("ij,ij->", wide, wide)), cached
    )


def tile_distances(left: Block, right: Block, *, same: bool) -> NDArray[np.float32]:
    """Distances (left, right) of the models of two blocks, float32.

    Arguments
    ---------
    same: both are the same block: the distances are symmetric, 0 on the diagonal.
    """
    _, samples, classes = left.parts[0][0].shape
    tile = empty_tile(left.models, right.models)
    most = max(left.models, right.models) * classes * 4
    step = max(1, BLOCK_BYTES // most)
    for block in sample_blocks(samples, step):
        first = left.read(block)
        add_samples(tile, first, first if same else right.read(block), upper=same)
    found = _finished(tile)
    _repair(tile, found, left, right, step, upper=same)
    if same:
        found = np.triu(found, 1)
        found += found.T
    return found


def _finished(tile: Tile) -> NDArray[np.float32]:
    """Distances from products, a strip at a time: they would take twice the memory at once."""
    found = np.empty(tile.mantissas.shape, np.float32)
    for start in range(0, len(found), SIDE):
        rows = slice(start, start + SIDE)
        strip = Tile(tile.mantissas[rows], tile.exponents[rows]).negative_logs()
        found[rows] = np.maximum(strip / tile.samples, 0)
    return found


def _repair(
    tile: Tile, found: NDArray[np.float32], left: Block, right: Block, step: int, *, upper: bool
) -> None:
    """Set the distances of pairs whose product was lost, from all their samples in float64."""
    pairs = tile.lost()
    if upper:
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    if not len(pairs):
        return
    totals = np.zeros(len(pairs))
    for block in sample_blocks(tile.samples, step):
        first, second = left.read(block), right.read(block)
        for start in range(0, len(pairs), PAIRS):
            some = slice(start, start + PAIRS)
            totals[some] += exact_distances(first, second, pairs[some])
    found[pairs[:, 0], pairs[:, 1]] = totals / tile.samples


def _fetched(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """A kept tile, which follows its SHA-256; None where there is none, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, values = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(values).digest() != digest or len(values) != 4 * shape[0] * shape[1]:
        return None
    return np.frombuffer(values, np.float32).reshape(shape)


def _keep(path: Path, distances: NDArray[np.float32]) -> None:
    values = np.ascontiguousarray(distances).tobytes()
    partial = path.with_suffix(".partial")
    partial.write_bytes(hashlib.sha256(values).digest() + values)
    partial.replace(path)


def _summed(
    found: Sequence[TileResult], places: Sequence[tuple[int, int]], side: int, models: int
) -> tuple[Array, float]:
    """Row sums (models,) and the sum of squares of the whole matrix, from its upper triangle."""
    rows, squares = np.zeros(models), 0.0
    for (i, j), result in zip(places, found, strict=True):
        rows[i * side : i * side + len(result.rows)] += result.rows
        squares += result.squares
        if i != j:
            rows[j * side : j * side + len(result.columns)] += result.columns
            squares += result.squares
    return rows, squares


class TileMatrix:
    """A stored matrix of distances: products with blocks of vectors, and parts of it.

    Arguments
    ---------
    folder: of the store. threads: of ``multiply``.
    """

    def __init__(self, folder: Path | str, threads: int = 1) -> None:
        import zarr

        self.store: xr.Dataset = open_store(Path(folder))
        if "distance_tiles" not in self.store:
            raise GeometryError(f"The store {folder} holds no matrix of distances.")
        path = manifest.zarr_path(folder) / "distance_tiles"
        self._tiles: Any = zarr.open_array(path, mode="r")
        self.models, self.side = int(self.store.attrs["models"]), int(self.store.attrs["side"])
        self.threads = threads
        left, right = self.store["tile_left"].values, self.store["tile_right"].values
        self.places = list(zip(left.tolist(), right.tolist(), strict=True))
        self.rows: Array = self.store["distance_row_sum"].values
        self.squares = float(self.store["distance_squares"].values)

    def tile(self, number: int) -> NDArray[np.float32]:
        """Distances of one tile, without what lies beyond the last model."""
        i, j = self.places[number]
        height, width = (min(self.side, self.models - one * self.side) for one in (i, j))
        found: NDArray[np.float32] = np.asarray(self._tiles[number, :height, :width])
        return found

    def multiply(self, x: Array) -> Array:
        """D x for a block of vectors (models, block), one pass over the tiles."""
        from concurrent.futures import ThreadPoolExecutor

        found = np.zeros((self.models, x.shape[1]))

        def product(number: int) -> tuple[Array, Array | None]:
            (i, j), distances = self.places[number], self.tile(number).astype(np.float64)
            ahead = distances @ x[j * self.side : j * self.side + distances.shape[1]]
            if i == j:
                return ahead, None
            return ahead, distances.T @ x[i * self.side : i * self.side + distances.shape[0]]

        with ThreadPoolExecutor(self.threads) as pool:
            for (i, j), (ahead, back) in zip(
                self.places, pool.map(product, range(len(self.places))), strict=True
            ):  # in the order of the tiles: sums do not depend on the number of threads
                found[i * self.side : i * self.side + len(ahead)] += ahead
                if back is not None:
                    found[j * self.side : j * self.side + len(back)] += back
        return found

    def whole(self) -> NDArray[np.float32]:
        """The matrix (models, models), for few models."""
        found = np.zeros((self.models, self.models), np.float32)
        for number, (i, j) in enumerate(self.places):
            values = self.tile(number)
            rows = slice(i * self.side, i * self.side + values.shape[0])
            columns = slice(j * self.side, j * self.side + values.shape[1])
            found[rows, columns] = values
            found[columns, rows] = values.T
        return found
