"""Capacity of the four kinds of manifold in every layer of trained networks, from kept weights.

Source: Stephenson et al., ICLR 2021, Sec. 3.2 and Figs. 3, 4C-E, A.4-A.8. Only the samples that are
measured pass through a network, one weight set after another; what is measured, and how, is that of
``geometry.capacity.stacks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.kept_networks import (
    FEWEST,
    NO_EPOCH,
    KeptSeed,
    chosen_columns,
    kept_seeds,
    kept_weights,
    layered_network,
    on_device,
)
from pipeline.classifiers.arrays import ClassArrays, classifier_arrays
from pipeline.classifiers.evaluate import batches
from pipeline.classifiers.record import activations
from pipeline.classifiers.variables import MOMENTS
from pipeline.classifiers.weights import unpack
from pipeline.data.labels import MANIFOLD_KINDS, NO_MANIFOLD, NoisyLabels, manifold_classes
from pipeline.errors import PipelineError
from pipeline.execution.dask_workers import DaskSettings, dask_workers
from pipeline.geometry.capacity.projection import DIRECTIONS, project_points
from pipeline.geometry.capacity.stacks import (
    BLOCK_BYTES,
    POINTS,
    choose_points,
    measure_capacity,
    points_stream,
)
from pipeline.models.layered import LayeredNetwork
from pipeline.runs import Place, Run, RunGroups, all_runs, check_options
from pipeline.store.variables import register

OPTIONS = ("moments", "seeds", "layers", "kinds", "points", "capacity")
LAYERS = ("all", "ends", "last_hidden")
PLACES = ("ends", "last_hidden")  # layers that networks of any depth have in common
GROUP_BYTES = 1 << 27  # of features held at a time
BATCH = 250  # samples that pass through a network at a time

register(
    "measured_epoch",
    ("run", "seed", "checkpoint"),
    "int64",
    "epoch of the weight set that was measured; -1: none",
    "epochs",
)
register("parameters", ("run",), "int64", "trained parameters of the network", "parameters")


def layer_capacity(
    data: RunGroups, options: dict[str, Any], place: Place | None = None
) -> xr.Dataset:
    """Capacity, radius and dimension of manifolds, layer by layer, of every run given.

    Arguments
    ---------
    data: runs with kept_weights, noisy_labels and permuted.
    options: ``moments``, some of init, best and final ([best, final]), or a number of kept epochs,
        evenly chosen by their place, with the first, the best and the last; ``seeds``, most seeds
        (all with kept weights); ``layers``, all (default, pooling layers too), ends (the first, the
        middle and the last with weights), last_hidden, or a list of names; ``kinds`` (all four);
        ``points``, M (50); ``capacity``, options of ``manifold_capacity``; ``seed``.
    place: says where Dask computes the cells; by default in threads of this process.

    Returns the variables of ``measure_capacity`` with a leading dimension run, ``measured_epoch`` and
    ``parameters``; attributes runs, kinds, moments, undefined, layer_names (of the first run) and
    run_layer_names (of each). Where the places asked for (ends, last_hidden) are other layers in
    other runs, ``layer`` counts them from 1. Seeds that a run does not have are NaN, -1 and false.
    Raises PipelineError for options that do not fit, and for runs of which other layers are named.
    """
    check_options("layer_capacity", options, OPTIONS)
    runs = all_runs(data)
    networks = [layered_network(run) for run in runs]
    which = options.get("layers", "all")
    names = [chosen_layers(network, which) for network in networks]
    layers = _common_layers(runs, networks, names, which)
    where = place.dask if place else DaskSettings(threads=torch.get_num_threads())
    with dask_workers(where):
        parts = [
            _measure_run(run, network, chosen, options)
            for run, network, chosen in zip(runs, networks, names, strict=True)
        ]
    undefined = [
        f"run {run.name}, {reason}"
        for run, part in zip(runs, parts, strict=True)
        for reason in part.attrs["undefined"]
    ]
    kinds = parts[0].attrs["kinds"]
    width = max(part.sizes["checkpoint"] for part in parts)
    seeds = sorted({int(seed) for part in parts for seed in part["seed"].values})
    padded = [_padded(part, width, seeds).assign_coords(layer=layers) for part in parts]
    found = xr.concat(padded, dim="run", combine_attrs="drop")
    counts = [sum(one.numel() for one in network.parameters()) for network in networks]
    found["parameters"] = (("run",), np.array(counts, dtype=np.int64))
    moments = options.get("moments", ["best", "final"])
    return found.assign_attrs(
        runs=[run.name for run in runs],
        kinds=kinds,
        moments=list(moments) if isinstance(moments, list) else ["kept"] * width,
        layer_names=names[0],
        run_layer_names=names,
        undefined=undefined,
    )


def chosen_layers(network: LayeredNetwork, which: str | Sequence[str]) -> list[str]:
    """Names of the layers asked for, in the network's order; PipelineError for others."""
    weights = network.weight_layers()
    if which == "all":
        return list(network.layers)
    if which == "ends":
        return list(dict.fromkeys([weights[0], weights[len(weights) // 2], weights[-1]]))
    if which == "last_hidden":
        return weights[-2:-1] or weights
    if isinstance(which, str):
        raise PipelineError(
            f"layers = {which!r} given; valid are: {', '.join(LAYERS)}, or a list of names."
        )
    if unknown := [name for name in which if name not in network.layers]:
        raise PipelineError(
            f"The network has no layers {', '.join(unknown)}; it has: {', '.join(network.layers)}."
        )
    return [name for name in network.layers if name in which]


def chosen_sets(one: KeptSeed, moments: Sequence[str] | int) -> NDArray[np.int64]:
    """Columns (along ``kept``) of the weight sets of one seed that are measured.

    Arguments
    ---------
    one: a stored seed with all of its sets. moments: as the option of ``layer_capacity``.
    """
    if isinstance(moments, int) and not isinstance(moments, bool) and moments >= FEWEST:
        found: NDArray[np.int64] = one.columns[chosen_columns(one.epochs, one.best_epoch, moments)]
        return found
    if isinstance(moments, list) and moments and set(moments) <= set(MOMENTS):
        known = dict(zip(MOMENTS, (0, one.best_epoch, one.epochs[-1]), strict=True))
        return one.columns[np.searchsorted(one.epochs, [known[moment] for moment in moments])]
    raise PipelineError(
        f"moments = {moments!r} given; valid are a list of {', '.join(MOMENTS)}, or a number of kept "
        f"epochs from {FEWEST} on."
    )


def _common_layers(
    runs: list[Run], networks: list[LayeredNetwork], names: list[list[str]], which: Any
) -> list[int]:
    """The coordinate ``layer`` of all runs: numbers of layers, or where these differ of places."""
    numbers = [
        [network.layer(name).number for name in chosen]
        for network, chosen in zip(networks, names, strict=True)
    ]
    for run, own, chosen in zip(runs, numbers, names, strict=True):
        if len(own) != len(numbers[0]) or (own != numbers[0] and which not in PLACES):
            raise PipelineError(
                f"Run {run.name} has the layers {', '.join(chosen)}, the run {runs[0].name} has "
                f"{', '.join(names[0])}; measure them in analyses of their own."
            )
    same = all(own == numbers[0] for own in numbers)
    return numbers[0] if same else list(range(1, len(numbers[0]) + 1))


def _measure_run(
    run: Run, network: LayeredNetwork, names: list[str], options: Mapping[str, Any]
) -> xr.Dataset:
    """Measurements of all seeds of one run: (seed, checkpoint, layer, kind[, manifold])."""
    arrays = classifier_arrays(run.config, run.data_folder)
    parts = [
        _measure_seed(run, arrays, network, names, one, options)
        for one in kept_seeds(run, options.get("seeds"))
    ]
    width = max(part.sizes["checkpoint"] for part in parts)
    padded = [_padded(part, width, part["seed"].values) for part in parts]
    found = xr.concat(padded, dim="seed", combine_attrs="drop")
    undefined = [reason for part in parts for reason in part.attrs["undefined"]]
    return found.assign_attrs(kinds=parts[0].attrs["kinds"], undefined=undefined)


def _measure_seed(
    run: Run,
    arrays: ClassArrays,
    network: LayeredNetwork,
    names: list[str],
    one: KeptSeed,
    options: Mapping[str, Any],
) -> xr.Dataset:
    """Measurements of one seed at some of its weight sets, one set after another."""
    root = int(options.get("seed", 0))
    columns = chosen_sets(one, options.get("moments", ["best", "final"]))
    samples, classes = _chosen_samples(run, arrays, one, options)
    x = on_device(_inputs(arrays, samples), "cpu")
    points = int(options.get("points", POINTS))
    extra = dict(options.get("capacity") or {})
    directions = int(extra.get("directions", DIRECTIONS))
    groups = layer_groups(_units(network, x, names), len(x), directions)
    parts, undefined = [], []
    for column in columns.tolist():
        unpack(network, kept_weights(run, one, column))
        epoch = int(run.trajectories["kept_epoch"].values[one.row, column])
        labels = {"checkpoint_epoch": ("checkpoint", [epoch]), "stored_seed": [one.seed]}
        of_set = []
        for group in groups:
            stack = _stack(network, x, group, directions, root).assign_coords(labels)
            of_set.append(measure_capacity(stack, classes, points, root, **extra))
            del stack  # or there were two of them
        undefined += [reason for part in of_set for reason in part.attrs["undefined"]]
        parts.append(xr.concat(of_set, dim="layer", combine_attrs="drop"))
    found = xr.concat(parts, dim="checkpoint", combine_attrs="drop")
    epochs = found["checkpoint_epoch"].values.astype(np.int64)
    found = found.drop_vars("checkpoint_epoch")
    found["measured_epoch"] = (("seed", "checkpoint"), epochs[None])
    kinds = [str(kind) for kind in classes["kind"].values]
    return found.assign_attrs(kinds=kinds, undefined=undefined)


def layer_groups(units: Mapping[str, int], samples: int, directions: int) -> list[dict[str, int]]:
    """Layers measured together: consecutive ones whose features of all samples fit in ``GROUP_BYTES``.

    Arguments
    ---------
    units: of each layer; samples: measured; directions: features of a layer that has more units.
    """
    groups: list[dict[str, int]] = []
    held = 0
    for name, width in units.items():
        size = 4 * samples * min(width, directions)
        if not groups or held + size > GROUP_BYTES:
            groups.append({})
            held = 0
        groups[-1][name] = width
        held += size
    return groups


def _units(network: LayeredNetwork, x: torch.Tensor, names: list[str]) -> dict[str, int]:
    """Units of each layer, by a sample that passes through the network."""
    found = activations(network, x[:1], names)
    return {name: found[network.layer(name).number].shape[1] for name in names}


def _stack(
    network: LayeredNetwork, x: torch.Tensor, units: Mapping[str, int], directions: int, root: int
) -> xr.Dataset:
    """Features of some layers of the network as it is: wide layers projected, once for all kinds.

    Samples are taken in blocks: a wide layer's activations need not fit into memory.
    """
    rows = max(1, BLOCK_BYTES // (4 * sum(units.values())))
    found: dict[int, list[NDArray[Any]]] = {}
    for block in batches(len(x), rows):
        for number, values in activations(network, x[block], list(units), BATCH).items():
            wide = values.shape[1] > directions
            kept = project_points([values.T], directions, root).T if wide else values
            found.setdefault(number, []).append(kept)
    stack = xr.Dataset()
    for number in list(found):
        values = np.concatenate(found.pop(number))
        dims = ("checkpoint", "stored_seed", "sample", f"unit_{number}")
        stack[f"activations_{number}"] = (dims, values[None, None])
    return stack


def _chosen_samples(
    run: Run, arrays: ClassArrays, one: KeptSeed, options: Mapping[str, Any]
) -> tuple[NDArray[np.int64], xr.DataArray]:
    """The samples that are measured (training samples first), and their manifold in each kind.

    They are those that ``measure_capacity`` would choose of all samples: given these alone it takes
    all of them. Raises PipelineError where no kind asked for has any.
    """
    kinds = options.get("kinds") or list(MANIFOLD_KINDS)
    if unknown := sorted(set(kinds) - set(MANIFOLD_KINDS)):
        valid = ", ".join(MANIFOLD_KINDS)
        raise PipelineError(f"kinds = {', '.join(unknown)} given; valid are: {valid}.")
    noisy = NoisyLabels(one.labels, arrays.train_classes, one.permuted)
    whole = manifold_classes(noisy, arrays.test_classes)
    chosen = {
        kind: choose_points(
            whole[kind],
            arrays.class_count,
            int(options.get("points", POINTS)),
            points_stream(int(options.get("seed", 0)), kind, one.seed),
        )
        for kind in kinds
    }
    samples = np.unique(np.concatenate([rows.ravel() for rows in chosen.values()]))
    if not samples.size:
        raise PipelineError(
            f"Run {run.name} has classes without samples of the kinds {', '.join(kinds)}; name others."
        )
    manifolds = np.full((len(kinds), 1, samples.size), NO_MANIFOLD, dtype=np.int64)
    for row, rows in enumerate(chosen.values()):
        owners = np.repeat(np.arange(arrays.class_count), rows.shape[1])
        manifolds[row, 0, np.searchsorted(samples, rows.ravel())] = owners
    classes = xr.DataArray(
        manifolds,
        dims=("kind", "stored_seed", "sample"),
        coords={"kind": kinds, "stored_seed": [one.seed]},
    )
    return samples, classes


def _inputs(arrays: ClassArrays, samples: NDArray[np.int64]) -> NDArray[np.float32]:
    """Inputs of samples, of which the training samples come first."""
    count = len(arrays.train)
    train, test = samples[samples < count], samples[samples >= count] - count
    return np.concatenate([arrays.train[train], arrays.test[test]])


def _padded(part: xr.Dataset, width: int, seeds: Any) -> xr.Dataset:
    """A part with ``width`` checkpoints and these seeds: NaN, -1 and false where there are none."""
    fills = {
        name: {"f": np.nan, "i": NO_EPOCH, "b": False}[values.dtype.kind]
        for name, values in part.data_vars.items()
    }
    more = width - part.sizes["checkpoint"]
    if more:
        part = part.pad(checkpoint=(0, more), constant_values=fills, keep_attrs=True)
    return part.reindex(seed=seeds, fill_value=fills)
