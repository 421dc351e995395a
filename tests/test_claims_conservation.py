"""Claims of Figs. 2d, S3, S5 and the z-scores of S6 on made-up runs and curves."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up_pruning import run_with

from pipeline.claims.stragglers import conservation as claims
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.runs import RunGroups

PHI = 0.12  # of the made-up runs


def data_with_maximum(error: float, low: float, high: float, **keys: object) -> RunGroups:
    """One run whose z is largest at a given training error."""
    run = run_with("main", 4, **keys)
    columns = {
        "z_score": (("curve", "epoch"), [[1.0, 9.0]]),
        "maximum_z_score": ("curve", [9.0]),
        "maximum_epoch": ("curve", [10]),
        "maximum_error": ("curve", [error]),
        "maximum_error_low": ("curve", [low]),
        "maximum_error_high": ("curve", [high]),
    }
    found = xr.Dataset(columns, {"epoch": [5, 10]}, {"curves": ["main"]})
    return RunGroups({"main": [run]}, {"stability": found})


@pytest.mark.parametrize(
    ("at", "low", "high", "value", "interval"),
    [
        (0.12, 0.108, 0.126, 0.0, (0.0, 0.1)),
        (0.132, 0.126, 0.138, 0.1, (0.05, 0.15)),
        (0.06, 0.06, 0.09, 0.5, (0.25, 0.5)),
    ],
)
def test_distance_from_phi(at, low, high, value, interval):
    found = claims.stragglers_most_conserved(data_with_maximum(at, low, high))
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.interval == pytest.approx(interval)
    assert found.n == 4
    assert f"phi = {PHI:.4f}" in found.note


def test_z_scores_of_one_run_are_needed():
    data = data_with_maximum(0.1, 0.1, 0.1)
    with pytest.raises(NotMeasurable, match="No analysis holds z-scores of the run main"):
        claims.stragglers_most_conserved(RunGroups(data))
    more = RunGroups(data | {"other": [run_with("other", 2)]}, data.analyses)
    with pytest.raises(PipelineError, match="takes one run, but 2"):
        claims.stragglers_most_conserved(more)


def convolutional() -> RunGroups:
    small = run_with("cnn_4", 8, kernel=4)
    large = run_with("cnn_24", 8, kernel=24)
    small.inversion["inverts_plus"].values[:] = False
    small.inversion["inverts_minus"].values[:] = False
    small.inversion["inverts"].values[:] = False
    return RunGroups({"cnn": [large, small]})


def test_only_the_distance_inverts_with_small_kernels():
    data = convolutional()
    large, apart, radii = (
        getattr(claims, name)(data)
        for name in (
            "large_kernel_inverts",
            "small_kernel_distance_inverts",
            "small_kernel_radii_invert",
        )
    )
    assert (large.value, apart.value, radii.value) == (1, 1, 0)
    assert large.interval[0] > 0.5
    assert radii.interval[1] < 0.5
    assert "kernels 24x24" in large.note
    assert "kernels 4x4" in radii.note


def test_one_radius_is_enough_to_count():
    data = convolutional()
    data["cnn"][1].inversion["inverts_minus"].values[:5] = True
    assert claims.small_kernel_radii_invert(data).value == 5 / 8


def test_convolutional_runs_are_needed():
    with pytest.raises(PipelineError, match="No convolutional run"):
        claims.large_kernel_inverts(RunGroups({"main": [run_with("main", 2)]}))


def test_small_kernels_are_compared_with_the_error_at_the_maximum_of_d():
    data = data_with_maximum(0.09, 0.09, 0.09, kernel=4)
    run = data["main"][0]
    run.inversion["inverts_plus"].values[:] = False
    run.inversion["inverts_minus"].values[:] = False
    run.inversion["error_distance"].values[:] = np.full(4, 0.1)
    found = claims.stragglers_most_conserved_small_kernel(data)
    assert found.value == pytest.approx(0.1)
