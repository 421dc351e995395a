"""How sharp a metric is against error and epoch: made-up curves with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import made_up_run

from pipeline.analysis.sets import crossing_epoch
from pipeline.analysis.sharpness import crossing_epochs, curve_scatter, log_spreads, sharpness
from pipeline.errors import GeometryError
from pipeline.runs import RunGroups
from pipeline.store.variables import validate

EPOCHS = np.arange(401.0)


def delayed(delays, metric=lambda error: 1 - error):
    """Networks that do the same, each later by a delay: (metric, error), each (networks, epochs)."""
    errors = np.stack([0.5 * np.exp(-np.maximum(EPOCHS - d, 0) / 100) for d in delays])
    return metric(errors), errors


def test_delays_scatter_only_against_the_epoch():
    x, errors = delayed([0, 10, 20, 50])
    found = curve_scatter(x, errors)
    assert found.scatter_error == pytest.approx(0, abs=2e-3)  # one epoch of resolution
    assert found.scatter_epoch > 0.1
    assert found.ratio == found.scatter_error / found.scatter_epoch
    assert 0 <= found.ratio_low <= found.ratio <= found.ratio_high < 0.1
    assert found.smallest_error == pytest.approx(0.5 * np.exp(-3.5))


def test_offsets_scatter_the_same_in_both_pictures():
    offsets = np.array([-0.02, 0.0, 0.05, 0.01])
    x, errors = delayed([0, 0, 0, 0])
    found = curve_scatter(x + offsets[:, None], errors)
    # t(eps) is the same for all, so both pictures show the sd of the offsets
    shown = x[0, crossing_epochs(errors[:1], np.linspace(0.45, found.smallest_error, 50))[0]]
    expected = offsets.std(ddof=1) / np.ptp(shown)
    assert found.scatter_error == pytest.approx(expected, rel=1e-12)
    assert found.scatter_epoch == pytest.approx(expected, rel=1e-12)
    assert (found.ratio, found.ratio_low, found.ratio_high) == pytest.approx((1, 1, 1))


def test_error_may_be_the_worse_abscissa():
    """The metric follows the epoch, the errors lag at random."""
    _, errors = delayed([0, 20, 40, 60])
    found = curve_scatter(np.tile(EPOCHS / 400, (4, 1)) + 1e-3 * np.eye(4)[:, :1], errors)
    assert found.ratio_low > 5


@pytest.mark.parametrize("seed", range(3))
def test_scale_and_order_of_networks_do_not_matter(seed):
    random = np.random.default_rng(seed)
    x, errors = delayed(random.uniform(0, 50, size=6), np.sqrt)
    x = x + 0.01 * random.normal(size=(6, 1))
    found, order = curve_scatter(x, errors), random.permutation(6)
    for other in (curve_scatter(3 - 2 * x, errors), curve_scatter(x[order], errors[order])):
        assert other.scatter_error == pytest.approx(found.scatter_error, rel=1e-9)
        assert other.scatter_epoch == pytest.approx(found.scatter_epoch, rel=1e-9)


def test_interval_is_repeatable_and_needs_three_networks():
    x, errors = delayed([0, 10, 20, 50, 70])
    x = x + 0.01 * np.arange(5)[:, None]
    assert curve_scatter(x, errors) == curve_scatter(x, errors)
    two = curve_scatter(x[:2], errors[:2])
    assert np.isfinite(two.ratio)
    assert np.isnan([two.ratio_low, two.ratio_high]).all()


def test_crossings_are_those_of_one_network():
    random = np.random.default_rng(0)
    errors = np.clip(np.linspace(0.5, 0.1, 60) + 0.05 * random.normal(size=(5, 60)), 0, 1)
    levels = np.array([0.45, 0.3, errors.min(axis=1).max()])
    expected = [[crossing_epoch(one, level) for level in levels] for one in errors]
    np.testing.assert_array_equal(crossing_epochs(errors, levels), expected)


def test_spreads_of_logarithms():
    epochs = np.array([10.0, 20.0, 40.0])
    found = log_spreads(epochs, [0.1, 0.1, 0.1])
    assert found == pytest.approx((np.log(2), 0))


@pytest.mark.parametrize(
    ("x", "errors", "sentence"),
    [
        (np.ones((2, 5)), np.ones((2, 4)), "both must be \\(networks, epochs\\)"),
        (np.ones((1, 5)), np.ones((1, 5)), "with 2 networks or more"),
        (np.full((2, 5), np.nan), np.ones((2, 5)), "not all finite"),
        (np.ones((2, 5)), np.full((2, 5), 0.5), "never gets below the training error 0.5"),
        (np.ones((2, 401)), delayed([0, 1])[1], "mean curve is constant"),
        (*delayed([0, 0]), "all the same at equal epochs"),
    ],
)
def test_faults(x, errors, sentence):
    with pytest.raises(GeometryError, match=sentence):
        curve_scatter(x, errors)


def test_spread_faults():
    with pytest.raises(GeometryError, match=r"t\* is \[0.0, 3.0\]"):
        log_spreads([0, 3], [0.1, 0.2])
    with pytest.raises(GeometryError, match=r"eps\(t\*\) is \[0.1\]"):
        log_spreads([2, 3], [0.1])


def test_of_runs():
    main, small = made_up_run("main", seeds=5), made_up_run("small", seeds=3, turn=20)
    still = small.trajectories.assign(train_error=0 * small.trajectories["train_error"] + 0.5)
    data = RunGroups({"main": [main], "small": [small, replace(small, trajectories=still)]})
    found = sharpness(data, {"resamples": 50})
    validate(found)
    assert found.attrs["curves"] == ["main", "small", "small"]
    one = curve_scatter(main.curves("radius_plus"), main.curves("train_error"))
    assert float(found["scatter_error"][0]) == one.scatter_error
    assert float(found["scatter_ratio"][0]) == one.ratio
    spread = np.std(np.log(main.inversion["epoch_plus"].values), ddof=1)
    assert float(found["spread_epoch"][0]) == pytest.approx(spread)
    assert np.isnan(found["scatter_ratio"].values).tolist() == [False, False, True]
    assert "never gets below" in found.attrs["undefined"]["small"][0]
