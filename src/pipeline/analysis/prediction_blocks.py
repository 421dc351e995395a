"""Predictions of all models of some runs, a block of samples and of models at a time.

What is made of them block by block needs memory for one block, however many samples and classes there are.

Source: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.bhattacharyya.sources import Source, split_models
from pipeline.geometry.bhattacharyya.tiles import parts
from pipeline.geometry.prediction_distances import prediction_distances

MODELS = 256  # of a block at most, as many as of a stored chunk
BLOCK_BYTES = 64_000_000  # of the float64 probabilities of a block
Array = NDArray[np.float64]


def sample_blocks(sources: Sequence[Source], beside: int = 0) -> Iterator[slice]:
    """All samples, a block at a time, of whole stored chunks where these are small enough.

    Arguments
    ---------
    sources: of all models, see ``stored_models.sources_of``.
    beside: points that are held at a time, where these are more than the models of a block.
    """
    first = sources[0]
    step = max(1, BLOCK_BYTES // (max(_models(first), beside) * 8 * first.stored_classes))
    if step > first.sample_chunk:
        step -= step % first.sample_chunk
    yield from parts(first.shape[1], step)


def predictions_of(
    sources: Sequence[Source], samples: slice, chosen: NDArray[np.int64] | None = None
) -> Iterator[tuple[slice, Array]]:
    """(places, p): the probabilities p (models, samples, classes) of some samples, some models at a time.

    Arguments
    ---------
    sources: of all models. chosen: indices of models, rising; None: all. places: of the models of p
    among the chosen.

    Raises GeometryError naming store, model and sample of what is no prediction.
    """
    first = 0
    for block in split_models(sources, _models(sources[0])):
        last = first + block.models
        picked = np.arange(first, last)
        places = slice(first, last)
        if chosen is not None:
            places = slice(*np.searchsorted(chosen, [first, last]).tolist())
            picked = chosen[places]
        if len(
            picked
        ):  # a stored chunk holds several models: all are read, even where few are chosen
            roots = block.read(samples)[picked - first]
            yield places, np.square(roots, dtype=np.float64)
        first = last


def distances_to_points(
    sources: Sequence[Source],
    points: Callable[[slice], Array],
    *,
    kind: str = "bhattacharyya",
    beside: int = 0,
) -> Array:
    """Distances (points, models) of all models to points: means over samples, from sums over blocks.

    Arguments
    ---------
    sources: of all models. points: samples -> the points' probabilities (points, samples, classes) there.
    kind: of distance, see ``prediction_distances``. beside: how many points there are.
    """
    models = sum(source.shape[0] for source in sources)
    total, count = np.zeros(()), 0
    for samples in sample_blocks(sources, beside):
        q, size = points(samples), samples.stop - samples.start
        found = np.empty((len(q), models))
        for places, p in predictions_of(sources, samples):
            found[:, places] = prediction_distances(q, p, kind=kind, threads=1)
        total, count = total + size * found, count + size
    return total / count


def _models(source: Source) -> int:
    """Models of a block: as many as keep a stored chunk of samples below the bytes of a block."""
    return int(np.clip(BLOCK_BYTES // (8 * source.sample_chunk * source.stored_classes), 1, MODELS))
