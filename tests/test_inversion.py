"""The inversion point: extrema, phi, the rule against noise, crossings, stragglers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up_runs import EPOCHS, SAMPLES, dip, make_trajectories

from pipeline.analysis.inversion import (
    QUANTITIES,
    crossing_epoch,
    extremum,
    find_inversions,
    group_inversions,
    inversion_of,
    inversion_point,
    mean_over_error,
    misclassified_at,
    moving_mean,
    noise_level,
    stragglers,
)
from pipeline.errors import GeometryError

T = 501
LOG_TIME = np.log1p(np.arange(T)) / np.log(T)


def mnist_like(depth=0.2, back=0.05):
    """1 -> 1 - depth -> 1 - depth + back on logarithmic time, as R+ of the paper's Fig. 1b."""
    turn = 0.6
    fall = 1 - depth * np.sin(np.pi / 2 * np.minimum(LOG_TIME / turn, 1))
    return fall + back * np.sin(np.pi / 2 * np.maximum(LOG_TIME - turn, 0) / (1 - turn))


def test_point_of_simple_curves():
    error = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
    plus = np.array([1.0, 0.8, 0.7, 0.8, 0.9])
    minus = np.array([1.0, 0.6, 0.7, 0.8, 0.9])
    distance = np.array([0.1, 0.2, 0.3, 0.4, 0.35])
    point = inversion_point(error, plus, minus, distance)
    assert (point.epoch_plus, point.epoch_minus, point.epoch_distance) == (2, 1, 3)
    assert (point.error_plus, point.error_minus, point.error_distance) == (0.3, 0.4, 0.2)
    assert point.phi == pytest.approx(0.3)
    assert point.rise_plus == pytest.approx(0.2)
    assert point.rise_distance == pytest.approx(0.05)
    assert point.inverts is True


def test_first_of_equal_extrema_counts():
    error = np.linspace(0.5, 0.1, 6)
    valley = np.array([1.0, 0.5, 0.7, 0.5, 0.5, 0.9])
    point = inversion_point(error, valley, valley, 1 - valley)
    assert (point.epoch_plus, point.epoch_minus, point.epoch_distance) == (1, 1, 1)


@pytest.mark.parametrize("stuck", QUANTITIES)
def test_all_three_must_invert(stuck):
    error = np.linspace(0.5, 0.1, 21)
    t = np.arange(21)
    curves = {name: 1 - 0.2 * t / 5 * np.exp(1 - t / 5) for name in QUANTITIES}
    curves["distance"] = 2 - curves["distance"]
    assert inversion_point(error, *curves.values()).inverts
    curves[stuck] = np.linspace(0, 1, 21) if stuck == "distance" else np.linspace(1, 0, 21)
    point = inversion_point(error, *curves.values())
    assert not point.inverts
    assert [getattr(point, f"inverts_{one}") for one in QUANTITIES] == [
        one != stuck for one in QUANTITIES
    ]


@pytest.mark.parametrize(
    "curve",
    [
        np.linspace(1, 0.5, 100),  # minimum at the last epoch
        np.linspace(0.5, 1, 100),  # minimum at the first epoch
        np.ones(100),
        np.r_[1, np.full(99, 0.5)],
        np.r_[np.linspace(1, 0.5, 90), 0.5 + 9e-4 * np.linspace(0, 1, 10)],  # less than min_rise
        np.r_[1, 1 - 9e-4, np.linspace(1, 2, 98)],  # a fall below min_rise, then a rise
    ],
)
def test_no_inversion(curve):
    assert not extremum(curve).inverts


@pytest.mark.parametrize(
    "curve",
    [
        mnist_like(),
        dip(12, 0.2, 0.6),
        np.r_[np.linspace(1, 0.5, 90), 0.5 + 2e-3 * np.linspace(0, 1, 10)],
        np.r_[1, 0.7, np.linspace(0.9, 1, 499)],  # sharper than the mean of 9 epochs can show
        1 - 0.2 * np.exp(-((np.arange(20) - 6) ** 2) / 8),
    ],
)
def test_inversion(curve):
    assert extremum(curve).inverts


MONOTONE = {
    "flat": np.ones(T),
    "falling": mnist_like(back=0.0),
    "exponential": 0.8 + 0.2 * np.exp(-np.arange(T) / 20),
    "rising": 0.9 - 0.2 * np.exp(-np.arange(T) / 50),
}


