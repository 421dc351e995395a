"""Which samples of stored predictions count, and how they are read: each stored chunk once.

A part of a chunk costs as much to read as all of it, so scattered samples are picked out of whole chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.sources import Block
from pipeline.geometry.bhattacharyya.tiles import parts

Runs = tuple[tuple[int, int], ...]  # first and last + 1 of consecutive samples
# Samples that are worked on together: what is read, and which of it count (None: all).
Group = list[tuple[slice, NDArray[np.int64] | None]]


def sample_runs(total: int, samples: Sequence[int] | NDArray[np.int64] | None) -> Runs:
    """Runs of consecutive samples among ``total``; None: all. GeometryError for what is no choice of them."""
    if samples is None:
        return ((0, total),)
    chosen = np.asarray(samples, dtype=np.int64)
    if chosen.ndim != 1 or not chosen.size or (np.diff(chosen) <= 0).any():
        raise GeometryError("samples must be rising indices, at least one.")
    if chosen[0] < 0 or chosen[-1] >= total:
        raise GeometryError(
            f"Samples {chosen[0]} to {chosen[-1]} chosen; valid are 0 to {total - 1}."
        )
    cuts = np.flatnonzero(np.diff(chosen) > 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(chosen, cuts))


def sample_groups(runs: Runs, chunk: int, step: int) -> list[Group]:
    """All samples of the runs in groups of at most ``step``.

    Arguments
    ---------
    chunk: samples of a stored chunk. step: of a group; a multiple of ``chunk``, or less than one.
    """
    if len(runs) == 1:
        first, last = runs[0]
        return [
            [(slice(first + one.start, first + one.stop), None)]
            for one in parts(last - first, step)
        ]
    chosen = np.concatenate([np.arange(first, last) for first, last in runs])
    window = min(chunk, step)
    groups: list[Group] = [[]]
    held = 0
    for mine in np.split(chosen, np.flatnonzero(np.diff(chosen // window)) + 1):
        if held and held + len(mine) > step:
            groups, held = [*groups, []], 0
        first, last = int(mine[0]), int(mine[-1]) + 1
        groups[-1].append((slice(first, last), None if len(mine) == last - first else mine - first))
        held += len(mine)
    return groups


def count_of(group: Group) -> int:
    """How many samples a group holds."""
    return sum(read.stop - read.start if some is None else len(some) for read, some in group)


def read_group(block: Block, group: Group) -> NDArray[np.float32]:
    """Root probabilities (models, samples, classes) of a group of samples."""
    found = [
        block.read(read) if some is None else block.read(read)[:, some] for read, some in group
    ]
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)
