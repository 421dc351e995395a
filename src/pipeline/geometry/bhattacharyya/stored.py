"""Matrices of distances out of core: tiles of pairs of models, in a store of their own.

Each tile is one Dask task. It reads its models sample block by sample block and holds products, never
predictions of all samples; so memory depends on the side of a tile alone. What a tile was made of is
its key: tiles that an earlier matrix had, with the same models, are taken from a cache.

Source of the distance: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry import prediction_distances as others
from pipeline.geometry.bhattacharyya import chosen_samples, products, tiles
from pipeline.geometry.bhattacharyya.chosen_samples import (
    Group,
    count_of,
    read_group,
    sample_groups,
    sample_runs,
)
from pipeline.geometry.bhattacharyya.sources import Block, Source, split_models
from pipeline.geometry.bhattacharyya.tiles import (
    SIDE,
    Tile,
    add_samples,
    empty_tile,
    exact_distances,
)
from pipeline.geometry.inpca.comparison import missed_distances
from pipeline.geometry.inpca.embedding import Embedding
from pipeline.geometry.inpca.krylov import Sums, embed_tiles
from pipeline.geometry.prediction_distances import check_kind, prediction_distances
from pipeline.store import manifest
from pipeline.store.reader import open_store
from pipeline.store.variables import register
from pipeline.store.writer import StoreWriter

TILE = 1024  # models on a side of a tile; a task holds 4 to 8 times its square in bytes, and two blocks
BLOCK_BYTES = 6_000_000  # of predictions of one side that are read at a time,
CHUNK_BYTES = 420_000_000  # where stored chunks (of many classes) are larger, up to this many
DIGEST = 32  # bytes of a SHA-256
Array = NDArray[np.float64]


def _register_all() -> None:
    register(
        "distance_tiles",
        ("tile", "left", "right"),
        "float32",
        "distances of the models of two blocks (attribute kind), 0 beyond the last model",
    )
    register("tile_left", ("tile",), "int64", "block of models along the rows of the tile")
    register("tile_right", ("tile",), "int64", "block of models along its columns, not before it")
    register("distance_row_sum", ("model",), "float64", "sum of the model's distances to all")
    register("distance_squares", (), "float64", "sum of the squares of all distances")


_register_all()


class _Wanted(NamedTuple):
    """Which distance, and on which runs (first, last + 1) of consecutive samples."""

    kind: str
    samples: tuple[tuple[int, int], ...]


class TileResult(NamedTuple):
    """What a tile's task returns: sums of its rows and of its columns, and of its squares."""

    rows: Array
    columns: Array
    squares: float