@pytest.mark.parametrize("sd", [1e-5, 1e-3, 0.02])
@pytest.mark.parametrize("shape", MONOTONE)
def test_noise_is_no_inversion(shape, sd):
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(scale=sd, size=T)
        assert not extremum(MONOTONE[shape] + noise).inverts, seed
        assert not extremum((MONOTONE[shape] + noise)[:40]).inverts, seed


@pytest.mark.parametrize("sd", [0.0, 1e-4, 1e-3, 4e-3])
def test_true_dip_of_the_papers_size_is_found_under_noise(sd):
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(scale=sd, size=T)
        found = extremum(mnist_like() + noise)
        assert found.inverts, seed
        assert 20 < found.epoch < 80


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_level_is_that_of_the_noise(seed):
    noise = np.random.default_rng(seed).normal(scale=0.01, size=5001)
    curve = np.exp(-np.arange(5001) / 1000)
    assert noise_level(curve + noise) == pytest.approx(0.01, rel=0.05)
    assert noise_level(curve) < 1e-6
    assert noise_level(noise[:9]) == 0


def test_moving_mean():
    curve = np.array([1.0, 2, 6, 4, 0])
    np.testing.assert_allclose(moving_mean(curve, 3), [1.5, 3, 4, 10 / 3, 2])
    np.testing.assert_array_equal(moving_mean(curve, 1), curve)
    np.testing.assert_allclose(moving_mean(curve, 99), np.full(5, 2.6))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_error": [0.5, np.nan, 0.1]}, "train_error holds 1 NaN .* first at epoch 1"),
        ({"distance": [0.5, 0.1, np.inf]}, "distance holds 1 NaN or infinite .* epoch 2"),
        ({"radius_plus": [1, 2, 3, 4]}, "lengths 3, 4, 3, 3"),
        ({"radius_minus": [1, 2]}, r"radius_minus has shape \(2,\).*at least 3"),
        ({"radius_minus": np.ones((3, 2))}, r"shape \(3, 2\)"),
    ],
)
def test_faults(changes, words):
    names = ("train_error", "radius_plus", "radius_minus", "distance")
    curves = {name: [0.5, 0.2, 0.3] for name in names} | changes
    with pytest.raises(GeometryError, match=words) as caught:
        inversion_point(**curves)
    assert isinstance(caught.value, ValueError)


def test_crossing_epoch():
    error = [0.5, 0.3, 0.35, 0.1]
    assert crossing_epoch(error, 0.6) == 0
    assert crossing_epoch(error, 0.3) == 1
    assert crossing_epoch(error, 0.29) == 3
    assert crossing_epoch(error, 0.05) is None
    with pytest.raises(GeometryError, match="NaN"):
        crossing_epoch([0.5, np.nan], 0.1)


def test_mean_over_error_takes_each_seed_at_its_own_epoch():
    error = np.array([[0.5, 0.3, 0.1], [0.4, 0.2, 0.15]])
    x = np.array([[1.0, 2, 3], [10, 20, 30]])
    means = mean_over_error(error, x, np.array([0.5, 0.3, 0.2, 0.12]))
    np.testing.assert_array_equal(means, [(1 + 10) / 2, (2 + 20) / 2, (3 + 20) / 2, np.nan])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stragglers_unpack_what_was_packed(seed):
    random = np.random.default_rng(seed)
    wrong = random.random((4, 6, 29)) < 0.3
    bits = np.packbits(wrong, axis=-1)
    epochs = random.integers(6, size=4)
    found = stragglers(bits, epochs, 29)
    np.testing.assert_array_equal(found, wrong[np.arange(4), epochs])
    np.testing.assert_array_equal(stragglers(bits, 2, 29), wrong[:, 2])
    trajectories = xr.Dataset(
        {"misclassified": (("seed", "epoch", "sample_byte"), bits)},
        coords={"epoch": 10 * np.arange(6)},
    )
    for given in (trajectories, trajectories.chunk({"seed": 2, "epoch": 4})):
        np.testing.assert_array_equal(misclassified_at(given, 10 * epochs, 29), found)


def test_stragglers_faults():
    bits = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(GeometryError, match=r"4 bytes .* 33 samples; 5 are needed"):
        stragglers(bits, 0, 33)
    with pytest.raises(GeometryError, match="Epochs 0 to 3 asked for; 0 to 2 are recorded"):
        stragglers(bits, [0, 3], 32)
    with pytest.raises(GeometryError, match="Epochs -1 to"):
        stragglers(bits, [-1, 0], 32)
    trajectories = xr.Dataset(
        {"misclassified": (("seed", "epoch", "sample_byte"), bits)}, coords={"epoch": np.arange(3)}
    )
    with pytest.raises(GeometryError, match="Epoch 7 was not recorded; recorded are 0 to 2"):
        misclassified_at(trajectories, [0, 7], 32)


