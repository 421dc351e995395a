"""Capacity of manifolds layer by layer, from kept weights: the same numbers as from all activations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from made_up_classifiers import (
    CLASSES,
    CONVOLUTION,
    RESIDUAL,
    TEST,
    TRAIN,
    made_up_classifiers,
)

import pipeline.analysis.layer_capacity as module
from pipeline.analysis.kept_networks import kept_seeds, layered_network
from pipeline.analysis.layer_capacity import chosen_layers, chosen_sets, layer_capacity
from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.record import activations
from pipeline.classifiers.weights import unpack
from pipeline.data.labels import MANIFOLD_KINDS, NoisyLabels, manifold_classes
from pipeline.errors import PipelineError
from pipeline.geometry.capacity.projection import project_points
from pipeline.geometry.capacity.stacks import measure_capacity
from pipeline.runs import Run, RunGroups, chosen
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

CHEAP = {"n_t": 20, "restarts": 2}
POINTS, ROOT = 5, 3
OPTIONS: dict[str, Any] = {"points": POINTS, "seed": ROOT, "capacity": CHEAP}
FEW = OPTIONS | {"layers": "last_hidden", "seeds": 1, "moments": ["final"]}
VALUES = ("capacity", "radius", "dimension", "mean_capacity", "center_correlation")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    runs: dict[str, dict[str, Any]] = {
        "main": {"epochs": 8, "kept_weights": 6, "seeds": 3},
        "clean": {"label_noise": 0.0, "epochs": 2},
        "random": {"label_noise": 1.0, "epochs": 2},
        "images": {"entry": CONVOLUTION, "epochs": 2},
        "skips": {"entry": RESIDUAL, "epochs": 2},
        "bare": {"stored_seeds": 0, "epochs": 2},
    }
    return made_up_classifiers(tmp_path_factory.mktemp("runs"), runs)


def of(data: RunGroups, *groups: str) -> RunGroups:
    return chosen(data, groups)


def all_samples(run: Run, row: int, epoch: int, layers: list[str]) -> tuple[xr.Dataset, Any]:
    """Activations of all training and test samples at one epoch, and the classes of all kinds."""
    arrays = classifier_arrays(run.config, run.data_folder)
    one, network = kept_seeds(run)[row], layered_network(run)
    unpack(network, run.trajectories["kept_weights"].values[row, one.epochs.tolist().index(epoch)])
    x = torch.from_numpy(np.concatenate([arrays.train, arrays.test]))
    stack = xr.Dataset(
        coords={"checkpoint_epoch": ("checkpoint", [epoch]), "stored_seed": [one.seed]}
    )
    for number, values in activations(network, x, layers).items():
        dims = ("checkpoint", "stored_seed", "sample", f"unit_{number}")
        stack[f"activations_{number}"] = (dims, values[None, None])
    noisy = NoisyLabels(one.labels, arrays.train_classes, one.permuted)
    found = manifold_classes(noisy, arrays.test_classes)
    classes = xr.DataArray(
        np.stack([found[kind] for kind in MANIFOLD_KINDS])[:, None],
        dims=("kind", "stored_seed", "sample"),
        coords={"kind": list(MANIFOLD_KINDS), "stored_seed": [one.seed]},
    )
    assert classes.sizes["sample"] == TRAIN + TEST
    return stack, classes


def same_cells(found: xr.Dataset, expected: xr.Dataset) -> None:
    """The numbers of one run, seed and checkpoint are those of a measurement of its own."""
    for name in (*VALUES, "K", "manifold_points", "defined"):
        one = expected[name].isel(seed=0, checkpoint=0)
        np.testing.assert_allclose(found[name].values, one.values, rtol=1e-4, err_msg=name)


# --- the same as from all activations -------------------------------------------------------------


def test_numbers_are_those_of_the_activations_of_all_samples(data: RunGroups) -> None:
    run = data["images"][0]
    found = layer_capacity(of(data, "images"), OPTIONS)
    names = ["conv1", "pool2", "conv3", "linear4", "linear5"]
    assert found.attrs["layer_names"] == names
    assert found.attrs["run_layer_names"] == [names]
    assert found.attrs["kinds"] == list(MANIFOLD_KINDS)
    assert found.attrs["moments"] == ["best", "final"]
    assert found.attrs["undefined"] == []
    assert found["defined"].values.all()
    np.testing.assert_array_equal(found["layer"], [1, 2, 3, 4, 5])
    for row, column in np.ndindex(2, 2):
        epoch = int(found["measured_epoch"].values[0, row, column])
        assert epoch == run.trajectories[("best_epoch", "last_epoch")[column]].values[row]
        stack, classes = all_samples(run, row, epoch, names)
        expected = measure_capacity(stack, classes, POINTS, ROOT, **CHEAP)
        same_cells(found.isel(run=0, seed=row, checkpoint=column), expected)


def test_the_projection_is_that_of_the_unprojected_path(data: RunGroups) -> None:
    run, small = data["images"][0], 30
    names = ["conv1", "conv3", "linear4"]
    capacity = CHEAP | {"directions": small}
    options = OPTIONS | {"capacity": capacity, "layers": names, "moments": ["final"], "seeds": 1}
    found = layer_capacity(of(data, "images"), options)
    epoch = int(found["measured_epoch"].values[0, 0, 0])
    stack, classes = all_samples(run, 0, epoch, names)
    assert stack.sizes["unit_1"] > small > stack.sizes["unit_4"]
    expected = measure_capacity(stack, classes, POINTS, ROOT, **capacity)
    same_cells(found.isel(run=0, seed=0, checkpoint=0), expected)
    whole = layer_capacity(of(data, "images"), options | {"capacity": CHEAP})
    assert not np.allclose(whole["mean_capacity"][..., 0, :], found["mean_capacity"][..., 0, :])
    values = stack["activations_1"].values[0, 0]
    assert project_points([values.T], small, ROOT).T.shape == (TRAIN + TEST, small)


def test_blocks_and_groups_do_not_change_the_numbers(
    data: RunGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = FEW | {"capacity": CHEAP | {"directions": 30}}
    options["layers"] = ["conv1", "pool2", "conv3", "linear5"]  # linear4: few units are not silent
    whole = layer_capacity(of(data, "images"), options)
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 384 * 7)
    monkeypatch.setattr(module, "GROUP_BYTES", 1)
    monkeypatch.setattr(module, "BATCH", 5)
    parts = layer_capacity(of(data, "images"), options)
    assert parts.attrs == whole.attrs
    xr.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_groups_of_layers_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 4 * 10 * 100)
    units = {"conv1": 5000, "conv2": 60, "pool3": 40, "conv4": 1, "linear5": 99}
    groups = module.layer_groups(units, 10, 100)
    assert [list(group) for group in groups] == [
        ["conv1"],
        ["conv2", "pool3"],
        ["conv4", "linear5"],
    ]
    assert {name: width for group in groups for name, width in group.items()} == units


def test_numbers_do_not_depend_on_the_number_of_threads(data: RunGroups) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(layer_capacity(of(data, "main"), FEW))
    finally:
        torch.set_num_threads(before)
    xr.testing.assert_identical(*found)


# --- options --------------------------------------------------------------------------------------


def with_fewer_sets(run: Run) -> Run:
    """A run whose second seed kept the first, best and last set only, as after a shorter training."""
    stored = run.trajectories.load().copy(deep=True)
    one = kept_seeds(run)[1]
    columns = [
        one.epochs.tolist().index(epoch) for epoch in sorted({0, one.best_epoch, one.epochs[-1]})
    ]
    for name, missing in (("kept_epoch", -1), ("kept_weights", np.nan)):
        values = stored[name].values[1]
        values[: len(columns)] = values[columns]
        values[len(columns) :] = missing
    return replace(run, trajectories=stored)


def test_seeds_with_fewer_kept_sets_are_padded(data: RunGroups) -> None:
    options = OPTIONS | {"moments": 6, "layers": ["linear2"], "kinds": ["restored", "test"]}
    run = with_fewer_sets(data["main"][0])
    found = layer_capacity(RunGroups({"main": [run]}), options)
    kept = run.trajectories["kept_epoch"].values
    there = (kept >= 0).sum(axis=1)
    assert there[1] < there[0] == found.sizes["checkpoint"]
    np.testing.assert_array_equal(found["measured_epoch"][0], kept)
    whole = layer_capacity(of(data, "main"), options)
    xr.testing.assert_identical(found.isel(seed=0), whole.isel(seed=0))
    assert found.attrs["kinds"] == ["restored", "test"]
    assert found.attrs["moments"] == ["kept"] * found.sizes["checkpoint"]
    shown = found["measured_epoch"].values[0] >= 0
    assert found["defined"].dtype == bool
    assert found["K"].dtype == found["manifold_points"].dtype == np.int64
    for name in ("mean_capacity", "radius"):
        finite = np.isfinite(found[name].values[0]).reshape(*shown.shape, -1)
        np.testing.assert_array_equal(finite.all(axis=-1), shown)
    np.testing.assert_array_equal(found["defined"].values[0].all(axis=(-1, -2)), shown)
    np.testing.assert_array_equal((found["K"].values[0] >= 0).all(axis=(-1, -2)), shown)
    assert (found["manifold_points"].values[0][~shown] == -1).all()


def test_runs_with_other_seeds_keep_their_numbers(data: RunGroups) -> None:
    both = of(data, "main", "clean")
    options = FEW | {"seeds": None, "kinds": ["test"]}
    whole = layer_capacity(both, options)
    stored = data["main"][0].trajectories
    left = stored.isel(seed=[1, 2], stored_seed=[1])  # as if seed 0 had diverged
    both["main"] = [replace(data["main"][0], trajectories=left, failed_seeds=[0])]
    found = layer_capacity(both, options)
    np.testing.assert_array_equal(found["seed"], [0, 1])
    xr.testing.assert_identical(found.sel(run=1), whole.sel(run=1))
    xr.testing.assert_identical(found.isel(run=0, seed=1), whole.isel(run=0, seed=1))
    first = found.isel(run=0, seed=0)
    assert np.isnan(first["mean_capacity"]).all()
    assert first["measured_epoch"].values.tolist() == [-1]
    assert not first["defined"].any()


def test_the_result_can_be_stored(data: RunGroups, tmp_path: Path) -> None:
    found = layer_capacity(of(data, "main", "clean"), FEW)
    write_dataset(found, tmp_path / "store", {"config": {}, "code": "test"})
    again = open_store(tmp_path / "store", lazy=False)
    for name in found.data_vars:
        np.testing.assert_array_equal(again[name], found[name])
    assert again.attrs["run_layer_names"] == [["linear2"], ["linear2"]]


def test_moments_may_be_a_number_of_kept_epochs(data: RunGroups) -> None:
    for one in kept_seeds(data["main"][0]):
        for most in (3, 4, 50):
            found = chosen_sets(one, most)
            epochs = one.epochs[np.isin(one.columns, found)]
            assert len(epochs) <= most
            assert {0, one.best_epoch, one.epochs[-1]} <= set(epochs.tolist())
        names = ["final", "init", "best"]
        assert one.epochs[chosen_sets(one, names)].tolist() == [
            *(one.epochs[-1], 0, one.best_epoch),
        ]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("all", ["conv1", "pool2", "conv3", "linear4", "linear5"]),
        ("ends", ["conv1", "linear4", "linear5"]),
        ("last_hidden", ["linear4"]),
        (["linear4", "conv1"], ["conv1", "linear4"]),
    ],
)
def test_layers_are_chosen_in_their_order(
    data: RunGroups, which: str | list[str], expected: list[str]
) -> None:
    assert chosen_layers(layered_network(data["images"][0]), which) == expected


def test_kinds_do_not_change_each_other(data: RunGroups) -> None:
    whole = layer_capacity(of(data, "main"), FEW)
    alone = layer_capacity(of(data, "main"), FEW | {"kinds": ["test"]})
    assert alone.attrs["kinds"] == ["test"]
    for name in VALUES:
        np.testing.assert_allclose(
            alone[name].isel(kind=0), whole[name].isel(kind=3), rtol=1e-6, err_msg=name
        )


def test_parameters_are_those_that_are_trained(data: RunGroups) -> None:
    found = layer_capacity(of(data, "main", "clean"), FEW)
    depths = (10 * 16 + 16) + (16 * 16 + 16) + (16 * CLASSES + CLASSES)
    assert found["parameters"].values.tolist() == [depths, depths]
    images = layer_capacity(of(data, "images"), FEW)["parameters"].item()
    assert images < data["images"][0].trajectories.sizes["parameter"]  # which has statistics too


# --- kinds without samples, other layers ----------------------------------------------------------


@pytest.mark.parametrize(("group", "empty"), [("clean", [1, 2]), ("random", [0])])
def test_kinds_without_samples_are_undefined_and_named(
    data: RunGroups, group: str, empty: list[int]
) -> None:
    found = layer_capacity(of(data, group), FEW).isel(run=0, seed=0, checkpoint=0, layer=0)
    full = [kind for kind in range(4) if kind not in empty]
    assert found["defined"].values[full].all()
    assert np.isfinite(found["mean_capacity"].values[full]).all()
    assert np.isnan(found["mean_capacity"].values[empty]).all()
    assert (found["manifold_points"].values[empty] == 0).all()
    assert len(found.attrs["undefined"]) == len(empty)
    for reason, kind in zip(found.attrs["undefined"], empty, strict=True):
        assert f"run {group}, seed 0, epoch" in reason
        assert f"{MANIFOLD_KINDS[kind]}: a class has no sample" in reason


def test_no_kind_with_samples_is_refused(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="Run clean has classes without samples"):
        layer_capacity(of(data, "clean"), FEW | {"kinds": ["permuted", "restored"]})


def test_runs_of_other_depth_have_their_ends_in_common(data: RunGroups) -> None:
    options = FEW | {"layers": "ends", "kinds": ["test"]}
    found = layer_capacity(of(data, "images", "skips"), options)
    np.testing.assert_array_equal(found["layer"], [1, 2, 3])
    first, second = found.attrs["run_layer_names"]
    assert first == ["conv1", "linear4", "linear5"] == found.attrs["layer_names"]
    assert (second[0], second[-1]) == ("conv1", "linear11")
    for index, group in enumerate(("images", "skips")):
        alone = layer_capacity(of(data, group), options)
        np.testing.assert_array_equal(alone["mean_capacity"][0], found["mean_capacity"][index])
    with pytest.raises(PipelineError, match=r"Run skips has the layers .*analyses of their own"):
        layer_capacity(of(data, "images", "skips"), FEW | {"layers": "all"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample": 3}, "layer_capacity has no options sample"),
        ({"layers": "first"}, "layers = 'first' given; valid are: all, ends, last_hidden"),
        ({"layers": ["conv9"]}, "no layers conv9; it has: linear1, linear2, linear3"),
        ({"moments": ["middle"]}, "valid are a list of init, best, final"),
        ({"moments": []}, "valid are a list of"),
        ({"moments": 2}, "a number of kept epochs from 3 on"),
        ({"moments": True}, "moments = True given"),
        ({"kinds": ["test", "false"]}, "kinds = false given; valid are: unpermuted"),
        ({"seeds": 0}, "The option seeds is 0"),
    ],
)
def test_wrong_options_are_refused(data: RunGroups, changes: Any, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        layer_capacity(of(data, "main"), FEW | changes)


def test_a_run_without_weights_is_refused(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match=r"Run bare has no .*; give it stored_seeds"):
        layer_capacity(of(data, "bare"), FEW)
