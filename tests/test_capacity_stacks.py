"""Capacity along layers, checkpoints, seeds, kinds: kernel = wrapper, chunked = whole, what is left out."""

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import GeometryError
from pipeline.geometry.capacity import manifold_capacity, measure_capacity
from pipeline.geometry.capacity import stacks as module
from pipeline.geometry.capacity.stacks import choose_points
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

EPOCHS, SEEDS, KINDS, CLASSES, SAMPLES = (0, 4, 20), (0, 7), ("test", "permuted"), 5, 120
QUICK = {"n_t": 20, "restarts": 2}


def classes(random):
    """Classes of both kinds: each sample in both, but the first 20, which are in none of ``permuted``."""
    values = random.integers(0, CLASSES, (len(KINDS), len(SEEDS), SAMPLES))
    values[1, :, :20] = -1
    return xr.DataArray(
        values, dims=("kind", "stored_seed", "sample"), coords={"kind": list(KINDS)}
    )


@pytest.fixture(scope="module")
def stack():
    random = np.random.default_rng(0)
    shape = (len(EPOCHS), len(SEEDS), SAMPLES)
    labels = classes(random)
    data = {}
    for layer, units in ((1, 30), (3, 12)):
        centres = random.standard_normal((CLASSES, units))
        values = random.standard_normal((*shape, units)) + centres[labels.values[0]][None]
        data[f"activations_{layer}"] = (
            ("checkpoint", "stored_seed", "sample", f"unit_{layer}"),
            values.astype(np.float32),
        )
    coords = {"checkpoint_epoch": ("checkpoint", list(EPOCHS)), "stored_seed": list(SEEDS)}
    return xr.Dataset(data, coords=coords), labels


def test_each_cell_is_what_the_kernel_gives(stack):
    trajectories, labels = stack
    found = measure_capacity(trajectories, labels, points=8, seed=3, **QUICK)
    assert found["capacity"].dims == ("seed", "checkpoint", "layer", "kind", "manifold")
    assert found.attrs["kinds"] == list(KINDS)
    assert found["defined"].all()
    for kind, index, epoch, layer in ((0, 0, 0, 1), (1, 1, 2, 3)):
        stream = module.points_stream(3, KINDS[kind], SEEDS[index])
        chosen = choose_points(labels.values[kind, index], CLASSES, 8, stream)
        values = trajectories[f"activations_{layer}"].values[epoch, index]
        kernel = manifold_capacity([values[rows].T for rows in chosen], seed=3, **QUICK)
        cell = found.sel(seed=SEEDS[index], layer=layer, kind=kind).isel(checkpoint=epoch)
        np.testing.assert_array_equal(cell["capacity"], kernel.capacity)
        np.testing.assert_array_equal(cell["dimension_paper"], kernel.dimension_paper)
        assert float(cell["mean_capacity"]) == kernel.mean_capacity
        assert int(cell["K"]) == kernel.K


@pytest.mark.parametrize("directions", [5000, 10])
@pytest.mark.parametrize("chunks", [(1, 1, 7, 5), (3, 2, 120, 4), (2, 1, 50, 30)])
def test_chunks_do_not_change_a_bit(stack, chunks, directions):
    trajectories, labels = stack
    options = QUICK | {"points": 8, "directions": directions}
    whole = measure_capacity(trajectories, labels, **options)
    cut = trajectories.copy()
    for name in trajectories.data_vars:
        dims = trajectories[name].dims
        cut[name] = trajectories[name].chunk(dict(zip(dims, chunks, strict=True)))
    xr.testing.assert_identical(measure_capacity(cut, labels, **options), whole)


def test_wide_layers_are_projected_in_blocks_of_samples(stack, monkeypatch):
    trajectories, labels = stack
    whole = measure_capacity(trajectories, labels, points=8, layers=[1], directions=10, **QUICK)
    sizes = []
    kernel = module.project_points

    def watched(pieces, directions, seed):
        sizes.append(pieces[0].shape[1])
        return kernel(pieces, directions, seed)

    monkeypatch.setattr(module, "project_points", watched)
    monkeypatch.setattr(module, "BLOCK_BYTES", 9 * 30 * 4)
    blocks = measure_capacity(trajectories, labels, points=8, layers=[1], directions=10, **QUICK)
    assert max(sizes) <= 9
    np.testing.assert_allclose(blocks["capacity"], whole["capacity"], rtol=1e-4)
    values = trajectories["activations_1"].values[0, 0]
    chosen = choose_points(labels.values[0, 0], CLASSES, 8, module.points_stream(0, "test", 0))
    direct = manifold_capacity([values[rows].T for rows in chosen], seed=0, directions=10, **QUICK)
    np.testing.assert_allclose(whole["capacity"].values[0, 0, 0, 0], direct.capacity, rtol=1e-4)


