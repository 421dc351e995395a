"""InPCA of trajectories out of few or many corners of the simplex, as many trajectories each time.

Source: Mao et al., PNAS 121(12), 2024, App. E, Figs. S16, S17.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.stored_models import (
    Models,
    check_split,
    described,
    sources_of,
    stored_models,
    stored_predictions,
)
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya import pairwise_distances
from pipeline.geometry.bhattacharyya.stored import TILE, TileMatrix, measure_tiles
from pipeline.geometry.inpca import Embedding, embed
from pipeline.geometry.predictions import as_dataset
from pipeline.runs import Place, RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("split", "corners", "components", "moments", "side")
COMPONENTS = 50
MOMENTS = (0.0, 0.005)  # shares of the epochs, Fig. S17
Ints = NDArray[np.int64]
Array = NDArray[np.float64]


def _register_all() -> None:
    stress = "explained stress of this and all earlier components"
    whole = f"{stress}, of all models of the trajectories of a set"
    register("set_stress", ("corner_set", "component"), "float64", whole)
    near = "how many corners the trajectories of the set begin near"
    register("set_corners", ("corner_set",), "int64", near)
    dims = ("corner_set", "corner_moment", "moment_component")
    register("moment_stress", dims, "float64", f"{stress}, of the set's models at one moment")
    share = "part of the training done at the moment"
    register("moment_share", dims[1:2], "float64", share)
    largest = (
        "largest probability of a sample, mean over samples and over the set's models of the moment"
    )
    register("moment_largest", dims[:2], "float64", largest)


_register_all()


def corners(data: RunGroups, options: dict[str, Any], place: Place) -> xr.Dataset:
    """InPCA of trajectories that begin near some corners, and of their models at single moments, of each
    of several sets of trajectories.

    Options
    -------
    corners: K, how many of the corners a set draws on (all there are, if fewer; see ``trajectory_sets``).
    split: train (default) or test. components: how many (default 50).
    side: of tiles.
    moments: shares of the epochs; of each the first model from there on of each trajectory is embedded.

    Returns of each set ``set_stress`` (set, component), ``set_corners`` (set), ``moment_stress`` (set,
    moment, component) and ``moment_largest`` (set, moment); ``moment_share`` (moment); of the models of
    the first set alone ``inpca`` (model, component), ``eigenvalue``, ``signature``, ``explained_stress``
    (component) and their coordinates; attributes runs, corners (K), trajectories (of a set), networks
    (of all sets together), split.

    The distances are measured here and not kept: they are of these sets alone.
    """
    check_options("corners", options, OPTIONS)
    split = check_split(options.get("split", "train"))
    models = stored_models(data)
    count = options.get("corners", 1)
    sets = trajectory_sets(models, count)
    found = [_embedding(models, split, _joined(one), options, place) for one in sets]
    components = min(len(one.explained_stress) for one in found)  # some records may be fewer
    first = _joined(sets[0])
    near = [len({_corner(models, way) for way in one}) for one in sets]
    return (
        as_dataset(found[0])
        .isel(component=slice(components))
        .assign(
            set_stress=(
                ("corner_set", "component"),
                np.stack([one.explained_stress[:components] for one in found]),
            ),
            set_corners=(("corner_set",), np.array(near, dtype=np.int64)),
        )
        .assign(_moments(models, split, sets, options))
        .assign_coords({k: (dims, v[first]) for k, (dims, v) in models.coordinates().items()})
        .assign_attrs(
            **described(models.runs),
            corners=min(count, len({run.config["corner"] for run in models.runs})),
            trajectories=len(sets[0]),
            networks=sum(map(len, sets)),
            split=split,
        )
    )


def trajectory_sets(models: Models, count: Any) -> list[list[Ints]]:
    """Sets of trajectories that share none, all as large as there are trajectories out of one corner.

    The corners are taken ``count`` at a time, by number. The trajectories of such a group are dealt out
    to as many sets as it has corners: the corners take turns, so that a set has equally many out of
    each, up to one. Those of a corner are ordered by seed and configuration, and the k-th corner
    starts with its k-th, so that few of each corner are of several configurations. So every trajectory
    is in one set, but for those that a corner has more than another, and for the last corners where
    their number is no multiple of ``count``. A set of fewer trajectories than ``count`` begins near as
    many corners as it has trajectories.

    Arguments
    ---------
    count: of corners; all there are, if fewer.

    Returns of each set the models of each trajectory by rising update. Raises PipelineError for a count
    below 1 and for runs that do not begin near a corner.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise PipelineError(f"The option corners is {count!r}; valid is a whole number from 1 on.")
    if elsewhere := [run.name for run in models.runs if run.config.get("corner") is None]:
        raise PipelineError(
            f"The runs {', '.join(elsewhere)} begin near no corner; give runs with a corner."
        )
    of_corner: dict[int, list[tuple[int, int, Ints]]] = {}
    for place, seed, found in models.trajectories():
        corner = _corner(models, found)
        of_corner.setdefault(corner, []).append((seed, place, found))
    ways = [
        [found for _, _, found in sorted(of_corner[corner], key=lambda one: one[:2])]
        for corner in sorted(of_corner)
    ]
    size, together = min(map(len, ways)), min(count, len(ways))
    sets = []
    for first in range(0, len(ways) - together + 1, together):
        dealt = [
            ways[first + k][(turn + k) % size] for turn in range(size) for k in range(together)
        ]
        sets += [dealt[start : start + size] for start in range(0, len(dealt), size)]
    return sets


