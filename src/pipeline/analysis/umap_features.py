"""UMAP of recorded activations, one embedding per moment and kind of manifold.

Source: Stephenson et al., ICLR 2021, Figs. 2B, A.2; McInnes, Healy & Melville, arXiv:1802.03426.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import pipeline.classifiers.variables  # noqa: F401  registers recorded_seed
from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs, check_options
from pipeline.seeds import generator
from pipeline.store.variables import register

COMPONENTS = 2
NEIGHBOURS = 15  # umap-learn's own; the paper states neither
MIN_DIST = 0.1
FEWEST = 4  # points that are embedded at all
OPTIONS = ("layers", "neighbours", "min_dist")
Array = NDArray[np.float64]

register(
    "umap",
    ("run", "recorded_seed", "moment", "layer", "point", "component"),
    "float64",
    "UMAP embedding of the points of one kind at one moment; NaN: no such point",
)
for _name, _meaning in (
    ("umap_kind", "kind of manifold of the point (attribute kinds)"),
    ("umap_class", "manifold of the point"),
):
    register(_name, ("run", "recorded_seed", "point"), "int64", _meaning)
register("umap_epoch", ("run", "recorded_seed", "moment"), "int64", "epoch of the moment", "epochs")


def umap_features(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """An embedding of each layer, moment, kind of manifold, seed and run.

    Arguments
    ---------
    data: runs with recorded_activations, point_kind, point_class, point_sample.
    options: ``layers``, names (the last two with weights but the read-out); ``neighbours`` (15; of
        fewer points, all but one), ``min_dist`` (0.1); ``seed``.

    Returns umap (run, recorded_seed, moment, layer, point, component), umap_kind, umap_class,
    umap_epoch; attributes runs, kinds, moments, layer_names. Raises PipelineError for layers that were
    not recorded.
    """
    check_options("umap_features", options, OPTIONS)
    runs = all_runs(data)
    names = options.get("layers") or list(runs[0].trajectories.attrs["weight_layers"])[-3:-1]
    parts = [_embed_run(run, names, options) for run in runs]
    found = xr.concat(parts, dim="run", combine_attrs="drop")
    attrs = runs[0].trajectories.attrs
    return found.assign_attrs(
        runs=[run.name for run in runs],
        kinds=list(attrs["kinds"]),
        moments=list(attrs["moments"]),
        layer_names=list(names),
    )


def embed(
    values: NDArray[Any], seed: int, neighbours: int = NEIGHBOURS, min_dist: float = MIN_DIST
) -> Array:
    """UMAP of points in two dimensions (kernel); the same bits for the same arguments.

    Arguments
    ---------
    values: (points, features), finite. seed: of its random state. neighbours: of each point, at most
        all others.

    Returns (points, 2) float64; NaN for fewer than ``FEWEST`` points.
    """
    if len(values) < FEWEST:
        return np.full((len(values), COMPONENTS), np.nan)
    with warnings.catch_warnings():
        # Of a part of the library that is not used here.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        import umap
    random = int(generator(seed, "umap", 0, "analysis").integers(2**31))
    reducer = umap.UMAP(
        n_components=COMPONENTS,
        n_neighbors=min(neighbours, len(values) - 1),
        min_dist=min_dist,
        random_state=random,
        n_jobs=1,
        # the spectral start has no eigenvectors for a handful of points
        init="spectral" if len(values) > 2 * COMPONENTS + 2 else "random",
    )
    found: Array = np.asarray(reducer.fit_transform(values), dtype=np.float64)
    return found


def _embed_run(run: Run, names: list[str], options: dict[str, Any]) -> xr.Dataset:
    stored = run.trajectories
    layers = list(stored.attrs.get("layers", []))
    missing = [
        name
        for name in names
        if name not in layers or f"recorded_activations_{layers.index(name) + 1}" not in stored
    ]
    if missing:
        recorded = [
            name
            for number, name in enumerate(layers, 1)
            if f"recorded_activations_{number}" in stored
        ]
        raise PipelineError(
            f"Run {run.name} has no recorded activations of {', '.join(missing)}; recorded are: "
            f"{', '.join(recorded) or 'none'}."
        )
    kinds, classes = stored["point_kind"].values, stored["point_class"].values
    there = stored["point_sample"].values >= 0
    epochs = stored["moment_epoch"].values
    shape = (*epochs.shape, len(names), kinds.shape[1], COMPONENTS)
    found = np.full(shape, np.nan)
    more = {key: options[key] for key in ("neighbours", "min_dist") if key in options}
    for index, name in enumerate(names):
        values = stored[f"recorded_activations_{layers.index(name) + 1}"]
        for seed, moment in np.ndindex(epochs.shape):
            features = np.asarray(values[seed, moment].values)
            for kind in np.unique(kinds[seed]):
                mine = (kinds[seed] == kind) & there[seed]
                if np.isfinite(features[mine]).all():  # of a diverged network there are none
                    placed = embed(features[mine], int(options.get("seed", 0)), **more)
                    found[seed, moment, index, mine] = placed
    per_seed = ("recorded_seed", "moment")
    return xr.Dataset(
        {
            "umap": ((*per_seed, "layer", "point", "component"), found),
            "umap_kind": (("recorded_seed", "point"), kinds),
            "umap_class": (("recorded_seed", "point"), classes),
            "umap_epoch": (per_seed, epochs),
        },
        coords={"recorded_seed": stored["recorded_seed"].values},
    )