def test_results_and_activations_go_through_stores(stack, tmp_path):
    trajectories, labels = stack
    write_dataset(trajectories, tmp_path / "run", {"config": {}, "code": "x"})
    stored = open_store(tmp_path / "run")
    assert stored["activations_1"].chunks is not None
    found = measure_capacity(stored, labels, points=8, **QUICK)
    xr.testing.assert_identical(found, measure_capacity(trajectories, labels, points=8, **QUICK))
    write_dataset(found, tmp_path / "capacity", {"config": {}, "code": "x"})
    again = open_store(tmp_path / "capacity", lazy=False)
    assert again.attrs["kinds"] == list(KINDS)
    np.testing.assert_array_equal(again["capacity"], found["capacity"])


def test_the_smallest_class_limits_all_and_is_recorded(stack):
    trajectories, labels = stack
    few = labels.copy()
    members = np.flatnonzero(few.values[1, 0] == 2)
    few.values[1, 0, members[3:]] = -1
    found = measure_capacity(trajectories, few, points=8, layers=[3], **QUICK)
    assert found["manifold_points"].sel(seed=0, kind=1).values.ravel().tolist() == [3, 3, 3]
    assert found["manifold_points"].sel(seed=0, kind=0).values.ravel().tolist() == [8, 8, 8]
    assert found["defined"].all()


def test_what_has_no_capacity_is_counted_and_named(stack):
    trajectories, labels = stack
    broken = trajectories.copy(deep=True)
    broken["activations_1"][1, 0] = np.nan  # a diverged network
    broken["activations_3"][2, 1] = 0.25  # silent units
    empty = labels.copy(deep=True)
    empty.values[1, 1][empty.values[1, 1] == 4] = -1  # no sample of class 4
    found = measure_capacity(broken, empty, points=8, **QUICK)
    missing = ~found["defined"]
    assert (
        int(missing.sum()) == 2 + 1 + 6
    )  # (epoch 4, seed 0), (epoch 20, seed 7, test), all of (7, permuted)
    assert not missing.sel(seed=0).isel(checkpoint=0).any()
    np.testing.assert_array_equal(np.isnan(found["mean_capacity"]), missing)
    assert (found["K"].where(missing, -1) == -1).all()
    reasons = found.attrs["undefined"]
    assert len(reasons) == 9
    assert any(
        text.startswith("seed 0, epoch 4, layer 1, test: Manifold 0 holds NaN") for text in reasons
    )
    assert any("same centre" in text for text in reasons)
    assert sum("a class has no sample" in text for text in reasons) == 6
    assert (found["manifold_points"].sel(seed=7, kind=1) == 0).all()


def test_each_kind_and_network_has_its_own_sample(stack):
    """Kinds with the same classes are not measured on the same samples, nor are two networks."""
    trajectories, labels = stack
    same = labels.copy(data=np.broadcast_to(labels.values[:1, :1], labels.shape))
    one = trajectories.isel(checkpoint=[0], stored_seed=[0, 0]).assign_coords(stored_seed=[0, 7])
    found = measure_capacity(one, same, points=8, layers=1, **QUICK)["mean_capacity"].values.ravel()
    assert len(set(found.tolist())) == len(KINDS) * len(SEEDS)


def test_points_are_drawn_from_their_class_without_repetition():
    labels = np.random.default_rng(0).integers(-1, 4, 200)
    for seed in range(3):
        chosen = choose_points(labels, 4, 10, np.random.default_rng(seed))
        assert chosen.shape == (4, 10)
        for label, rows in enumerate(chosen):
            assert (labels[rows] == label).all()
            assert len(set(rows.tolist())) == 10
    assert choose_points(labels, 5, 10, np.random.default_rng(0)).shape == (5, 0)


def test_bad_input_is_refused(stack):
    trajectories, labels = stack
    cases = [
        (trajectories, labels.rename(kind="sort"), {}, "is needed"),
        (trajectories, labels[:, :1], {}, "along stored_seed"),
        (trajectories, labels[:, :, :50], {}, "along sample"),
        (trajectories, labels - 1, {}, "-1 \\(in no manifold\\)"),
        (trajectories, labels * 0, {}, "P at least 2"),
        (trajectories, labels, {"points": 0}, "points"),
        (trajectories, labels, {"layers": [2]}, "layers with stored activations: 1, 3"),
        (trajectories.drop_vars(list(trajectories.data_vars)), labels, {}, "none"),
        (trajectories, labels.values, {}, "type ndarray"),
        (trajectories.drop_vars("checkpoint_epoch"), labels, {}, "lack the coordinates"),
        (trajectories, labels.assign_coords(stored_seed=[7, 0]), {}, "in another order"),
        (trajectories, labels, {"layers": 2}, "layers with stored activations: 1, 3"),
        (trajectories, labels, {"seed": 1.5}, "seed"),
        (trajectories, labels, {"seed": None}, "seed"),
        (trajectories, labels, {"restart": 3}, "no options restart"),
        (trajectories, labels, {"select": "x"}, "stability, cost"),
    ]
    for stored, kinds, options, message in cases:
        with pytest.raises(GeometryError, match=message):
            measure_capacity(stored, kinds, **options)
