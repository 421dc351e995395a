"""Geometry of recorded trajectories: wrapper = kernel, chunked = whole, the engine checked."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import GeometryError, StoreError
from pipeline.geometry.radii import METRICS, class_manifold_geometry
from pipeline.geometry.trajectories import measure_activations, measure_geometry

EPOCHS = np.array([0, 1, 4, 9])
STORED = np.array([0, 2])


def activations(seed, layer=1, units=5):
    random = np.random.default_rng([seed, layer])
    h = random.normal(size=(len(EPOCHS), len(STORED), 30, units)).astype(np.float32)
    return xr.DataArray(h, dims=("checkpoint", "stored_seed", "sample", f"unit_{layer}"))


LABELS = np.where(np.arange(30) % 4 == 0, -1, 1).astype(np.int8)


def trajectories(seed=0, failed=(), layers=(1, 2)):
    """A store's content whose recorded metrics are those of its activations."""
    shape = (3, 10, len(layers))
    data = {name: (("seed", "epoch", "layer"), np.zeros(shape)) for name in METRICS}
    dataset = xr.Dataset(
        data,
        coords={
            "seed": np.arange(3),
            "epoch": np.arange(10),
            "layer": np.array(layers),
            "stored_seed": STORED,
            "checkpoint_epoch": ("checkpoint", EPOCHS),
        },
    )
    dataset["binary_labels"] = ("sample", LABELS)
    failed_epoch = np.array([3 if one in failed else -1 for one in range(3)])
    dataset["failed_epoch"] = ("seed", failed_epoch)
    for position, layer in enumerate(layers):
        h = activations(seed, layer, units=3 + layer)
        for c, epoch in enumerate(EPOCHS):
            for s, stored in enumerate(STORED):
                found = class_manifold_geometry(h.values[c, s], LABELS)
                for name in METRICS:
                    dataset[name][stored, epoch, position] = found[name]
        if failed:
            h[1:, np.isin(STORED, failed)] = np.nan
        dataset[f"activations_{layer}"] = h
    return dataset


CHUNKS = ({}, {"sample": 7}, {"sample": 1, "checkpoint": 1}, {"unit_1": 2, "stored_seed": 1})


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chunked_wrapper_equals_the_kernel(seed, chunks):
    h = activations(seed)
    lazy = measure_activations(h.chunk(chunks), LABELS)
    assert all(lazy[name].chunks is not None for name in METRICS)
    result = lazy.compute(scheduler="synchronous")
    eager = measure_activations(h, xr.DataArray(LABELS, dims="sample"))
    for c in range(len(EPOCHS)):
        for s in range(len(STORED)):
            kernel = class_manifold_geometry(h.values[c, s], LABELS)
            for name in METRICS:
                assert result[name].values[c, s] == pytest.approx(kernel[name], abs=1e-13)
                assert eager[name].values[c, s] == pytest.approx(kernel[name], abs=1e-13)


def test_no_leading_dimensions():
    h = activations(0)[0, 0]
    kernel = class_manifold_geometry(h.values, LABELS)
    for given in (h, h.chunk({"sample": 4})):
        found = measure_activations(given, LABELS).compute(scheduler="synchronous")
        assert {name: float(found[name]) for name in METRICS} == pytest.approx(kernel)


def test_blocks_are_read_lazily_and_once():
    import dask
    import dask.array as da

    seen = []

    def block(info):
        seen.append(info)
        random = np.random.default_rng(0)
        return random.normal(size=(1, 500, 3))

    blocks = [da.from_delayed(dask.delayed(block)(i), (1, 500, 3), np.float64) for i in range(20)]
    h = xr.DataArray(da.concatenate(blocks, axis=1), dims=("checkpoint", "sample", "unit"))
    lazy = measure_activations(h, np.tile([1, -1], 5000))
    assert seen == []
    lazy.compute(scheduler="synchronous")
    assert len(seen) == 20


