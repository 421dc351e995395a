"""Where the predictions of a matrix of distances come from: arrays of stores, one after another.

Root probabilities are stored in float32: distances have errors of 2e-8 from it. Only probabilities
below 1e-76 (roots below float32's normal range) lose digits, and with them distances above 87, by up
to 1e-5 of their value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.store import manifest
from pipeline.store.variables import register

VARIABLE = "root_probabilities"
LOG_VARIABLE = "log_likelihood"

register(
    VARIABLE,
    ("model", "sample", "class"),
    "float32",
    "square root of the probability that the model gives the class",
)
register(
    LOG_VARIABLE,
    ("model", "sample"),
    "float32",
    "logarithm of the probability that the model gives the true class",
)


@dataclass(frozen=True)
class Source:
    """The root probabilities (models, samples, classes) of one store.

    folder: of the store; name: of the array; shape; digest: SHA-256 of the array, from the manifest.
    """

    folder: str
    name: str
    shape: tuple[int, int, int]
    digest: str

    def read(self, models: slice, samples: slice) -> NDArray[np.float32]:
        """A block of it, (models, samples, classes)."""
        import zarr

        path = manifest.zarr_path(self.folder) / self.name
        array: Any = zarr.open_array(path, mode="r")
        found: NDArray[np.float32] = np.asarray(array[models, samples])
        return found


def prediction_sources(folders: Sequence[Path | str], name: str = VARIABLE) -> list[Source]:
    """The sources of some stores, in order.

    Raises StoreError for a store without manifest, GeometryError where one has no such array, other
    samples or other classes than the first.
    """
    found: list[Source] = []
    for folder in folders:
        arrays = manifest.read(Path(folder))["arrays"]
        if name not in arrays:
            raise GeometryError(
                f"The store {folder} holds no {name}; it holds {', '.join(arrays)}."
            )
        models, samples, classes = arrays[name]["shape"]
        shape = (int(models), int(samples), int(classes))
        if found and shape[1:] != found[0].shape[1:]:
            raise GeometryError(
                f"The store {folder} has predictions of shape {shape}, the first one of shape "
                f"{found[0].shape}; all must be of the same samples and classes."
            )
        found.append(Source(str(folder), name, shape, arrays[name]["sha256"]))
    if not found:
        raise GeometryError("No store of predictions was given.")
    return found


@dataclass(frozen=True)
class Block:
    """Consecutive models of the matrix: parts (source, first, last) of one side of its tiles."""

    parts: tuple[tuple[Source, int, int], ...]

    @property
    def models(self) -> int:
        """How many models it has."""
        return sum(last - first for _, first, last in self.parts)

    def read(self, samples: slice) -> NDArray[np.float32]:
        """Root probabilities (models, samples, classes) of some samples."""
        found = [one.read(slice(first, last), samples) for one, first, last in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def key(self) -> str:
        """What its content is, whatever the stores are called."""
        content = [[one.digest, first, last] for one, first, last in self.parts]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def split_models(sources: Sequence[Source], side: int) -> list[Block]:
    """All models of the sources in blocks of ``side``, the last one smaller."""
    blocks: list[Block] = []
    parts: list[tuple[Source, int, int]] = []
    room = side
    for source in sources:
        first = 0
        while first < source.shape[0]:
            last = min(first + room, source.shape[0])
            parts.append((source, first, last))
            room -= last - first
            first = last
            if not room:
                blocks.append(Block(tuple(parts)))
                parts, room = [], side
    return [*blocks, Block(tuple(parts))] if parts else blocks


def sample_blocks(samples: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` samples."""
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))