def measure_tiles(
    sources: Sequence[Source],
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    kind: str = "bhattacharyya",
    samples: Sequence[int] | NDArray[np.int64] | None = None,
    side: int = TILE,
    cache: Path | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Distances of all pairs of models of some stores, written as tiles; returns the manifest.

    Arguments
    ---------
    sources: in the order of the matrix. folder: of the new store. provenance: as for ``StoreWriter``.
    kind: of distance, bhattacharyya or a name in ``prediction_distances.DISTANCES``.
    samples: indices of the samples that count, rising; None: all.
    side: models on a side of a tile. cache: a folder that keeps tiles for the next matrix; it must be
        no output of a rule; what is in it is never removed. attrs: of the store.

    Tasks run where Dask's settings or an active client say; each uses one thread.

    Raises GeometryError, before anything is removed, for an unknown kind, samples that there are not and
    a side below 1.
    """
    import dask

    check_kind(kind)
    if side < 1:
        raise GeometryError(f"side is {side}; valid is a whole number from 1 on.")
    blocks = split_models(sources, side)
    wanted = _Wanted(kind, sample_runs(sources[0].shape[1], samples))
    places = [(i, j) for i in range(len(blocks)) for j in range(i, len(blocks))]
    models = sum(block.models for block in blocks)
    writer = StoreWriter(folder, {**(attrs or {}), "models": models, "side": side, "kind": kind})
    writer.create("distance_tiles", (len(places), side, side), chunks={"tile": 1})
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    task = dask.delayed(_measure_tile, pure=False)
    tasks = [
        task(blocks[i], blocks[j], i == j, wanted, side, str(folder), n, cache and str(cache))
        for n, (i, j) in enumerate(places)
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
    left: Block,
    right: Block,
    same: bool,
    wanted: _Wanted,
    side: int,
    folder: str,
    number: int,
    cache: str | None,
) -> TileResult:
    """Compute or fetch one tile, write it as one chunk of the store, return its sums."""
    import zarr

    kept = None
    if cache is not None:
        made_of = (_method(), wanted.kind, wanted.samples, same, left.key(), right.key())
        kept = Path(cache) / f"{hashlib.sha256(repr(made_of).encode()).hexdigest()}.tile"
    distances = None if kept is None else _fetched(kept, (left.models, right.models))
    if distances is None:
        distances = tile_distances(left, right, wanted, same=same)
        if kept is not None:
            _keep(kept, distances)
    if distances.shape != (side, side):
        whole = np.zeros((side, side), np.float32)
        whole[: left.models, : right.models] = distances
    else:
        whole = distances
    array: Any = zarr.open_array(manifest.zarr_path(folder) / "distance_tiles", mode="r+")
    array[number] = whole
    return _tile_sums(distances)


def _tile_sums(distances: NDArray[np.float32]) -> TileResult:
    """Sums of rows and of columns and of squares, in float64, a strip at a time."""
    rows, columns = np.zeros(len(distances)), np.zeros(distances.shape[1])
    squares = 0.0
    for start in range(0, len(distances), SIDE):
        strip = distances[start : start + SIDE].astype(np.float64)
        rows[start : start + SIDE] = strip.sum(axis=1)
        columns += strip.sum(axis=0)
        squares += float(np.einsum("ij,ij->", strip, strip))
    return TileResult(rows, columns, squares)


def tile_distances(
    left: Block, right: Block, wanted: _Wanted, *, same: bool
) -> NDArray[np.float32]:
    """Distances (left, right) of the models of two blocks, float32.

    Arguments
    ---------
    same: both are the same block: the distances are symmetric, 0 on the diagonal.
    """
    source = left.parts[0][0]
    each = max(left.models, right.models) * source.stored_classes * 4  # bytes of a sample
    chunk, step = source.sample_chunk, max(1, BLOCK_BYTES // each)
    # Whole chunks: a part of one costs as much as all of it.
    step = step - step % chunk if step > chunk else max(step, min(chunk, CHUNK_BYTES // each))
    groups = sample_groups(wanted.samples, chunk, step)
    if wanted.kind == "bhattacharyya":
        found = _products(left, right, groups, same=same)
    else:
        found = _means(left, right, groups, wanted.kind)
    if same:
        found = np.triu(found, 1)
        found += found.T
    return found


def _products(
    left: Block, right: Block, groups: Sequence[Group], *, same: bool
) -> NDArray[np.float32]:
    tile = empty_tile(left.models, right.models)
    for group in groups:
        first = read_group(left, group)
        add_samples(tile, first, first if same else read_group(right, group), upper=same)
    found = np.empty(tile.mantissas.shape, np.float32)
    for start in range(0, len(found), SIDE):  # a strip at a time: float64 takes twice the memory
        rows = slice(start, start + SIDE)
        strip = Tile(tile.mantissas[rows], tile.exponents[rows]).negative_logs()
        found[rows] = np.maximum(strip / tile.samples, 0)
    for pairs in tile.lost():
        some = pairs[pairs[:, 0] < pairs[:, 1]] if same else pairs
        if len(some):
            found[some[:, 0], some[:, 1]] = _exact(left, right, groups, some) / tile.samples
    return found


def _exact(left: Block, right: Block, groups: Sequence[Group], pairs: NDArray[np.int64]) -> Array:
    """Sums of -log a of pairs whose product was lost, from all their samples in float64."""
    totals = np.zeros(len(pairs))
    for group in groups:
        first = read_group(left, group)
        other = first if right is left else read_group(right, group)
        totals += exact_distances(first, other, pairs)
    return totals


def _means(left: Block, right: Block, groups: Sequence[Group], kind: str) -> NDArray[np.float32]:
    """Distances that are means over the samples: sums of those of blocks."""
    total, count = np.zeros((left.models, right.models)), 0
    for group in groups:
        size = count_of(group)
        p, q = (np.square(read_group(one, group), dtype=np.float64) for one in (left, right))
        total += size * prediction_distances(p, q, kind=kind, threads=1)
        count += size
    return (total / count).astype(np.float32)


@functools.cache
def _method() -> str:
    """What computes tiles: the content of the modules that do."""
    files = (module.__file__ for module in (products, tiles, others, chosen_samples))
    return hashlib.sha256(
        b"".join(Path(str(file)).read_bytes() for file in (*files, __file__))
    ).hexdigest()


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
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")  # several writers may make one tile
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

    def embed(self, n_components: int, *, seed: int = 0) -> Embedding:
        """InPCA of all models, see ``inpca.embed_tiles``."""
        sums = Sums(self.rows, self.squares)
        return embed_tiles(self.multiply, sums, n_components, seed=seed)

    def explained_distances(self, coordinates: Array, signature: NDArray[np.int64]) -> Array:
        """Explained pairwise distances of the first K dimensions, as ``inpca.explained_distances``."""
        if coordinates.shape != (self.models, len(signature)) or not np.isfinite(coordinates).all():
            raise GeometryError(
                f"Coordinates of shape {coordinates.shape} given; finite ones of {self.models} models "
                f"and {len(signature)} dimensions are needed."
            )
        missed = np.zeros(len(signature))
        for number, (i, j) in enumerate(self.places):
            values, twice = self.tile(number), 1 if i == j else 2
            left = coordinates[i * self.side : i * self.side + values.shape[0]]
            right = coordinates[j * self.side : j * self.side + values.shape[1]]
            missed += twice * missed_distances(values, left, right, signature)
        total = self.rows.sum()
        if not total > 0:
            raise GeometryError("All distances are 0: nothing can be explained of them.")
        return 1 - missed / total

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