def _corner(models: Models, trajectory: Ints) -> int:
    return int(models.runs[models.run[trajectory[0]]].config["corner"])


def _joined(trajectories: list[Ints]) -> Ints:
    """All models of some trajectories, rising."""
    return np.sort(np.concatenate(trajectories))


def _embedding(
    models: Models, split: str, chosen: Ints, options: dict[str, Any], place: Place
) -> Embedding:
    components = min(int(options.get("components", COMPONENTS)), len(chosen))
    place.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.cache) as folder:
        measure_tiles(
            sources_of(models, split, chosen),
            Path(folder) / "matrix",
            place.record,
            side=int(options.get("side", TILE)),
        )
        matrix = TileMatrix(Path(folder) / "matrix", place.threads)
        return matrix.embed(components, seed=options["seed"])


def _moments(
    models: Models, split: str, sets: list[list[Ints]], options: dict[str, Any]
) -> dict[str, Any]:
    """``moment_stress``, ``moment_share`` and ``moment_largest``."""
    shares = np.asarray(options.get("moments", MOMENTS), dtype=np.float64)
    components = min(int(options.get("components", COMPONENTS)), len(sets[0]))
    stress = np.empty((len(sets), shares.size, components))
    largest = np.empty((len(sets), shares.size))
    for row, trajectories in enumerate(sets):
        at = np.stack([_probabilities(models, split, one, shares) for one in trajectories], axis=1)
        for column, p in enumerate(at):
            made = embed(pairwise_distances(p, threads=1), components, seed=options["seed"])
            stress[row, column] = made.explained_stress
            largest[row, column] = p.max(axis=2).mean()
    dims = ("corner_set", "corner_moment", "moment_component")
    return {
        "moment_stress": (dims, stress),
        "moment_share": (dims[1:2], shares),
        "moment_largest": (dims[:2], largest),
    }


def _probabilities(models: Models, split: str, trajectory: Ints, shares: Array) -> Array:
    """(shares, samples, classes) of the first models from shares of the epochs on; of the last, if none
    is. The store is read once: a chunk holds all models.
    """
    place = int(models.run[trajectory[0]])
    run = models.runs[place]
    epochs = models.epoch[trajectory]
    there = epochs >= shares[:, None] * int(run.config["epochs"]) - 1e-9
    chosen = trajectory[np.where(there.any(axis=1), there.argmax(axis=1), len(trajectory) - 1)]
    roots = stored_predictions(run, split)["root_probabilities"]
    wanted, places = np.unique(chosen - models.first_of_run[place], return_inverse=True)
    return np.square(roots.isel(model=wanted).values[places], dtype=np.float64)
