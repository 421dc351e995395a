"""Manifold capacity along layers, checkpoints, seeds and kinds of manifold: the Dask and xarray
side.

Nothing here computes geometry by itself. Each cell (checkpoint, seed, layer, kind) is one task of
its own that reads the points of its manifolds, in blocks of samples where a layer is wide, so that
stores larger than memory can be measured. All cells share their random streams: differences between
them are less noisy than the values.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.data.labels import NO_MANIFOLD
from pipeline.errors import GeometryError
from pipeline.geometry.capacity.checks import check_whole
from pipeline.geometry.capacity.dimensions import total_dimension
from pipeline.geometry.capacity.manifolds import check_options, manifold_capacity
from pipeline.geometry.capacity.projection import DIRECTIONS, project_points
from pipeline.geometry.trajectories import stored_layers
from pipeline.seeds import generator
from pipeline.store.variables import register

POINTS = 50  # M, points of each manifold; Stephenson et al., ICLR 2021, Sec. 3.2
BLOCK_BYTES = 1 << 28  # of activations held at a time while they are projected

COORDINATES = ("checkpoint_epoch", "stored_seed")
CELL = ("seed", "checkpoint", "layer", "kind")
EACH = {
    "capacity": "capacity alpha of the manifold, mean-field theory",
    "radius": "radius of the manifold's anchor points about their mean, relative to its centre's distance",
    "dimension": "dimension of the manifold, D <cos(t, s)>^2",
    "radius_paper": "radius of the manifold's anchor points, sqrt <|s|^2>",
    "dimension_paper": "dimension of the manifold, <(t.s^)^2>",
}
SET = {
    "mean_capacity": "inverse mean of the capacities of all manifolds",
    "center_correlation": "mean |cos| of pairs of centres",
    "residual_correlation": "the same once the common structure of the centres is removed",
    "participation_ratio": "participation ratio of all points",
}
COUNTS = {
    "K": ("directions of common structure removed from the centres", "directions"),
    "explained_dimension": (
        "principal components that hold 90 % of the variance of all points",
        "components",
    ),
    "manifold_points": ("points M of each manifold", "points"),
    "resolved": ("problems solved again with higher accuracy", "problems"),
    "unconverged": ("restarts of the centre structure that did not converge", "restarts"),
}


def _register_all() -> None:
    register(
        "kind",
        ("kind",),
        "int64",
        "kind of manifold, named by the attribute kinds",
        coordinate=True,
    )
    register("manifold", ("manifold",), "int64", "class of the manifold", coordinate=True)
    for name, meaning in EACH.items():
        register(name, (*CELL, "manifold"), "float64", meaning, per_run=True)
    for name, meaning in SET.items():
        register(name, CELL, "float64", meaning, per_run=True)
    for name, (meaning, units) in COUNTS.items():
        register(name, CELL, "int64", meaning, units, per_run=True)
    register(
        "defined",
        CELL,
        "bool",
        "whether the manifolds have a capacity; if not, see the attribute undefined",
        per_run=True,
    )


_register_all()


def choose_points(
    classes: NDArray[Any], manifolds: int, points: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Samples of each manifold, (P, M) indices: M of each class at random, without repetition.

    M is ``points``, or the number of samples in the smallest class if that is less (0 where a class
    is empty).

    Arguments
    ---------
    classes: (sample,) class 0 .. P-1 of each sample; -1: in no manifold. manifolds: P.
    """
    found = [np.flatnonzero(classes == label) for label in range(manifolds)]
    size = min([points, *(len(samples) for samples in found)])
    drawn = [np.sort(random.permutation(samples)[:size]) for samples in found]
    return np.array(drawn, dtype=np.int64).reshape(len(found), size)


