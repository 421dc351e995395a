"""Claims on Fig. 3, S1, S4, T1, T2, initial weights and layers: known answers, and false ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up_stragglers import (
    SIZES,
    architecture_runs,
    cifar_runs,
    layer_run,
    pair_runs,
    place_runs,
    scaling_runs,
    straggler_run,
    variance_runs,
    with_phi,
)

from pipeline.claims.measurement import (
    NotMeasurable,
    any_substituted,
    difference_measurement,
    measure_claims,
)
from pipeline.claims.stragglers import data_sets as fig3
from pipeline.claims.stragglers import initial_weights_and_layers as ours
from pipeline.claims.stragglers import supplement
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, chosen
from pipeline.scorecard import decide

BELOW = {"kind": "claim", "side": "below", "threshold": 0.0}
ABOVE = BELOW | {"side": "above"}
FITS = scaling_runs({"mnist": 0.11, "kmnist": 0.2})


def verdict(rule: dict[str, Any], measured: Any) -> str:
    from dataclasses import asdict

    return decide({**rule, "measurement": asdict(measured)})[0]


# --- differences ---------------------------------------------------------------------------------


def test_welch_interval_equals_scipys():
    from scipy.stats import ttest_ind

    random = np.random.default_rng(0)
    one, two = random.normal(1.0, 0.3, 7), random.normal(0.4, 1.2, 12)
    found = difference_measurement(one, two, False, "note")
    expected = ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(one.mean() - two.mean())
    assert found.spread == pytest.approx(np.hypot(one.std(ddof=1), two.std(ddof=1)))
    assert (found.n, found.note) == (7, "note")


def test_differences_of_equal_and_of_single_networks():
    same = difference_measurement(np.full(3, 2.0), np.full(4, 1.5), False)
    assert (same.value, same.interval, same.spread) == (0.5, (0.5, 0.5), 0.0)
    single = difference_measurement(np.array([2.0]), np.array([1.0, 1.2]), True)
    assert (single.interval, single.spread, single.n) == (None, None, 1)


# --- Fig. 3b, 3e ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dataset", "limit"), [("mnist", 0.11), ("kmnist", 0.2)])
def test_limit_of_phi(dataset, limit):
    data = chosen(FITS, [f"scaling_{dataset}"], ["scaling"])
    found = fig3.limit_of_phi(data)
    assert found.value == pytest.approx(limit, rel=1e-4)
    assert found.n == 5
    assert found.interval[0] < limit < found.interval[1]
    assert f"{SIZES[-1]}: " in found.note
    assert verdict({"kind": "about", "value": limit}, found) == "agrees"
    assert verdict({"kind": "about", "value": 0.15}, found) == "differs"


def test_a_limit_that_is_not_determined_is_no_number():
    from pipeline.analysis.scaling import scaling_fits

    runs = [straggler_run(f"m_{size}", samples=size) for size in SIZES[:2]]
    data = RunGroups({"scaling_mnist": runs})
    data.analyses["scaling"] = scaling_fits(data, {"by": ["dataset"], "resamples": 2})
    with pytest.raises(NotMeasurable, match=r"2 sizes cannot fix 3 .*phi at the largest P = 1024"):
        fig3.limit_of_phi(data)
    claim = {
        "id": "limit",
        "kind": "about",
        "value": 0.11,
        "function": "pipeline.claims.stragglers.data_sets:limit_of_phi",
        "runs": ["scaling_mnist"],
        "analyses": ["scaling"],
    }
    [row] = measure_claims([claim], data)
    assert row["measurement"] is None
    assert decide(row)[0] == "no data"
    assert "2 sizes" in decide(row)[1]


def test_limit_needs_a_curve_of_its_data_set():
    data = chosen(FITS, ["scaling_mnist"], ["scaling"])
    data["scaling_mnist"] = [straggler_run(dataset="cifar10")]
    with pytest.raises(PipelineError, match="no curve of cifar10"):
        fig3.limit_of_phi(data)


@pytest.mark.parametrize(
    ("limit", "constant", "by_depth"),
    [
        (lambda depth, width: 0.115 + 0.004 * (depth == 4), True, True),
        (lambda depth, width: 0.115 + 0.004 * (width == 20), True, False),
        (lambda depth, width: 0.09 + 0.06 * (depth == 4), False, True),
    ],
)
def test_architectures(limit, constant, by_depth):
    data = architecture_runs(limit)
    expected = [limit(depth, width) for depth in (2, 4) for width in (10, 20)]
    mean = fig3.architectures_limit(data)
    assert mean.value == pytest.approx(np.mean(expected), rel=1e-4)
    assert mean.spread == pytest.approx(np.std(expected, ddof=1), rel=1e-3)
    extent = fig3.architectures_constant(data)
    assert extent.value == pytest.approx(np.ptp(expected), rel=1e-3)
    assert (verdict(BELOW | {"threshold": 0.04}, extent) == "agrees") == constant
    weight = fig3.architectures_depth_over_width(data)
    assert abs(weight.value) == pytest.approx(np.ptp(expected), rel=1e-3)
    assert (verdict(ABOVE, weight) == "agrees") == by_depth
    assert fig3.architectures_constant(data) == extent


def test_architectures_of_which_no_fit_is_determined():
    data = architecture_runs(lambda depth, width: 0.12, sizes=SIZES[:2])
    for name in ("limit", "constant", "depth_over_width"):
        with pytest.raises(NotMeasurable, match=r"no fit .* determines phi_inf"):
            getattr(fig3, f"architectures_{name}")(data)
    some = architecture_runs(lambda depth, width: 0.12)
    fits = some.analyses["scaling_architectures"]
    one = fits.assign(fit_determined=("curve", [False, True, False, False]))
    some.analyses["scaling_architectures"] = one
    assert "3 of 4 fits are not determined" in fig3.architectures_limit(some).note
    with pytest.raises(NotMeasurable, match="a single architecture"):
        fig3.architectures_constant(some)
    with pytest.raises(NotMeasurable, match=r"depths \[2\] and the widths \[20\] only"):
        fig3.architectures_depth_over_width(some)


# --- Figs. 3c, 3d --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "expected"), [(0.2, "agrees"), (0.1, "differs"), (0.05, "differs")]
)
def test_phi_difference(phi, expected):
    data = {
        "cifar10": [with_phi(straggler_run("cifar10"), phi)],
        "main": [with_phi(straggler_run(), 0.1)],
    }
    found = fig3.phi_difference(RunGroups(data))
    assert found.value == pytest.approx(phi - 0.1)
    assert found.note.startswith(f"phi: cifar10 {phi:.4f} (4 of 4 invert); main 0.1000")
    assert verdict(ABOVE, found) == expected


def test_error_axis_is_sharper_where_the_speeds_differ():
    data = cifar_runs()
    found = fig3.error_axis_sharper(data)
    one = data.analyses["sharpness"].isel(curve=0)
    assert found.value == float(one["scatter_error"] / one["scatter_epoch"])
    assert found.value < 0.5
    assert verdict(BELOW | {"threshold": 1.0}, found) == "agrees"


def test_error_axis_without_a_scatter_or_a_curve():
    data = cifar_runs()
    sharp = data.analyses["sharpness"]
    data.analyses["sharpness"] = sharp.assign(
        scatter_ratio=sharp["scatter_ratio"] * np.nan
    ).assign_attrs(undefined={"cifar10": ["All the same."]})
    with pytest.raises(NotMeasurable, match="not defined: All the same"):
        fig3.error_axis_sharper(data)
    other = RunGroups({"main": [straggler_run()]}, {"sharpness": sharp})
    with pytest.raises(PipelineError, match="is of cifar10, not of main"):
        fig3.error_axis_sharper(other)


# --- S1, S4, T1, T2 ------------------------------------------------------------------------------


@pytest.mark.parametrize(("phi", "expected"), [(0.09, "agrees"), (0.1, "differs")])
def test_sgd_shift_is_that_of_the_smallest_batch(phi, expected):
    small = with_phi(straggler_run("sgd_32", batch_size=32), phi)
    large = with_phi(straggler_run("sgd_512", batch_size=512), 0.3)
    data = RunGroups({"sgd": [large, small], "main": [with_phi(straggler_run(), 0.1)]})
    found = supplement.sgd_shift(data)
    assert found.value == pytest.approx(phi - 0.1)
    assert verdict(BELOW, found) == expected
    with pytest.raises(PipelineError, match="one without"):
        supplement.sgd_shift(RunGroups({"sgd": [small]}))


@pytest.mark.parametrize(("farther", "expected"), [(1.0, "agrees"), (0.0, "differs")])
def test_places_of_stragglers(farther, expected):
    data = place_runs(farther=farther)
    found = supplement.stragglers_farther(data)
    effects = data.analyses["class_centres"]["effect_size_within"].values
    assert found.value == pytest.approx(effects.mean())
    assert verdict(ABOVE, found) == expected
    assert "largest p of the rank test within classes 1e-09" in found.note
    near = supplement.stragglers_near_boundary(data)
    assert near.value == pytest.approx(0.3 * farther + 0.018 - 0.1)
    assert verdict(ABOVE, near) == expected


def test_networks_without_an_effect_are_left_out():
    data = place_runs(networks=4)
    data.analyses["class_centres"]["effect_size_within"][2] = np.nan
    data.analyses["tsne"]["opposite_share_others"][0] = np.nan
    assert supplement.stragglers_farther(data).n == 3
    assert supplement.stragglers_near_boundary(data).n == 3


@pytest.mark.parametrize("name", ["tanh", "relu", "leaky_relu", "silu", "identity"])
def test_phi_of_an_activation(name):
    names = ("tanh", "relu", "leaky_relu", "silu", "identity")
    runs = [
        with_phi(straggler_run(f"activations_{one}", activation=one), 0.09 + 0.001 * i, 0.004)
        for i, one in enumerate(names)
    ]
    found = getattr(supplement, f"phi_{name}")(RunGroups({"activations": runs}))
    assert found.value == pytest.approx(0.09 + 0.001 * names.index(name))
    assert found.spread == pytest.approx(0.004)
    with pytest.raises(NotMeasurable, match=f"activation {name} was given"):
        getattr(supplement, f"phi_{name}")(RunGroups({"main": [straggler_run(activation="other")]}))


def test_zscore_of_pairs():
    data = pair_runs()
    table = data.analyses["stability_pairs"]
    for index, groups in enumerate((["deep_4", "main"], ["deep_4"], ["sgd_shuffles"])):
        found = supplement.straggler_zscore(chosen(data, groups, ["stability_pairs"]))
        one = table.isel(pair=index)
        assert found.value == float(one["pair_z_score_corrected"])
        assert found.interval == (float(one["pair_z_score_low"]), float(one["pair_z_score_high"]))
        assert f"z {float(one['pair_z_score']):.1f} with the bias" in found.note
    assert supplement.straggler_zscore(chosen(data, ["main", "deep_4"], ["stability_pairs"])).n == 5
    with pytest.raises(PipelineError, match="no pair of main"):
        supplement.straggler_zscore(chosen(data, ["main"], ["stability_pairs"]))


def test_zscore_that_is_not_defined():
    data = pair_runs(seeds=2)
    with pytest.raises(NotMeasurable, match="2 runs make 1 pair"):
        supplement.straggler_zscore(chosen(data, ["sgd_shuffles"], ["stability_pairs"]))


# --- initial weights, layers ---------------------------------------------------------------------


@pytest.mark.parametrize(("phi", "expected"), [(0.105, "agrees"), (0.15, "differs")])
def test_init_invariance(phi, expected):
    inits = [with_phi(straggler_run(f"inits_{one}", init=one), phi) for one in ("he", "xavier")]
    data = RunGroups({"main": [with_phi(straggler_run(), 0.1)], "inits": inits})
    found = ours.init_invariance(data)
    assert found.value == pytest.approx(phi - 0.1)
    assert verdict(BELOW | {"threshold": 0.02}, found) == expected
    with pytest.raises(PipelineError, match="0 runs with uniform"):
        ours.init_invariance(RunGroups({"inits": inits}))
    with pytest.raises(PipelineError, match="two or more"):
        ours.init_invariance(RunGroups({"main": data["main"]}))


@pytest.mark.parametrize("vanishes", [True, False])
def test_variance(vanishes):
    data = variance_runs(seeds=6, vanishes=vanishes)
    with_main = chosen(data, ["variance", "main"])
    alone = chosen(data, ["variance"])
    kept = ours.variance_keeps_phi(with_main)
    assert kept.value == pytest.approx(0.003 if vanishes else 0.004)
    assert verdict(BELOW | {"threshold": 0.02}, kept) == "agrees"
    smallest = [run.curves("radius_plus").min(axis=1).mean() for run in data["variance"]]
    raised = ours.variance_raises_radius(alone)
    assert raised.value == pytest.approx(smallest[-1] - smallest[0])
    assert raised.note.startswith("variance 10 = 200 / H")
    assert verdict(ABOVE, raised) == "agrees"
    shallower = ours.variance_makes_shallower(alone)
    assert shallower.value < 0
    assert shallower.note.startswith(f"variance {1 if vanishes else 10:g} =")
    removed = ours.variance_removes_minimum(alone)
    assert removed.value == (0.0 if vanishes else 1.0)
    rule = BELOW | {"threshold": 0.5}
    assert verdict(rule, removed) == ("agrees" if vanishes else "differs")


def test_phi_of_a_variance_is_that_of_networks_that_invert():
    data = chosen(variance_runs(), ["variance", "main"])
    run = data["variance"][0]
    inverts = np.array([True, True, True, False])
    phi = np.array([0.12, 0.12, 0.12, 0.5])
    data["variance"] = [
        replace(
            run, inversion=run.inversion.assign(inverts_plus=("seed", inverts), phi=("seed", phi))
        )
    ]
    assert ours.variance_keeps_phi(data).value == pytest.approx(0.02)


def test_variances_without_a_minimum_do_not_compare():
    data = variance_runs()
    gone = RunGroups({"variance": data["variance"][-1:], "main": data["main"]})
    with pytest.raises(NotMeasurable, match="no network inverts"):
        ours.variance_keeps_phi(gone)
    with pytest.raises(NotMeasurable, match="0 of the variances have a minimum"):
        ours.variance_makes_shallower(gone)
    with pytest.raises(NotMeasurable, match="one variance"):
        ours.variance_raises_radius(gone)
    with pytest.raises(PipelineError, match="normal initial weights"):
        ours.variance_removes_minimum(RunGroups({"main": data["main"]}))


@pytest.mark.parametrize(
    ("order", "expected"), [([0, 1, 2, 3], "agrees"), ([0, 3, 2, 1], "differs")]
)
def test_layers_differ(order, expected):
    run = layer_run(layers=4, alike=3)
    layers = run.trajectories["layer"].values
    reordered = run.trajectories.isel(layer=order).assign_coords(layer=layers)
    run = replace(run, trajectories=reordered)
    found = ours.layers_differ(RunGroups({"deep_8": [run]}))
    last = run.trajectories.sizes["epoch"] - 1
    steps = np.geomspace(1, last, 200).round().astype(int)
    epochs = np.unique([0, *steps])
    expected_values = []
    for seed in range(run.seeds):
        one, two, four = (run.curves("radius_plus", layer)[seed, epochs] for layer in (1, 2, 4))
        expected_values.append(np.corrcoef(one, two)[0, 1] - np.corrcoef(one, four)[0, 1])
    assert found.value == pytest.approx(np.mean(expected_values), abs=1e-12)
    assert verdict(ABOVE, found) == expected


def test_layers_that_do_not_compare():
    with pytest.raises(NotMeasurable, match="recorded 2 layers"):
        ours.layers_differ(RunGroups({"deep_8": [layer_run(layers=2)]}))
    run = layer_run(layers=3)
    still = run.trajectories.assign(radius_plus=run.trajectories["radius_plus"] * 0 + 1)
    with pytest.raises(NotMeasurable, match="never changes"):
        ours.layers_differ(RunGroups({"deep_8": [replace(run, trajectories=still)]}))


def test_substituted_data_are_marked():
    data = RunGroups({"main": [straggler_run(dataset="generated")]})
    assert any_substituted(data)
    assert supplement.phi_tanh(data).substituted
    assert not any_substituted(pair_runs(seeds=3))