@pytest.mark.parametrize("seeds", [3, 4, 5])
@pytest.mark.parametrize("chunks", [None, {"seed": 2}])
def test_wrapper_equals_the_kernel(seeds, chunks):
    trajectories = make_trajectories(seeds)
    found = find_inversions(trajectories if chunks is None else trajectories.chunk(chunks))
    assert found.attrs["failed_seeds"] == []
    for seed in range(seeds):
        one = trajectories.isel(seed=seed, layer=0)
        names = ("train_error", "radius_plus", "radius_minus", "distance")
        point = inversion_point(*(one[name].values for name in names))
        for name in found.data_vars:
            if name != "stragglers":
                assert found[name].values[seed] == getattr(point, str(name))
        assert found["stragglers"].values[seed] == round(point.error_plus * SAMPLES)
    assert found["inverts"].all()
    assert found["epoch_plus"].values == pytest.approx(12, abs=1)


def test_failed_seeds_are_left_out_and_listed():
    found = find_inversions(make_trajectories(4, failed=(1,)))
    assert list(found["seed"].values) == [0, 2, 3]
    assert found.attrs["failed_seeds"] == [1]
    with pytest.raises(GeometryError, match="All 2 seeds diverged"):
        find_inversions(make_trajectories(2, failed=(0, 1)))


def test_layer_is_chosen():
    trajectories = make_trajectories(2)
    second = trajectories.assign_coords(layer=[2])
    second["radius_plus"] = second["radius_plus"].roll(epoch=3)
    both = xr.concat([trajectories, second], dim="layer", data_vars="minimal")
    first, other = (find_inversions(both, layer) for layer in (1, 2))
    np.testing.assert_array_equal(other["epoch_plus"], first["epoch_plus"] + 3)
    xr.testing.assert_identical(find_inversions(both), first)
    with pytest.raises(GeometryError, match="Layer 3 was not recorded; recorded are 1, 2"):
        find_inversions(both, 3)


def test_epochs_are_those_of_the_coordinate():
    trajectories = make_trajectories(2)
    later = trajectories.assign_coords(epoch=2 * np.arange(EPOCHS + 1))
    np.testing.assert_array_equal(
        find_inversions(later)["epoch_minus"], 2 * find_inversions(trajectories)["epoch_minus"]
    )


# --- the runs of a group together --------------------------------------------------------------------

GROUP = {
    "a": make_trajectories(4, failed=(1,)),
    "b": make_trajectories(2),
    "c": make_trajectories(5),
}


def test_group_gives_back_what_it_was_made_from():
    found = {name: find_inversions(one) for name, one in GROUP.items()}
    group = group_inversions(found)
    assert group.sizes == {"run": 3, "seed": 5}
    assert (group.attrs["runs"], group.attrs["layers"]) == (["a", "b", "c"], [1, 1, 1])
    assert group["found"].values.sum(axis=1).tolist() == [3, 2, 5]
    for name, one in found.items():
        xr.testing.assert_equal(inversion_of(group, name).drop_attrs(), one.drop_attrs())
        for variable in one.data_vars:
            assert inversion_of(group, name)[variable].dtype == one[variable].dtype


def test_a_missing_seed_is_no_number():
    group = group_inversions({name: find_inversions(one) for name, one in GROUP.items()})
    lost = group.isel(run=0).sel(seed=1)
    assert not lost["found"]
    assert np.isnan(lost["phi"])
    assert (int(lost["epoch_plus"]), int(lost["stragglers"])) == (-1, -1)
    assert not lost["inverts"]
    assert group["found"].dtype == bool


def test_group_survives_its_store(tmp_path):
    from pipeline.store.reader import open_store
    from pipeline.store.writer import write_dataset

    for name, members in {"all": GROUP, "none": {}}.items():
        group = group_inversions({run: find_inversions(one) for run, one in members.items()})
        write_dataset(group, tmp_path / name, {"config": {}})
        xr.testing.assert_identical(
            open_store(tmp_path / name, lazy=False).drop_attrs(), group.drop_attrs()
        )
        assert open_store(tmp_path / name).attrs == group.attrs


def test_a_run_that_the_group_lacks():
    group = group_inversions({"a": find_inversions(GROUP["a"])})
    with pytest.raises(GeometryError, match="are of the runs a, not of b; delete"):
        inversion_of(group, "b")
