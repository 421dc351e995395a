"""Embeddings from few of the samples, and how well they hold the distances of all of them.

Source: Mao et al., PNAS 121(12), 2024, App. C.4, Figs. 6b, S3, S4.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding import matrix_of
from pipeline.analysis.stored_models import described, sources_of, stored_models
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya.stored import TileMatrix, measure_tiles
from pipeline.geometry.inpca import Embedding
from pipeline.runs import Place, RunGroups, check_options
from pipeline.seeds import generator
from pipeline.store.variables import register

OPTIONS = ("counts", "draws", "components")
COUNTS, DRAWS, COMPONENTS = (10, 30, 100, 300, 1000), 5, 10
SHOWN = 3  # components whose coordinates are kept


def _register_all() -> None:
    register("subset_samples", ("subset",), "int64", "samples that the embedding is made of")
    what = "pairwise distance of all samples explained by this and all earlier components"
    register("subset_explained_distance", ("subset", "draw", "component"), "float64", what)
    where = "coordinate of the model's predictions of all samples, first draw"
    register("subset_inpca", ("subset", "model", "component_shown"), "float64", where)


_register_all()


def subsets(data: RunGroups, options: dict[str, Any], place: Place) -> xr.Dataset:
    """Embeddings from random subsets of the samples, into which the models are put by their distances on
    all samples.

    Options
    -------
    counts: samples of a subset (default 10, 30, 100, 300, 1000); those that are not below all are left
    out. draws: subsets of each size (default 5). components: default 10, at most all.
    The one analysis that is needed is the distances on all samples, which say the split and kind.

    Returns ``subset_samples`` (subset), ``subset_explained_distance`` (subset, draw, component),
    ``subset_inpca`` (subset, model, component_shown) and the models' coordinates; attributes split, kind,
    samples (of all) and runs. Matrices of subsets are not kept. Raises PipelineError where no count is
    below the number of samples, and for draws below 1.
    """
    check_options("subsets", options, OPTIONS)
    models = stored_models(data)
    matrix = matrix_of(data, models)
    split, kind = matrix.store.attrs["split"], matrix.store.attrs["kind"]
    sources = sources_of(models, split)
    total = sources[0].shape[1]
    given, draws = options.get("counts", COUNTS), int(options.get("draws", DRAWS))
    counts = sorted({int(count) for count in given if 1 <= count < total})
    if not counts or draws < 1:
        raise PipelineError(
            f"subsets: counts {list(given)} and draws {draws} given; valid are counts from 1 to "
            f"{total - 1}, below the {total} {split} samples, and draws from 1 on."
        )
    components = min(int(options.get("components", COMPONENTS)), matrix.models)
    shown = min(SHOWN, components)
    shares = np.empty((len(counts), draws, components))
    coordinates = np.empty((len(counts), len(models), shown))
    for row, count in enumerate(counts):
        for draw in range(draws):
            chosen = drawn_samples(count, total, options["seed"], draw)
            made = _embedding(sources, chosen, kind, components, options["seed"], place)
            moved = made.transform_tiles(matrix.multiply)
            shares[row, draw] = matrix.explained_distances(moved, made.signature)
            if draw == 0:
                coordinates[row] = moved[:, :shown]
    return xr.Dataset(
        {
            "subset_samples": (("subset",), np.array(counts, dtype=np.int64)),
            "subset_explained_distance": (("subset", "draw", "component"), shares),
            "subset_inpca": (("subset", "model", "component_shown"), coordinates),
        },
        coords=models.coordinates(),
        attrs={"split": split, "kind": kind, "samples": total, **described(models.runs)},
    )


def drawn_samples(count: int, total: int, seed: int, draw: int) -> NDArray[np.int64]:
    """``count`` of ``total`` samples at random without regard to class, rising."""
    random = generator(seed, f"samples_{count}", draw, "analysis")
    return np.sort(random.choice(total, count, replace=False))


def _embedding(
    sources: Any, chosen: NDArray[np.int64], kind: str, components: int, seed: int, place: Place
) -> Embedding:
    """InPCA of the distances on some samples, whose matrix lives only as long as this takes."""
    place.cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.cache, prefix="subset_") as folder:
        store = Path(folder) / "distances"
        measure_tiles(sources, store, place.record, kind=kind, samples=chosen)
        return TileMatrix(store).embed(components, seed=seed)