def test_measures_all_layers_at_the_checkpoints():
    dataset = trajectories().chunk({"sample": 8})
    measured = measure_geometry(dataset)
    assert measured["radius_plus"].dims == ("seed", "epoch", "layer")
    assert list(measured["epoch"].values) == list(EPOCHS)
    assert list(measured["seed"].values) == list(STORED)
    assert list(measured["layer"].values) == [1, 2]
    assert measured.attrs["max_difference"] < 1e-13
    assert measured.attrs["failed_seeds"] == []
    recorded = dataset.sel(seed=STORED, epoch=EPOCHS)
    for name in METRICS:
        np.testing.assert_allclose(measured[name], recorded[name], atol=1e-13)


def test_failed_seed_is_left_out_and_listed():
    measured = measure_geometry(trajectories(failed=(2,)).chunk())
    assert list(measured["seed"].values) == [0]
    assert measured.attrs["failed_seeds"] == [2]
    with pytest.raises(GeometryError, match="All 2 stored seeds diverged"):
        measure_geometry(trajectories(failed=(0, 2)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_a_pruned_run_only_kept_samples_count(seed):
    dataset = trajectories(seed)
    kept = np.random.default_rng(seed).random((3, LABELS.size)) < 0.7
    kept[:, :8] = True
    dataset["kept_samples"] = (("seed", "sample_byte"), np.packbits(kept, axis=-1))
    for position, layer in enumerate(dataset["layer"].values):
        h = dataset[f"activations_{layer}"].values
        for c, epoch in enumerate(EPOCHS):
            for s, stored in enumerate(STORED):
                rows = kept[stored]
                found = class_manifold_geometry(h[c, s][rows], LABELS[rows])
                for name in METRICS:
                    dataset[name][stored, epoch, position] = found[name]
    for given in (dataset, dataset.chunk({"sample": 8, "checkpoint": 1})):
        measured = measure_geometry(given)
        assert measured.attrs["max_difference"] < 1e-13
        assert measured["radius_plus"].dims == ("seed", "epoch", "layer")
        assert list(measured["seed"].values) == list(STORED)
    dataset["kept_samples"][2] = dataset["kept_samples"][0]  # another seed's
    with pytest.raises(StoreError, match="differ by"):
        measure_geometry(dataset)


@pytest.mark.parametrize("name", METRICS)
def test_a_broken_recording_is_refused(name):
    dataset = trajectories()
    dataset[name][2, 4, 1] += 2e-6
    with pytest.raises(StoreError, match=r"differ by 2e-06 .*1e-06 is allowed"):
        measure_geometry(dataset)
    assert measure_geometry(dataset, precision="bf16").attrs["max_difference"] == pytest.approx(
        2e-6
    )


def test_differences_below_the_tolerance_pass():
    dataset = trajectories()
    dataset["distance"][0, 0, 0] += 5e-7
    assert measure_geometry(dataset).attrs["max_difference"] == pytest.approx(5e-7)


def test_faults():
    dataset = trajectories()
    with pytest.raises(StoreError, match="activations_<layer>"):
        measure_geometry(dataset.drop_vars(["activations_1", "activations_2"]))
    broken = dataset.copy(deep=True)
    broken["radius_minus"][0, 9, 0] = np.nan
    with pytest.raises(StoreError, match="radius_minus of a seed that did not fail is not finite"):
        measure_geometry(broken)
    h = activations(0)
    with pytest.raises(GeometryError, match="sample, unit"):
        measure_activations(h.transpose("sample", ...), LABELS)
    with pytest.raises(GeometryError, match="30 samples of activations but 29 labels"):
        measure_activations(h, LABELS[1:])
    h[0, 0, 0, 0] = np.inf
    with pytest.raises(GeometryError, match="1 NaN or infinite"):
        measure_activations(h.chunk(), LABELS).compute(scheduler="synchronous")
    with pytest.raises(GeometryError, match="label -1 has no sample"):
        measure_activations(activations(0).chunk({"sample": 3}), np.ones(30)).compute(
            scheduler="synchronous"
        )
