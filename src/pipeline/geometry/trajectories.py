"""Radii and distance of recorded trajectories: the Dask and xarray side of ``radii``.

Nothing here computes geometry by itself: blocks of activations go through the kernels' sums, one
block at a time, so that stores larger than memory can be measured.
"""

from __future__ import annotations

import re
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from pipeline.errors import GeometryError, StoreError
from pipeline.geometry.radii import (
    METRICS,
    Array,
    check_labels,
    geometry_from_sums,
    manifold_sums,
    merge_sums,
)

TOLERANCE = 1e-6  # largest allowed difference from the engine's own values
SMALL_RADIUS = 0.1  # below it the square is compared: 1 - |c|^2 carries the rounding of float32
STRICT_PRECISIONS = (
    "float32",
    "float64",
)  # bf16 sums are rounded on purpose: reported, not refused
LAYER_VARIABLE = re.compile(r"activations_(\d+)")


def measure_activations(activations: xr.DataArray, labels: xr.DataArray | Array) -> xr.Dataset:
    """R+, R- and D of activations, lazily where the activations are Dask arrays (Eq. 8 and 9).

    Arguments
    ---------
    activations: dims (..., sample, unit); the last dimension is the unit, whatever its name. Any
        chunks along the leading dimensions and the samples; the result does not depend on them.
    labels: (sample,) in {-1, +1}.

    Returns a Dataset of radius_plus, radius_minus, distance (float64) with the leading dimensions
    and their coordinates. Raises GeometryError as the kernel does: bad labels and shapes at once,
    NaN and infinities when the values are computed.
    """
    if len(activations.dims) < 2 or activations.dims[-2] != "sample":
        raise GeometryError(
            f"Activations with dimensions {activations.dims} given; (..., sample, unit) is needed."
        )
    y = check_labels(np.asarray(labels))
    if y.size != activations.sizes["sample"]:
        raise GeometryError(
            f"{activations.sizes['sample']} samples of activations but {y.size} labels given; "
            "give one label per sample."
        )
    lead = activations.dims[:-2]
    if activations.chunks is None:
        geometry: dict[str, Any] = geometry_from_sums(manifold_sums(activations.values, y))
    else:
        stacked = _measure_blocks(activations.data, y)
        geometry = {name: stacked[..., index] for index, name in enumerate(METRICS)}
    coords = {
        name: coord for name, coord in activations.coords.items() if set(coord.dims) <= set(lead)
    }
    return xr.Dataset({name: (lead, value) for name, value in geometry.items()}, coords=coords)


def _measure_blocks(h: da.Array, y: Array) -> da.Array:
    """The three metrics (..., 3) of chunked activations (..., samples, units), out of core."""
    h = h.rechunk({h.ndim - 1: -1})
    lead = tuple(range(h.ndim - 2))
    sample, unit, kind, entry = h.ndim - 2, h.ndim - 1, h.ndim, h.ndim + 1
    sums = da.blockwise(
        _block_sums,
        (*lead, sample, kind, entry),
        h,
        (*lead, sample, unit),
        da.from_array(y, chunks=(h.chunks[sample],)),
        (sample,),
        new_axes={kind: 2, entry: 2 + h.shape[-1]},
        adjust_chunks={sample: lambda _: 1},
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0,) * (h.ndim + 1)),
    )
    return da.map_blocks(  # a few dozen numbers per block of samples are left
        _merge_blocks,
        sums.rechunk({sample: -1}),
        chunks=(*h.chunks[:-2], (len(METRICS),)),
        drop_axis=[sample, sample + 1, sample + 2],
        new_axis=[sample],
        dtype=np.float64,
        meta=np.empty((0,) * (h.ndim - 1)),
    )


def _block_sums(h: Array, y: Array) -> Array:
    return manifold_sums(h, y)[..., None, :, :]


def _merge_blocks(sums: Array) -> Array:
    total = sums[..., 0, :, :]
    for block in range(1, sums.shape[-3]):
        total = merge_sums(total, sums[..., block, :, :])
    geometry = geometry_from_sums(total)
    return np.stack([geometry[name] for name in METRICS], axis=-1)


def stored_layers(trajectories: xr.Dataset) -> list[int]:
    """The layers whose activations a run's store holds, in order."""
    matches = map(LAYER_VARIABLE.fullmatch, map(str, trajectories.data_vars))
    return sorted(int(match.group(1)) for match in matches if match)