def measure_capacity(
    trajectories: xr.Dataset,
    classes: xr.DataArray,
    points: int = POINTS,
    seed: int = 0,
    layers: int | Sequence[int] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Capacity, radius and dimension of every kind of manifold in every layer, checkpoint and seed.

    Arguments
    ---------
    trajectories: a run's store: ``activations_<l>`` (checkpoint, stored_seed, sample, unit_<l>) in
        any chunks, or in memory, and the coordinates checkpoint_epoch and stored_seed.
    classes: (kind, stored_seed, sample), class 0 .. P-1 of each sample in each kind of manifold, -1
        where it belongs to none; its coordinate ``kind`` names the kinds.
    points: M, of each manifold; where a class has fewer samples, the smallest class decides, see
        ``manifold_points`` of the result.
    seed: of the streams of the samples, projections, restarts and Gaussian vectors.
    layers: number of the layer, or of layers, that are measured; all that are stored by default.
    options: further arguments of ``manifold_capacity``.

    Returns the registered variables over (seed, checkpoint, layer, kind[, manifold]), computed. Where a
    cell has no capacity (a class without samples, silent units, a diverged network) ``defined`` is
    false, its numbers are NaN, its counts (but ``manifold_points``) -1, and the attribute ``undefined`` says
    why. Raises GeometryError for shapes that do not fit and for wrong options.
    """
    import dask

    check_options(**options)
    check_whole("seed", seed, 0)
    activations = _activations(trajectories, layers)
    _check_stack(activations, classes, points)
    kinds = [str(kind) for kind in classes["kind"].values]
    seeds = np.asarray(trajectories["stored_seed"].values, dtype=np.int64)
    epochs = np.asarray(trajectories["checkpoint_epoch"].values, dtype=np.int64)
    manifolds = int(classes.max()) + 1
    ordered = classes.transpose("kind", "stored_seed", "sample").values.astype(np.int64)
    chosen = {
        (kind, index): choose_points(
            ordered[kind, index],
            manifolds,
            points,
            points_stream(seed, kinds[kind], seeds[index]),
        )
        for kind, index in itertools.product(range(len(kinds)), range(len(seeds)))
    }
    cells = list(
        itertools.product(range(len(seeds)), range(len(epochs)), activations, range(len(kinds)))
    )
    tasks = [
        _cell_task(activations[layer][epoch, index], chosen[kind, index], seed, options)
        for index, epoch, layer, kind in cells
    ]
    shape = (len(seeds), len(epochs), len(activations), len(kinds))
    found = list(dask.compute(*tasks))
    reasons = [
        f"seed {seeds[index]}, epoch {epochs[epoch]}, layer {layer}, {kinds[kind]}: {result}"
        for (index, epoch, layer, kind), result in zip(cells, found, strict=True)
        if isinstance(result, str)
    ]
    coords: dict[str, Any] = {
        "seed": seeds,
        "checkpoint_epoch": ("checkpoint", epochs),
        "layer": list(activations),
        "kind": np.arange(len(kinds)),
        "manifold": np.arange(manifolds),
    }
    data = _assemble(found, shape, manifolds)
    counts = [chosen[kind, index].shape[1] for index, _, _, kind in cells]
    data["manifold_points"] = (CELL, np.array(counts, dtype=np.int64).reshape(shape))
    return xr.Dataset(data, coords=coords, attrs={"kinds": kinds, "undefined": reasons})


def _activations(
    trajectories: xr.Dataset, layers: int | Sequence[int] | None
) -> dict[int, xr.DataArray]:
    """Layer -> activations of the layers asked for; GeometryError lists those that are stored."""
    missing = [name for name in COORDINATES if name not in trajectories.coords]
    if missing:
        raise GeometryError(
            f"The trajectories lack the coordinates {', '.join(missing)}; open the store of a run."
        )
    stored = stored_layers(trajectories)
    if isinstance(layers, int):
        layers = [layers]
    wanted = stored if layers is None else list(layers)
    if not wanted or set(wanted) - set(stored):
        valid = ", ".join(map(str, stored)) or "none"
        raise GeometryError(f"Layers {wanted} asked for; layers with stored activations: {valid}.")
    return {layer: trajectories[f"activations_{layer}"] for layer in wanted}


def _cell_task(
    cell: xr.DataArray, chosen: NDArray[np.int64], seed: int, options: dict[str, Any]
) -> Any:
    """The delayed measurement of one cell: dict of numbers, or the reason why there are none."""
    import dask
    import dask.array as da

    if not chosen.size:
        return dask.delayed(str)("a class has no sample of this kind")
    samples = np.unique(chosen)
    values = da.asarray(cell.data)[samples].rechunk({1: -1})
    directions = options.get("directions", DIRECTIONS)
    if values.shape[1] <= directions:
        pieces = list(values.to_delayed()[:, 0])
    else:
        rows = max(1, BLOCK_BYTES // (values.shape[1] * values.dtype.itemsize))
        pieces = [
            dask.delayed(_project_pieces)(list(block.to_delayed()[:, 0]), directions, seed)
            for block in (values[start : start + rows] for start in range(0, len(samples), rows))
        ]
    return dask.delayed(_measure_cell)(pieces, np.searchsorted(samples, chosen), seed, options)


def _project_pieces(pieces: list[NDArray[Any]], directions: int, seed: int) -> NDArray[Any]:
    """Projection of the samples of several pieces (samples, units), which are not copied together."""
    return project_points([piece.T for piece in pieces], directions, seed).T


def _measure_cell(
    pieces: list[NDArray[Any]], chosen: NDArray[np.int64], seed: int, options: dict[str, Any]
) -> dict[str, Any] | str:
    """Numbers of one cell: ``pieces`` (samples, units), ``chosen`` (P, M) rows of all of them."""
    values = np.concatenate(pieces)
    pieces.clear()
    try:
        found = manifold_capacity([values[rows].T for rows in chosen], seed=seed, **options)
        total = total_dimension(values.T)
    except GeometryError as error:
        return str(error)
    names = (
        *EACH,
        "mean_capacity",
        "center_correlation",
        "residual_correlation",
        "K",
        "resolved",
        "unconverged",
    )
    return {
        **{name: getattr(found, name) for name in names},
        **total._asdict(),
    }


def _assemble(
    found: Sequence[dict[str, Any] | str], shape: tuple[int, ...], manifolds: int
) -> dict[str, Any]:
    """Variables over (seed, checkpoint, layer, kind[, manifold]) of all cells' results, in order."""

    def column(name: str, missing: Any) -> NDArray[Any]:
        values = [missing if isinstance(one, str) else one[name] for one in found]
        array = np.array(values, dtype=np.asarray(missing).dtype)
        return array.reshape(*shape, *array.shape[1:])

    data: dict[str, Any] = {
        name: ((*CELL, "manifold"), column(name, np.full(manifolds, np.nan))) for name in EACH
    }
    data |= {name: (CELL, column(name, np.nan)) for name in SET}
    measured = [name for name in COUNTS if name != "manifold_points"]
    data |= {name: (CELL, column(name, np.int64(-1))) for name in measured}
    defined = [not isinstance(one, str) for one in found]
    return data | {"defined": (CELL, np.array(defined).reshape(shape))}


def points_stream(seed: int, kind: str, network: int) -> np.random.Generator:
    """The stream from which the samples of one kind of manifold of one network are chosen.

    Arguments
    ---------
    seed: of the analysis; network: seed of the network within its run.
    """
    return generator(seed, f"capacity points {kind}", int(network), "analysis")


def _check_stack(
    activations: Mapping[int, xr.DataArray], classes: xr.DataArray, points: int
) -> None:
    """Raise GeometryError where classes and activations do not fit together."""
    if not isinstance(classes, xr.DataArray):
        raise GeometryError(
            f"Classes of type {type(classes).__name__} given; a DataArray (kind, stored_seed, sample) "
            "with a coordinate kind is needed."
        )
    if set(classes.dims) != {"kind", "stored_seed", "sample"} or "kind" not in classes.coords:
        raise GeometryError(
            f"Classes with dimensions {classes.dims} given; (kind, stored_seed, sample) with a "
            "coordinate kind is needed."
        )
    labels = classes.values
    if (
        labels.dtype.kind not in "iu"
        or labels.min(initial=0) < NO_MANIFOLD
        or labels.max(initial=-1) < 1
    ):
        raise GeometryError(
            "Classes that are no whole numbers from -1 (in no manifold) to P-1, P at least 2, were given."
        )
    check_whole("points", points)
    sizes = dict(classes.sizes)
    for layer, values in activations.items():
        if values.dims[:3] != ("checkpoint", "stored_seed", "sample") or len(values.dims) != 4:
            raise GeometryError(
                f"Activations of layer {layer} with dimensions {values.dims} given; (checkpoint, "
                "stored_seed, sample, unit) is needed."
            )
        for dim in ("stored_seed", "sample"):
            if values.sizes[dim] != sizes[dim]:
                raise GeometryError(
                    f"Activations of layer {layer} have {values.sizes[dim]} entries along {dim}, the classes "
                    f"{sizes[dim]}; give the classes of the samples and seeds that are stored."
                )
            named = dim in values.coords and dim in classes.coords
            if named and not np.array_equal(values[dim].values, classes[dim].values):
                raise GeometryError(
                    f"Activations of layer {layer} and classes name their entries along {dim} otherwise, "
                    "or in another order; give the classes in the order of the store."
                )
