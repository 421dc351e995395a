"""Where the predictions of a matrix of distances come from: arrays of stores, one after another.

Root probabilities are stored in float32: distances have errors of 2e-8 from it. Only probabilities
below 1e-76 (roots below float32's normal range) lose digits, and with them distances above 87, by up
to 1e-5 of their value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.mixtures import mixed_classes
from pipeline.geometry.bhattacharyya.predictions import first_bad_sample
from pipeline.store import manifest


@dataclass(frozen=True)
class Source:
    """Root probabilities (models, samples, classes) of one store.

    folder: of the store; name: of the array; shape: of the chosen models; digest: SHA-256 of the array,
    from the manifest. chosen: indices of the models, in order; None: all. sample_chunk: samples of a
    stored chunk. mixture: by which class probabilities are multiplied (see ``with_mixture``); None: as
    they are stored.
    """

    folder: str
    name: str
    shape: tuple[int, int, int]
    digest: str
    chosen: tuple[int, ...] | None = None
    sample_chunk: int = 1
    mixture: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def stored_classes(self) -> int:
        """Classes of the array, which are read where mixtures of them are asked for."""
        return self.shape[2] if self.mixture is None else self.mixture.shape[1]

    def read(self, first: int, last: int, samples: slice) -> NDArray[np.float32]:
        """Models first to last - 1 of the chosen ones, (models, samples, classes).

        Raises GeometryError naming store, model and sample where squares are no probabilities: NaN
        would else become a distance of 0.
        """
        import zarr

        array: Any = zarr.open_array(manifest.zarr_path(self.folder) / self.name, mode="r")
        if self.chosen is None:
            found = np.asarray(array[first:last, samples])
            models: Sequence[int] = range(first, last)
        else:
            models = self.chosen[first:last]
            found = np.asarray(array.oindex[list(models), samples])  # each chunk once
        bad, sample = first_bad_sample(found, rooted=True)
        if bad >= 0:
            raise GeometryError(
                f"{self.name}[{models[bad]}, {sample + (samples.start or 0)}] of the store {self.folder} "
                "are no roots of probabilities that sum to 1; leave this model out, or make the store "
                "anew."
            )
        if self.mixture is None:
            return found
        mixed = mixed_classes(np.square(found, dtype=np.float64), self.mixture)
        return np.sqrt(mixed).astype(np.float32)


def prediction_sources(
    folders: Sequence[Path | str],
    name: str,
    chosen: Mapping[str, Sequence[int]] | None = None,
) -> list[Source]:
    """The sources of some stores, in order.

    Arguments
    ---------
    name: of their array of root probabilities. chosen: folder -> indices of the models that enter;
        those of other folders all do.

    Raises StoreError for a store without manifest, GeometryError where one has no such array, other
    samples or other classes than the first.
    """
    if unknown := sorted(set(chosen or {}) - {str(folder) for folder in folders}):
        raise GeometryError(
            f"Models were chosen of {', '.join(unknown)}, which is not among the stores; valid are "
            f"{', '.join(map(str, folders))}."
        )
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
        some = _chosen(str(folder), shape[0], chosen)
        count = shape[0] if some is None else len(some)
        if count:
            sized = (count, *shape[1:])
            chunk = int(arrays[name]["chunks"][1])
            found.append(Source(str(folder), name, sized, arrays[name]["sha256"], some, chunk))
    if not found:
        raise GeometryError("No store of predictions was given.")
    return found


def _chosen(
    folder: str, models: int, chosen: Mapping[str, Sequence[int]] | None
) -> tuple[int, ...] | None:
    if chosen is None or folder not in chosen:
        return None
    some = tuple(int(one) for one in chosen[folder])
    if any(not 0 <= one < models for one in some):
        raise GeometryError(
            f"Models {some} of the store {folder} were chosen; valid are 0 to {models - 1}."
        )
    return some


def with_mixture(sources: Sequence[Source], mixture: NDArray[np.float64] | None) -> list[Source]:
    """The sources with class probabilities multiplied by a matrix (count, classes); None: unchanged."""
    if mixture is None:
        return list(sources)
    content = np.ascontiguousarray(mixture, dtype="<f8").tobytes()
    return [
        replace(
            one,
            shape=(*one.shape[:2], len(mixture)),
            digest=hashlib.sha256(one.digest.encode() + content).hexdigest(),
            mixture=mixture,
        )
        for one in sources
    ]


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
        found = [one.read(first, last, samples) for one, first, last in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def key(self) -> str:
        """What its content is, whatever the stores are called."""
        content = [[one.digest, one.chosen, first, last] for one, first, last in self.parts]
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
