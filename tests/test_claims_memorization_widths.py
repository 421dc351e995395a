"""Claims about geometry and width of the memorisation paper: peaks, and what noise alone gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from made_up_memorization import capacities, run_of

from pipeline.claims.measurement import Measurement
from pipeline.claims.memorization import double_descent
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups

SEEDS = 3
Claim = Callable[[RunGroups], Measurement]


def widths(curve: Callable[[int], float], seeds: int = SEEDS, count: int = 5) -> RunGroups:
    """Runs whose test manifolds have dimension, radius and correlation ``curve(width)`` in every seed."""
    runs = [run_of(f"width_{number}", seeds) for number in range(count)]
    stack = capacities(runs, ["conv17"], kinds=["test"])
    for name in ("dimension", "radius", "center_correlation"):
        for number in range(count):
            stack[name][number] = curve(number)
    found = RunGroups({"double_descent": runs})
    found.analyses["stack"] = stack
    return found


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([5, 4, 3, 2, 1], 0.0),
        ([1, 2, 3, 4, 5], 0.0),
        ([3, 1, 4, 2], 2 / 2.5),
        ([1, 3, 2], 1 / 2),
        ([2, 2, 2], 0.0),
    ],
)
def test_an_inner_peak_has_a_prominence(curve: list[float], expected: float) -> None:
    assert double_descent.inner_peak(np.array(curve, float)) == pytest.approx(expected)


PROMINENCES = (
    double_descent.dimension_prominence,
    double_descent.radius_prominence,
    double_descent.correlation_prominence,
)


@pytest.mark.parametrize("function", PROMINENCES)
def test_double_descent_is_the_prominence_over_widths(function: Claim) -> None:
    heights = [3.0, 1.0, 4.0, 2.0, 2.0]
    found = function(widths(heights.__getitem__))
    assert found.value == pytest.approx(2 / np.mean(heights))
    assert found.interval == pytest.approx((found.value, found.value))  # seeds are all the same
    assert found.n == SEEDS
    assert found.note == (
        "5 widths; layer conv17; noise alone gives 0.000 (median) to 0.000 (95th percentile)"
    )
    assert function(widths(lambda width: 5.0 - width)).value == 0
    single = function(widths(heights.__getitem__, seeds=1))
    assert (single.n, single.interval) == (1, None)
    assert "not known with one network" in single.note


def scattered(curve: list[float], scatter: float) -> RunGroups:
    """Dimensions of a curve whose seeds are that much below, at and above it."""
    data = widths(curve.__getitem__, count=len(curve))
    data.analyses["stack"]["dimension"][:] += xr.DataArray([-scatter, 0, scatter], dims="seed")
    return data


def test_widths_are_ordered_by_their_parameters() -> None:
    data = widths([3.0, 1.0, 2.0].__getitem__, count=3)
    data.analyses["stack"]["parameters"][:] = [3, 1, 2]
    assert double_descent.dimension_prominence(data).value == 0  # 1, 2, 3
    data.analyses["stack"]["parameters"][:] = [2, 1, 3]
    assert double_descent.dimension_prominence(data).value == pytest.approx(1 / 2)  # 1, 3, 2


def test_networks_of_different_widths_are_no_pairs() -> None:
    curve = [3.0, 1.0, 4.0, 2.0, 2.0]
    found = double_descent.dimension_prominence(scattered(curve, 0.1))
    # resampled jointly, every width would move by the same amount and leave the difference 4 - 2
    assert found.interval is not None
    low, high = found.interval
    assert low * 2.4 < 1.92
    assert high * 2.4 > 2.08
    groups = [np.array([value - 0.1, value, value + 0.1]) for value in curve]
    drawn = double_descent.resampled_peaks(groups, np.random.default_rng(0))
    # 4 ± s - max(2 ± s, 2 ± s), s = 0.1 sqrt(2 / 9): sd about s sqrt(1 + 0.68)
    assert np.std(drawn * 2.4) == pytest.approx(0.1 * np.sqrt(2 / 9 * 1.68), rel=0.15)


def test_noise_alone_has_a_level() -> None:
    groups = [np.array([level - 0.1, level, level + 0.1]) for level in (1.0, 3.0, 2.0)]
    peaks = double_descent.peaks_of_noise(groups, np.random.default_rng(0))
    # three widths: the middle one above both others in a third of the curves, of level 2
    assert (peaks > 0).mean() == pytest.approx(1 / 3, abs=0.03)
    random = np.random.default_rng(1).normal(0, 0.1 / np.sqrt(3) / 2, size=(20_000, 3))
    above = np.maximum(0, random[:, 1] - np.maximum(random[:, 0], random[:, 2]))
    assert np.quantile(peaks, 0.95) == pytest.approx(np.quantile(above, 0.95), rel=0.1)


def test_peaks_that_noise_gives_cannot_be_decided() -> None:
    flat = [2.0, 2.0, 2.0, 2.0, 2.0]
    assert double_descent.dimension_prominence(scattered(flat, 0.02)).value == 0
    sentence = (
        r"With 3 networks of each width a peak of 0\.05 cannot be told from noise: measured 0\.000, "
        r"noise alone gives 0\.\d+ \(median\) to 0\.\d+ \(95th percentile\); train more networks\."
    )
    with pytest.raises(NotMeasurable, match=sentence):
        double_descent.dimension_prominence(scattered(flat, 0.3))
    # a peak above what noise gives is one
    found = double_descent.dimension_prominence(scattered([3.0, 1.0, 4.0, 2.0, 2.0], 0.3))
    assert found.value == pytest.approx(2 / 2.4)


def test_the_rows_ask_for_the_peak_of_the_noise_test() -> None:
    path = Path(__file__).parents[1] / "config" / "memorization" / "claims.yaml"
    claims = yaml.safe_load(path.read_text(encoding="utf-8"))["memorization"]["claims"]
    found = {c["threshold"] for name, c in claims.items() if name.startswith("double_descent")}
    assert found == {double_descent.PEAK}


def test_each_width_has_its_own_networks() -> None:
    data = widths([3.0, 1.0, 4.0, 2.0, 2.0].__getitem__)
    values = data.analyses["stack"]["dimension"]
    values[2, 1] = np.nan  # a network that diverged
    found = double_descent.dimension_prominence(data)
    assert found.n == SEEDS - 1
    values[3, [0, 2]] = np.nan  # no seed but one is left at both widths
    assert double_descent.dimension_prominence(data).n == 1
    values[3] = np.nan
    with pytest.raises(NotMeasurable, match="At some width no network"):
        double_descent.dimension_prominence(data)
    with pytest.raises(NotMeasurable, match="three widths or more"):
        double_descent.radius_prominence(widths(float, count=2))
