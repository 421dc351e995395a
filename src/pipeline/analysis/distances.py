"""The matrix of distances of all models of some runs, as tiles in a store of its own.

Source: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.stored_models import check_split, described, sources_of, stored_models
from pipeline.errors import PipelineError
from pipeline.execution.dask_workers import dask_workers
from pipeline.geometry.bhattacharyya.mixtures import random_mixture
from pipeline.geometry.bhattacharyya.sources import with_mixture
from pipeline.geometry.bhattacharyya.stored import TILE, measure_tiles
from pipeline.runs import Place, RunGroups, check_options
from pipeline.seeds import generator

OPTIONS = ("split", "kind", "samples", "side", "mixed_classes")


def distances(data: RunGroups, options: dict[str, Any], place: Place) -> None:
    """Distances of all pairs of models of all runs, written to ``place.folder`` (see ``measure_tiles``).

    Options
    -------
    split: train or test. kind: of distance (default bhattacharyya; see ``prediction_distances``).
    samples: how many of the samples count, drawn at random without regard to class; null (default): all.
    side: models on a side of a tile. mixed_classes: as many random mixtures take the place of the classes,
    whose probabilities are multiplied by a random matrix with columns of sum 1 (see ``drawn_mixture``);
    null (default): the classes themselves.

    Tiles whose models have not changed come from the cache in ``place.cache``: new runs cost only the
    pairs that they are part of.
    """
    check_options("distances", options, OPTIONS)
    split = check_split(options.get("split"))
    models = stored_models(data)
    sources, mixed = sources_of(models, split), options.get("mixed_classes")
    mixture = drawn_mixture(mixed, sources[0].shape[2], options["seed"])
    sources = with_mixture(sources, mixture)
    chosen = chosen_samples(options.get("samples"), sources[0].shape[1], options["seed"])
    attrs = {"split": split, **described(models.runs)}
    if mixed:
        attrs["mixed_classes"] = mixed
    with dask_workers(place.dask):
        measure_tiles(
            sources,
            place.folder,
            place.record,
            kind=str(options.get("kind", "bhattacharyya")),
            samples=chosen,
            side=int(options.get("side", TILE)),
            cache=place.cache / "tiles",
            attrs=attrs,
        )


def drawn_mixture(count: Any, classes: int, seed: int) -> NDArray[np.float64] | None:
    """A random matrix (count, classes) with columns of sum 1, uniform on the simplex; None for null.

    Arguments
    ---------
    seed: the root seed: the same numbers give the same matrix.

    Raises PipelineError for what is no number of classes.
    """
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise PipelineError(
            f"The option mixed_classes is {count!r}; valid are null and 2 or more classes."
        )
    return random_mixture(classes, count, generator(seed, "mixture", count, "analysis"))


def chosen_samples(count: Any, total: int, seed: int) -> NDArray[np.int64] | None:
    """``count`` of ``total`` samples at random, rising; None for null. PipelineError out of range."""
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= total:
        raise PipelineError(
            f"The option samples is {count!r}; valid are null and 1 to {total}, the samples that there "
            "are."
        )
    drawn = generator(seed, "samples", count, "analysis").choice(total, count, replace=False)
    return np.sort(drawn)
