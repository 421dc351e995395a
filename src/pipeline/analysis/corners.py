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
from pipeline.geometry.inpca import embed, embed_tiles
from pipeline.geometry.inpca.krylov import Sums
from pipeline.geometry.predictions import as_dataset
from pipeline.runs import Place, RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("split", "corners", "components", "moments", "side")
COMPONENTS = 50
MOMENTS = (0.0, 0.005)  # shares of the epochs, Fig. S17
Ints = NDArray[np.int64]


def _register_all() -> None:
    dims = ("corner_moment", "moment_component")
    stress = "explained stress of this and all earlier components, of the models at one moment"
    register("moment_stress", dims, "float64", stress)
    share = "part of the training done at the moment"
    register("moment_share", dims[:1], "float64", share)
    largest = "largest probability of a sample, mean over samples and models of the moment"
    register("moment_largest", dims[:1], "float64", largest)


_register_all()


def corners(data: RunGroups, options: dict[str, Any], place: Place) -> xr.Dataset:
    """InPCA of the trajectories that begin near some corners, and of their models at single moments.

    Options
    -------
    corners: K, how many of the corners (all there are, if fewer; see ``choose_trajectories``).
    split: train (default) or test. components: how many (default 50). side: of tiles.
    moments: shares of the epochs; of each the first model from there on of each trajectory is embedded.

    Returns ``inpca`` (model, component), ``eigenvalue``, ``signature`` and ``explained_stress``
    (component), the models' coordinates, and of the moments ``moment_stress`` (moment, component),
    ``moment_share`` and ``moment_largest`` (moment); attributes runs, corners, trajectories, split.

    The distances are measured here and not kept: they are of this choice of models alone.
    """
    check_options("corners", options, OPTIONS)
    split = check_split(options.get("split", "train"))
    models = stored_models(data)
    trajectories = choose_trajectories(models, options.get("corners", 1))
    chosen = np.sort(np.concatenate(trajectories))
    known = {name: (dims, values[chosen]) for name, (dims, values) in models.coordinates().items()}
    found = _embedding(models, split, chosen, options, place)
    used = {int(models.runs[models.run[one[0]]].config["corner"]) for one in trajectories}
    return (
        found.assign(_moments(models, split, trajectories, options))
        .assign_coords(known)
        .assign_attrs(
            **described(models.runs),
            corners=sorted(used),
            trajectories=len(trajectories),
            split=split,
        )
    )


def choose_trajectories(models: Models, count: Any) -> list[Ints]:
    """Trajectories out of ``count`` corners, in all as many as begin near one corner; at least one each.

    The corners take turns. Those of one corner are ordered by seed and configuration, and the k-th
    corner starts with its k-th, so that few from each corner are of several configurations.

    Arguments
    ---------
    count: of corners, the first by number; all there are, if fewer.

    Returns the models of each trajectory by rising update. Raises PipelineError for a count below 1 and
    for runs that do not begin near a corner.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise PipelineError(f"The option corners is {count!r}; valid is a whole number from 1 on.")
    if elsewhere := [run.name for run in models.runs if run.config.get("corner") is None]:
        raise PipelineError(
            f"The runs {', '.join(elsewhere)} begin near no corner; give runs with a corner."
        )
    of_corner: dict[int, list[tuple[int, int, Ints]]] = {}
    for place, seed, found in models.trajectories():
        corner = int(models.runs[place].config["corner"])
        of_corner.setdefault(corner, []).append((seed, place, found))
    several = [
        [found for _, _, found in sorted(of_corner[corner], key=lambda one: one[:2])]
        for corner in sorted(of_corner)
    ]
    wanted = min(len(one) for one in several)
    several = several[:count]
    total = max(wanted, len(several))
    return [
        several[k % len(several)][(k // len(several) + k % len(several)) % wanted]
        for k in range(total)
    ]


def _embedding(
    models: Models, split: str, chosen: Ints, options: dict[str, Any], place: Place
) -> xr.Dataset:
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
        sums = Sums(matrix.rows, matrix.squares)
        made = embed_tiles(matrix.multiply, sums, components, seed=options["seed"])
    return as_dataset(made)


def _moments(
    models: Models, split: str, trajectories: list[Ints], options: dict[str, Any]
) -> dict[str, Any]:
    """``moment_stress``, ``moment_share`` and ``moment_largest``."""
    shares = np.asarray(options.get("moments", MOMENTS), dtype=np.float64)
    components = min(int(options.get("components", COMPONENTS)), len(trajectories))
    stress, largest = np.empty((shares.size, components)), np.empty(shares.size)
    for row, share in enumerate(shares):
        p = np.stack([_probabilities(models, split, one, share) for one in trajectories])
        distances = pairwise_distances(p, threads=1)
        stress[row] = embed(distances, components, seed=options["seed"]).explained_stress
        largest[row] = p.max(axis=2).mean()
    dims = ("corner_moment", "moment_component")
    return {
        "moment_stress": (dims, stress),
        "moment_share": (dims[:1], shares),
        "moment_largest": (dims[:1], largest),
    }


def _probabilities(
    models: Models, split: str, trajectory: Ints, share: float
) -> NDArray[np.float64]:
    """(samples, classes) of the first model from a share of the epochs on; of the last, if none is."""
    run = models.runs[models.run[trajectory[0]]]
    there = models.epoch[trajectory] >= share * int(run.config["epochs"]) - 1e-9
    model = trajectory[int(np.argmax(there))] if there.any() else trajectory[-1]
    first = int(np.searchsorted(models.run, models.run[model]))
    roots = stored_predictions(run, split)["root_probabilities"].isel(model=int(model) - first)
    return np.square(roots.values, dtype=np.float64)
