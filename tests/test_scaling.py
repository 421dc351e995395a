"""The fit of phi(P) (Eq. 12), its errors, and where the data do not determine it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from made_up_runs import made_up_run

from pipeline.analysis.scaling import scaling_fits
from pipeline.analysis.scaling_fit import (
    bootstrap_phi_inf,
    fit_phi,
    scaling_form,
    standard_errors,
    with_misfit,
)
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups
from pipeline.store.variables import validate

SIZES = np.array([4096.0, 8192, 16384, 32768])  # arXiv:2303.05161, Fig. 3e
MORE = np.array([512.0, 1024, 2048, *SIZES])


def parameters(fit):
    return np.array([fit.phi_inf, fit.P0, fit.gamma])


# --- recovery ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exact",
    [(0.11, 300, 0.5), (0.2, 10, 0.3), (0.04, 1000, 1.5), (0.9, 3000, 3.0), (0.12, 1e-3, 0.2)],
)
@pytest.mark.parametrize("sizes", [SIZES, MORE])
def test_exact_data_give_their_parameters(exact, sizes):
    fit = fit_phi(sizes, scaling_form(sizes, *exact))
    np.testing.assert_allclose(parameters(fit), exact, rtol=1e-6)
    assert (fit.determined, fit.reason) == (True, "")
    assert fit.phi_inf_se < 1e-6


def test_form_at_known_points():
    assert scaling_form(300, 0.1, 300, 0.7) == 0
    assert scaling_form([1200], 0.1, 300, 0.5) == pytest.approx([0.05])


def test_order_and_units_of_the_sizes_do_not_matter():
    phi = scaling_form(MORE, 0.11, 100, 0.5) + 1e-3 * np.random.default_rng(0).normal(size=7)
    fit = fit_phi(MORE, phi, 1e-3)
    order = np.random.default_rng(1).permutation(7)
    np.testing.assert_allclose(parameters(fit_phi(MORE[order], phi[order], 1e-3)), parameters(fit))
    scaled = fit_phi(MORE * 1000, phi, 1e-3)
    np.testing.assert_allclose(parameters(scaled), parameters(fit) * [1, 1000, 1], rtol=1e-6)


def test_sigma_is_absolute_and_sets_only_the_errors():
    phi = scaling_form(MORE, 0.11, 100, 0.5) + 1e-3 * np.random.default_rng(0).normal(size=7)
    one, two = fit_phi(MORE, phi, 1e-3), fit_phi(MORE, phi, np.full(7, 2e-3))
    np.testing.assert_allclose(parameters(two), parameters(one), rtol=1e-6)
    assert two.phi_inf_se == pytest.approx(2 * one.phi_inf_se, rel=1e-5)
    free = fit_phi(MORE, phi)
    residual = np.sum((scaling_form(MORE, *parameters(free)) - phi) ** 2) / (7 - 3)
    assert free.phi_inf_se == pytest.approx(one.phi_inf_se * math.sqrt(residual) / 1e-3, rel=1e-5)


def test_fit_agrees_with_scipys_curve_fit():
    from scipy.optimize import curve_fit

    random = np.random.default_rng(4)
    sigma = np.linspace(5e-4, 2e-3, 7)
    phi = scaling_form(MORE, 0.15, 60, 0.6) + sigma * random.normal(size=7)
    fit = fit_phi(MORE, phi, sigma)
    found, cov = curve_fit(scaling_form, MORE, phi, (0.15, 60, 0.6), sigma, absolute_sigma=True)
    np.testing.assert_allclose(parameters(fit), found, rtol=1e-4)
    errors = [fit.phi_inf_se, fit.P0_se, fit.gamma_se]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(cov)), rtol=1e-3)


@pytest.mark.parametrize("known", [True, False])
def test_standard_errors_cover(known):
    """Within 1 se: 68 % of 400 data sets, or 62.6 % (Student, 4 degrees) without sigma."""
    random, exact = np.random.default_rng(7), (0.11, 100, 0.5)
    hits = np.zeros(3)
    for _ in range(400):
        phi = scaling_form(MORE, *exact) + 5e-4 * random.normal(size=7)
        fit = fit_phi(MORE, phi, 5e-4 if known else None)
        assert fit.determined
        errors = np.array([fit.phi_inf_se, fit.P0_se, fit.gamma_se])
        hits += np.abs(parameters(fit) - exact) <= errors
    expected = 0.683 if known else 0.626
    np.testing.assert_allclose(hits / 400, expected, atol=4 * 0.0245)


# --- data that do not determine the limit --------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "phi", "sigma", "reason"),
    [
        ([4096, 8192], [0.08, 0.09], 1e-3, "2 sizes cannot fix 3 parameters"),
        ([4096, 4096, 8192, 8192], [0.08, 0.08, 0.09, 0.09], 1e-3, "2 sizes cannot fix"),
        ([4096, 8192, 16384], [0.08, 0.09, 0.095], None, "3 points without standard errors"),
        (SIZES, [0.1, 0.1, 0.1, 0.1], 1e-3, "phi does not rise with P"),
        (SIZES, [0.1, 0.09, 0.085, 0.08], 1e-3, "phi does not rise with P"),
        (SIZES, [0.0, 0.0, 0.0, 0.0], None, "phi does not rise with P"),
        (SIZES, np.log(SIZES) / 100, 1e-3, "phi_inf at a bound"),  # no limit in sight
        (SIZES, [0.05, 0.1, 0.2, 0.4], 1e-3, "phi_inf at a bound"),
        (SIZES, [0.05, 0.1, 0.1, 0.1], 1e-3, "gamma at a bound"),  # a jump
    ],
)
def test_undetermined(sizes, phi, sigma, reason):
    fit = fit_phi(sizes, phi, sigma)
    assert not fit.determined
    assert reason in fit.reason


def test_large_errors_do_not_determine():
    phi = scaling_form(SIZES, 0.11, 300, 0.5)
    assert fit_phi(SIZES, phi, 1e-4).determined
    fit = fit_phi(SIZES, phi, 0.02)
    assert not fit.determined
    assert "above a fifth of" in fit.reason
    assert fit.phi_inf == pytest.approx(0.11, rel=1e-5)  # the number is there, but means little
    assert fit.phi_inf_se > 0.055


def test_three_points_with_errors_determine():
    exact = (0.11, 30, 0.5)
    fit = fit_phi(MORE[[0, 3, 6]], scaling_form(MORE[[0, 3, 6]], *exact), 1e-4)
    np.testing.assert_allclose(parameters(fit), exact, rtol=1e-6)
    assert fit.determined
    assert fit.phi_inf_se > 0


def test_flat_data_report_their_mean():
    fit = fit_phi(SIZES, [0.1, 0.1, 0.1, 0.08], [1e-3, 1e-3, 1e-3, 1.0])
    assert fit.phi_inf == pytest.approx(0.1, abs=1e-6)
    assert np.isnan([fit.P0, fit.gamma, fit.phi_inf_se, fit.P0_se, fit.gamma_se]).all()


@pytest.mark.parametrize(
    ("sizes", "phi", "sigma", "sentence"),
    [
        (SIZES, [0.1, 0.1], None, "one phi for each P"),
        ([SIZES], [SIZES], None, "one phi for each P"),
        (SIZES, [0.1, 0.1, np.nan, 0.1], None, "phi must be finite"),
        ([0, 1, 2, 3], [0.1] * 4, None, "P must be finite and above 0"),
        (SIZES, [0.1] * 4, 0.0, "sigma must be finite and above 0"),
        (SIZES, [0.1] * 4, [0.1] * 3, "sigma has shape \\(3,\\)"),
    ],
)
def test_faults(sizes, phi, sigma, sentence):
    with pytest.raises(PipelineError, match=sentence):
        fit_phi(sizes, phi, sigma)


# --- bootstrap -----------------------------------------------------------------------------------


def made_up_phis(noise: float, networks: int = 20, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    means = scaling_form(MORE, 0.11, 100, 0.5)
    return [mean + noise * random.normal(size=networks) for mean in means]


def test_bootstrap_interval():
    phis = made_up_phis(2e-3)
    low, high, share = bootstrap_phi_inf(MORE, phis, 100)
    fit = fit_phi(MORE, [one.mean() for one in phis], standard_errors(phis))
    assert share == 1
    assert low < fit.phi_inf < high
    assert (high - low) / (2 * 1.96 * fit.phi_inf_se) == pytest.approx(1, abs=0.35)
    assert (low, high, share) == bootstrap_phi_inf(MORE, phis, 100)
    assert bootstrap_phi_inf(MORE, phis, 100, generator=np.random.default_rng(0))[0] != low


def test_bootstrap_of_undetermined_data():
    low, high, share = bootstrap_phi_inf(SIZES, made_up_phis(0.02, 5)[3:], 60)
    assert share < 1
    assert high - low > 0.02
    nothing = bootstrap_phi_inf(SIZES[:2], made_up_phis(0.01)[:2], 10)
    assert np.isnan(nothing[:2]).all()
    assert nothing[2] == 0
    with pytest.raises(PipelineError, match="both must be 1 or more"):
        bootstrap_phi_inf(SIZES, [[0.1], [0.1], [], [0.1]])
    with pytest.raises(PipelineError, match="has 0 resamples"):
        bootstrap_phi_inf(SIZES, [[0.1]] * 4, 0)


def test_standard_errors_need_two_networks_that_differ():
    one = np.array([1.0, 3.0])
    assert standard_errors([one]) == pytest.approx([1.0])
    assert standard_errors([one, one[:1]]) is None
    assert standard_errors([one, one[[0, 0]]]) is None


# --- of runs -------------------------------------------------------------------------------------


def run_of(name, samples, phi, **config):
    run = made_up_run(name, seeds=len(phi), samples=samples, **config)
    run.inversion["phi"] = ("seed", np.asarray(phi))
    return run


@pytest.fixture
def groups():
    random = np.random.default_rng(3)
    exact = {"mnist": (0.11, 100, 0.5), "fashion_mnist": (0.04, 50, 0.7)}
    runs = {
        name: [
            run_of(
                f"{name}_{int(size)}",
                int(size),
                scaling_form(size, *values) + 5e-4 * random.normal(size=4),
                dataset=name,
            )
            for size in (MORE if name == "mnist" else MORE[:5])
        ]
        for name, values in exact.items()
    }
    return RunGroups(runs)


def test_fits_of_groups(groups):
    found = scaling_fits(groups, {"resamples": 20})
    validate(found)
    assert found.attrs["curves"] == [{"dataset": "mnist"}, {"dataset": "fashion_mnist"}]
    assert found.attrs["reasons"] == ["", ""]
    assert found["size"].values.tolist() == MORE.tolist()
    assert found["networks"].values.tolist() == [[4] * 7, [4] * 5 + [0] * 2]
    phis = [run.inversion["phi"].values for run in groups["mnist"]]
    fit = with_misfit(fit_phi(MORE, [one.mean() for one in phis], standard_errors(phis)))
    assert float(found["fit_phi_inf"][0]) == fit.phi_inf
    assert float(found["fit_gamma_se"][0]) == fit.gamma_se
    assert found["fit_determined"].values.tolist() == [True, True]
    np.testing.assert_allclose(found["fit_phi_inf"], [0.11, 0.04], rtol=0.05)
    assert (found["fit_phi_inf_low"] < found["fit_phi_inf"]).all()
    assert np.isnan(found["phi_mean"].values[1, 5:]).all()
    assert found["phi_sem"].values[0, 0] == pytest.approx(np.std(phis[0], ddof=1) / 2)
    xr.testing.assert_identical(found, scaling_fits(groups, {"resamples": 20}))


def test_runs_of_one_size_are_pooled():
    runs = [run_of(f"r{k}", 512, [0.1, 0.1 + k], depth=2, width=20) for k in (1, 2)]
    other = [run_of("wide", 512, [0.2, 0.3], depth=2, width=40)]
    options = {"by": ["depth", "width"], "resamples": 2}
    found = scaling_fits(RunGroups({"a": runs, "b": [*other, runs[0]]}), options)
    assert found.attrs["curves"] == [{"depth": 2, "width": 20}, {"depth": 2, "width": 40}]
    assert found["networks"].values.tolist() == [[4], [2]]
    assert float(found["phi_mean"][0, 0]) == pytest.approx(0.85)
    assert found["fit_determined"].values.tolist() == [False, False]
    assert "1 sizes cannot fix" in found.attrs["reasons"][0]


def test_unknown_setting(groups):
    with pytest.raises(PipelineError, match=r"option by is \['colour'\]"):
        scaling_fits(groups, {"by": ["colour"]})
    with pytest.raises(PipelineError, match=r"option by is \[\]"):
        scaling_fits(groups, {"by": []})


def test_standard_errors_allow_for_the_misfit_of_the_curve():
    sizes = np.array([1000.0, 2000, 4000, 8000, 16000, 32000])
    bent = scaling_form(sizes, 0.11, 300, 0.5) + 0.002 * np.array([1, -1, 1, -1, 1, -1])
    fit = fit_phi(sizes, bent, 0.0005)
    wide = with_misfit(fit)
    factor = np.sqrt(fit.chi2 / fit.degrees)
    assert factor > 2
    assert wide.phi_inf == fit.phi_inf
    assert wide.phi_inf_se == pytest.approx(factor * fit.phi_inf_se)
    fair = fit_phi(sizes, scaling_form(sizes, 0.11, 300, 0.5), 0.0005)
    assert with_misfit(fair) == fair
    lost = with_misfit(fit_phi(sizes, bent, 0.00002))
    assert lost.phi_inf_se == pytest.approx(wide.phi_inf_se, rel=1e-3)
