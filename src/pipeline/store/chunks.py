"""How arrays are cut into chunks, each of which is one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import StoreError

MEBIBYTE = 1 << 20
CHUNK_TARGET = 4 * MEBIBYTE  # bytes; chunks come out at 1/4 to 1 of it
MOST_CHUNKS = 400  # a listing of more files is slow on shared file systems

ChunkRequest = Mapping[str, int] | Sequence[int] | None


def choose_chunks(
    shape: Sequence[int],
    dtype: np.dtype | str,
    dims: Sequence[str] | None = None,
    chunks: ChunkRequest = None,
) -> tuple[int, ...]:
    """Chunk shape of 1 to 4 MiB that keeps trailing dimensions whole.

    A smaller array is one chunk. Chunks grow beyond that only where the array would otherwise have
    more than ``MOST_CHUNKS`` of them.

    Arguments
    ---------
    shape, dtype, dims: of the array; ``dims`` is needed where ``chunks`` is a mapping.
    chunks: sizes that are honoured, dimension -> size (-1: whole), or one size per dimension;
        dimensions that are not named are chosen here.

    Raises StoreError for an unknown dimension, a wrong count or a size below 1.
    """
    fixed = _fixed_sizes(shape, dims, chunks)
    itemsize = np.dtype(dtype).itemsize
    bytes_in_all = math.prod(shape) * itemsize
    limit = CHUNK_TARGET
    while True:
        sizes = _fill_from_the_end(shape, fixed, limit // itemsize)
        count = math.prod(-(-size // chunk) for size, chunk in zip(shape, sizes, strict=True))
        if count <= MOST_CHUNKS or limit >= bytes_in_all:
            return sizes
        limit *= 2


def _fixed_sizes(
    shape: Sequence[int], dims: Sequence[str] | None, chunks: ChunkRequest
) -> list[int | None]:
    if chunks is None:
        return [None] * len(shape)
    if isinstance(chunks, Mapping):
        names = list(dims or ())
        unknown = sorted(set(chunks) - set(names))
        if unknown:
            raise StoreError(f"Chunks are given for {unknown}; the array's dimensions are {names}.")
        wanted = [chunks.get(name) for name in names]
    else:
        wanted = list(chunks)
    if len(wanted) != len(shape):
        raise StoreError(
            f"{len(wanted)} chunk sizes are given for an array of shape {tuple(shape)}."
        )
    for size in wanted:
        if size is not None and size != -1 and size < 1:
            raise StoreError(
                f"A chunk size of {size} is given; valid are 1 and more, and -1 for whole."
            )
    return [
        None if size is None else max(1, length if size == -1 else min(size, length))
        for size, length in zip(wanted, shape, strict=True)
    ]


def _fill_from_the_end(
    shape: Sequence[int], fixed: Sequence[int | None], elements: int
) -> tuple[int, ...]:
    left = elements // math.prod(size for size in fixed if size is not None)
    sizes = [1 if size is None else size for size in fixed]
    for axis in reversed(range(len(shape))):
        if fixed[axis] is not None:
            continue
        length = max(1, shape[axis])
        size = max(1, min(length, left))
        sizes[axis] = -(-length // -(-length // size))  # equal parts instead of a small last one
        left = left // length if size == length else 0
    return tuple(sizes)
