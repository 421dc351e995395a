"""How arrays are cut into chunks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.store.chunks import CHUNK_TARGET, MEBIBYTE, MOST_CHUNKS, choose_chunks
from pipeline.store.manifest import chunk_keys

SHAPES = st.lists(st.integers(1, 5000), min_size=0, max_size=5).map(tuple)
DTYPES = st.sampled_from(["uint8", "float32", "float64"])


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    return math.prod(shape) * {"uint8": 1, "float32": 4, "float64": 8}[dtype]


@settings(deadline=None)
@given(shape=SHAPES, dtype=DTYPES)
def test_size_and_number_of_chunks(shape: tuple[int, ...], dtype: str) -> None:
    sizes = choose_chunks(shape, dtype)
    count = math.prod(-(-size // chunk) for size, chunk in zip(shape, sizes, strict=True))
    assert all(1 <= chunk <= size for size, chunk in zip(shape, sizes, strict=True))
    assert count <= MOST_CHUNKS
    if nbytes(shape, dtype) <= CHUNK_TARGET:
        assert sizes == shape
    else:
        assert nbytes(sizes, dtype) >= MEBIBYTE
    if nbytes(shape, dtype) <= MOST_CHUNKS * MEBIBYTE:
        assert nbytes(sizes, dtype) <= CHUNK_TARGET


def test_trailing_dimensions_stay_whole() -> None:
    sizes = choose_chunks((50, 8, 4400, 20), "float32")
    assert sizes[2:] == (4400, 20)
    assert MEBIBYTE <= nbytes(sizes, "float32") <= CHUNK_TARGET


def test_given_sizes_are_honoured() -> None:
    dims = ("checkpoint", "stored_seed", "sample", "unit_1")
    shape = (50, 100, 4400, 20)
    sizes = choose_chunks(shape, "float32", dims, {"checkpoint": 1})
    assert sizes[0] == 1
    assert sizes[2:] == (4400, 20)
    assert MEBIBYTE <= nbytes(sizes, "float32") <= 16 * MEBIBYTE
    assert choose_chunks(shape, "float32", dims, {"sample": 100})[2] == 100
    assert choose_chunks((10, 20), "float64", ("seed", "epoch"), {"epoch": -1, "seed": 3}) == (
        3,
        20,
    )
    assert choose_chunks((10, 20), "float64", chunks=(4, 99)) == (4, 20)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ({"layer": 1}, r"Chunks are given for \['layer'\]"),
        ({"seed": 0}, "chunk size of 0"),
        ({"seed": -2}, "chunk size of -2"),
        ((1, 2, 3), "3 chunk sizes"),
    ],
)
def test_impossible_sizes_are_refused(chunks: object, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        choose_chunks((10, 20), "float64", ("seed", "epoch"), chunks)  # type: ignore[arg-type]


def test_empty_and_scalar_shapes() -> None:
    assert choose_chunks((0, 5), "float64") == (1, 5)
    assert choose_chunks((), "float64") == ()
    assert chunk_keys((), ()) == ["c"]
    assert chunk_keys((0, 5), (1, 5)) == []
    assert chunk_keys((3, 2), (2, 2)) == ["c/0/0", "c/1/0"]