def measure_geometry(trajectories: xr.Dataset, precision: str = "float32") -> xr.Dataset:
    """R+, R- and D of a run at its checkpoints, recomputed from the stored activations.

    Arguments
    ---------
    trajectories: a run's store: ``activations_<l>`` (checkpoint, stored_seed, sample, unit_<l>),
        ``checkpoint_epoch`` (checkpoint), ``binary_labels`` (sample), ``failed_epoch`` (seed), and
        the engine's own radius_plus, radius_minus, distance (seed, epoch, layer) to compare with; of a
        pruned run ``kept_samples`` (seed, sample_byte), the samples that count.
    precision: the run's arithmetic. For float32 and float64 a difference above 1e-6 from the
        engine's values is refused, since the recording is broken then; for bf16 it is only
        reported.

    Returns radius_plus, radius_minus, distance (seed, epoch, layer), float64, computed: the same
    variables as in the trajectories, at the stored seeds and the epochs of the checkpoints only.
    Stored seeds that diverged are left out and listed in the attribute ``failed_seeds``; the
    attribute ``max_difference`` is the largest difference from the engine's values.
    Raises StoreError where there are no activations or the values differ, GeometryError where no
    stored seed is left.
    """
    layers = stored_layers(trajectories)
    if not layers:
        raise StoreError(
            "The trajectories hold no variable activations_<layer>; record checkpoints "
            "(config keys checkpoints and stored_seeds) and train the run again."
        )
    healthy, failed = _healthy_seeds(trajectories)
    per_layer = [_measure_kept(healthy, f"activations_{layer}") for layer in layers]
    index = xr.DataArray(np.array(layers, dtype=np.int64), dims="layer", name="layer")
    measured = xr.concat([one.drop_vars(list(one.coords)) for one in per_layer], dim=index)
    measured = (
        measured.rename({"stored_seed": "seed", "checkpoint": "epoch"})
        .transpose("seed", "epoch", "layer")
        .assign_coords(seed=healthy["stored_seed"].values, epoch=healthy["checkpoint_epoch"].values)
        .compute()
    )
    difference = engine_difference(measured, trajectories)
    if precision in STRICT_PRECISIONS and difference > TOLERANCE:
        raise StoreError(
            f"The metrics recomputed from the stored activations differ by {difference:.2g} from "
            f"those recorded in training ({TOLERANCE:g} is allowed in {precision}), so the "
            "recording is broken; delete the run's store and train it again."
        )
    measured.attrs = {"max_difference": difference, "failed_seeds": failed}
    return measured


def _measure_kept(trajectories: xr.Dataset, name: str) -> xr.Dataset:
    """``measure_activations`` over the samples that each network was trained on."""
    activations, labels = trajectories[name], trajectories["binary_labels"]
    if "kept_samples" not in trajectories:
        return measure_activations(activations, labels)
    parts = []
    for seed in trajectories["stored_seed"].values:
        bits = trajectories["kept_samples"].sel(seed=seed).values
        kept = np.flatnonzero(np.unpackbits(bits, count=labels.size))
        one = activations.sel(stored_seed=[seed]).isel(sample=kept)
        parts.append(measure_activations(one, labels.values[kept]))
    return xr.concat(parts, dim="stored_seed")


def engine_difference(measured: xr.Dataset, trajectories: xr.Dataset) -> float:
    """Largest |measured - recorded| of the three metrics, where ``measured`` has values.

    Arguments
    ---------
    measured, trajectories: radius_plus, radius_minus, distance (seed, epoch, layer); the seeds,
        epochs and layers of ``measured`` are a part of those of ``trajectories``.

    Raises StoreError where a recorded value is not finite.
    """
    labels = {dim: measured[dim].values for dim in ("seed", "epoch", "layer")}
    recorded = trajectories[list(METRICS)].sel(labels).compute()
    for name in METRICS:
        if not np.isfinite(recorded[name].values).all():
            raise StoreError(f"The recorded {name} of a seed that did not fail is not finite.")
    return float(max(_difference(measured[name], recorded[name]) for name in METRICS))


def _difference(measured: xr.DataArray, recorded: xr.DataArray) -> float:
    """Largest |R - R'|, or |R^2 - R'^2| / (2 SMALL_RADIUS) where that is smaller (small radii)."""
    plain = np.abs(measured - recorded)
    square = np.abs(measured**2 - recorded**2) / (2 * SMALL_RADIUS)
    return float(np.minimum(plain, square).max())


def _healthy_seeds(trajectories: xr.Dataset) -> tuple[xr.Dataset, list[int]]:
    """The trajectories without the stored seeds that diverged, and the list of these."""
    stored = trajectories["stored_seed"].values
    failed = trajectories["failed_epoch"].sel(seed=stored).values >= 0
    if failed.all():
        raise GeometryError(
            f"All {stored.size} stored seeds diverged, so there is no geometry to measure; "
            "lower learning_rate or store more seeds (stored_seeds)."
        )
    kept = trajectories.isel(stored_seed=np.flatnonzero(~failed))
    return kept, [int(seed) for seed in stored[failed]]
