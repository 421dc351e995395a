"""Claims of Figs. 2a-2c, S2 and S6: known answers on made-up runs, and runs for which they are false."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_pruning import ERRORS, experiment, noise_of, pruning_data, run_with
from scipy.stats import binomtest

from pipeline.analysis.pruning import (
    at_seeds,
    inversion_error,
    inverting_metrics,
    noisy_test_errors_of,
    pruning_experiment,
    pruning_experiments,
)
from pipeline.claims.measurement import (
    NotMeasurable,
    bootstrap_measurement,
    measure_claims,
    share_measurement,
)
from pipeline.claims.stragglers import pruning as claims
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, chosen

SEEDS = 8
DATA = pruning_data(seeds=SEEDS)


@pytest.mark.parametrize(("k", "n"), [(0, 8), (3, 8), (8, 8), (1, 1), (17, 20)])
def test_share_interval_is_the_exact_one(k, n):
    found = share_measurement(np.arange(n) < k, False, "words")
    expected = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert (found.value, found.n) == (k / n, n)
    assert found.note == f"{k} of {n} networks; words"
    with pytest.raises(NotMeasurable, match="none is left"):
        share_measurement(np.zeros(0, bool), False)


def test_bootstrap_of_a_mean_is_near_the_exact_interval():
    values = np.random.default_rng(1).normal(size=60)
    found = bootstrap_measurement(lambda w: float(w @ values / w.sum()), 60, False)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(60)
    assert found.interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)
    assert bootstrap_measurement(lambda w: float(w @ values / w.sum()), 60, False) == found
    with pytest.raises(NotMeasurable, match="not defined"):
        bootstrap_measurement(lambda w: np.nan, 60, False)
    assert bootstrap_measurement(lambda w: 2.0, 1, False).interval is None


# --- which runs belong together -------------------------------------------------------------------


def test_runs_are_sorted_by_their_configuration():
    mixed = RunGroups({name: DATA[name][::-1] for name in reversed(list(DATA))})
    found = pruning_experiment(mixed)
    assert found.full.name == "main"
    assert [run.name for run in found.control] == ["random"]
    assert [run.config["prune_error"] for run in found.sweep] == list(ERRORS)
    assert [run.config["prune_error"] for run in found.sweep_control] == list(ERRORS)
    assert [run.name for run in found.removed("inversion")] == ["pruned_inversion"]
    assert [run.name for run in found.removed("before")] == ["pruned_3"]
    assert [run.name for run in found.removed("after")] == ["pruned_40"]


def test_networks_of_other_shapes_are_other_experiments():
    groups = experiment("under", 2, prefix="u_", width=2) | experiment("over", 2, prefix="o_")
    data = RunGroups(groups)
    assert [one.full.name for one in pruning_experiments(data)] == ["under", "over"]
    with pytest.raises(PipelineError, match="2 networks have pruned runs"):
        pruning_experiment(data)
    with pytest.raises(PipelineError, match="0 networks have pruned runs"):
        pruning_experiment(chosen(data, ["under"]))
    with pytest.raises(PipelineError, match="add it to the entry's key runs"):
        claims.removal_kills_inversion(chosen(data, ["u_pruned"]))


def test_inversion_error_is_phi_or_that_of_the_metrics_that_invert():
    run = run_with("main", 4)
    np.testing.assert_allclose(inversion_error(run), run.inversion["phi"].values)
    run.inversion["inverts_plus"].values[:] = [True, False, False, False]
    run.inversion["inverts_minus"].values[:] = False
    assert inverting_metrics(run) == ["distance"]
    np.testing.assert_array_equal(inversion_error(run), run.inversion["error_distance"].values)
    run.inversion["inverts_distance"].values[:] = False
    np.testing.assert_allclose(inversion_error(run), run.inversion["phi"].values)


def test_noisy_errors_are_those_of_the_runs_own_seeds():
    noise = DATA.analyses["noise"].isel(seed=slice(1, None))
    sigmas, errors = noisy_test_errors_of(RunGroups(DATA, {"noise": noise}), DATA["main"][0])
    assert errors.shape == (SEEDS, sigmas.size)
    assert np.isnan(errors[0]).all()
    row = noise.attrs["runs"].index("main")
    np.testing.assert_array_equal(errors[1:], noise["test_error_noisy"].values[row])
    assert noisy_test_errors_of(RunGroups(DATA), DATA["main"][0]) is None


def test_values_follow_their_seeds():
    run = run_with("main", 3)
    values = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(at_seeds(run, values, np.array([2, 7, 0])), [3, np.nan, 1])


# --- Fig. 2a --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spared", [0, 1, SEEDS])
def test_networks_that_invert_without_stragglers_are_counted(spared):
    data = pruning_data(seeds=SEEDS, spared=spared)
    found = claims.pruned_runs_that_invert(chosen(data, ["main", "pruned"]))
    low, high = binomtest(spared, SEEDS).proportion_ci(0.95, method="exact")
    assert (found.value, found.n) == (spared, SEEDS)
    assert found.interval == pytest.approx((low * SEEDS, high * SEEDS))
    killed = claims.removal_kills_inversion(data)
    assert killed.value == 1 - spared / SEEDS
    assert (killed.interval[0] > 0.5) == (spared == 0)


def test_sets_of_other_epochs_and_random_sets():
    early = claims.earlier_removal_kills_inversion(DATA)
    late = claims.later_removal_keeps_inversion(DATA)
    random = claims.random_removal_keeps_inversion(DATA)
    assert (early.value, late.value, random.value) == (1, 1, 1)
    assert min(one.interval[0] for one in (early, late, random)) > 0.5
    false = pruning_data(seeds=SEEDS, random_kills=True)
    assert claims.random_removal_keeps_inversion(false).value == 0
    assert claims.random_removal_keeps_inversion(false).interval[1] < 0.5


def test_only_networks_that_invert_with_all_samples_count():
    data = pruning_data(seeds=SEEDS)
    data["main"][0].inversion["inverts_plus"].values[:3] = False
    assert claims.removal_kills_inversion(data).value == (SEEDS - 3) / SEEDS
    assert claims.random_removal_keeps_inversion(data).value == (SEEDS - 3) / SEEDS


def test_a_seed_without_a_set_is_left_out():
    data = pruning_data(seeds=SEEDS)
    run = data["pruned_random"][0]
    keep = np.delete(np.arange(SEEDS), 2)
    object.__setattr__(run, "trajectories", run.trajectories.isel(seed=keep))
    object.__setattr__(run, "inversion", run.inversion.isel(seed=keep))
    data["main"][0].inversion["inverts_plus"].values[2] = False  # must not be counted
    found = claims.random_removal_keeps_inversion(data)
    assert (found.value, found.n) == (1, SEEDS - 1)


def test_expansion_left_by_hand():
    curves = np.array([[1.0, 0.5, 0.7, 0.6], [1.0, 0.8, 0.6, 0.4]])
    np.testing.assert_allclose(claims.way_back(curves), [0.2, 0.0])
    for metric, sign in (("radius_plus", 1), ("distance", -1)):
        function = getattr(claims, f"expansion_left_{metric}")
        assert function(DATA).value == pytest.approx(0, abs=1e-12)
        spared = pruning_data(seeds=SEEDS, spared=2)
        full, pruned = spared["main"][0], spared["pruned"][0]
        before = claims.way_back(sign * full.curves(metric)).mean()
        after = claims.way_back(sign * pruned.curves(metric)).mean()
        found = function(spared)
        assert found.value == pytest.approx(after / before)
        assert found.interval[0] <= found.value <= found.interval[1]


def test_unchanged_runs_have_all_their_expansion_left():
    data = pruning_data(seeds=SEEDS, spared=SEEDS)
    assert claims.expansion_left_radius_plus(data).value == pytest.approx(1)


def test_effect_of_random_sets():
    found = claims.random_removal_effect(DATA)
    last = {name: DATA[name][0].curves("radius_plus")[:, -1] for name in DATA}
    random = np.mean(last["pruned_random"] - last["main"])
    pruned = np.mean(last["pruned"] - last["main"])
    assert found.value == pytest.approx(abs(random / pruned))
    assert found.interval[1] < 0.1
    false = pruning_data(seeds=SEEDS, random_kills=True)
    assert claims.random_removal_effect(false).interval[0] > 0.1


# --- Figs. 2b, 2c ---------------------------------------------------------------------------------


def test_geometry_above_phi():
    found = claims.geometry_independent_above_phi(DATA)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.interval[1] < 0.25
    false = claims.geometry_independent_above_phi(pruning_data(seeds=SEEDS, flat=False))
    ends = [
        run.curves("radius_plus")[:, -1].mean() for run in [DATA["main"][0], *DATA["sweep"][:2]]
    ]
    assert false.value >= 0.4 / np.ptp(ends) - 1e-9  # R+ falls by 0.4 from eps 0.2 to 0.4
    assert false.interval[0] > 0.25
    few = RunGroups({"main": DATA["main"], "sweep": DATA["sweep"][:3]})
    with pytest.raises(NotMeasurable, match="the sweep has 1 and 2"):
        claims.geometry_independent_above_phi(few)


def test_changes_of_the_test_error():
    any_set = claims.any_removal_raises_test_error(DATA)
    assert any_set.value == pytest.approx(min(ERRORS) / 4)
    assert any_set.interval[0] > 0
    random = claims.random_test_error_change(DATA)
    assert random.value == pytest.approx((1 / 50) / (1 / 4))
    noisy = claims.removal_lowers_noisy_test_error(DATA)
    assert noisy.value == pytest.approx(-0.1 / 5)  # eps = 0.1 is nearest to phi = 0.12
    assert noisy.interval[1] < 0
    assert "lower in 8 of 8 networks" in noisy.note
    false = claims.removal_lowers_noisy_test_error(pruning_data(seeds=SEEDS, helps=False))
    assert false.interval[0] > 0


def test_a_set_that_lowers_the_test_error_is_found():
    data = pruning_data(seeds=SEEDS)
    noise = data.analyses["noise"]
    noise["test_error_noisy"].values[noise.attrs["runs"].index("sweep_0.3"), :, 0] -= 0.2
    found = claims.any_removal_raises_test_error(data)
    assert found.interval[1] < 0
    assert "eps = 0.3" in found.note


def test_networks_that_were_not_evaluated_are_left_out():
    data = pruning_data(seeds=SEEDS)
    noise = data.analyses["noise"]
    noise["test_error_noisy"].values[noise.attrs["runs"].index("sweep_0.1"), 1] = np.nan
    assert claims.any_removal_raises_test_error(data).value == pytest.approx(min(ERRORS) / 4)
    assert claims.removal_lowers_noisy_test_error(data).n == SEEDS - 1
    noise["test_error_noisy"].values[noise.attrs["runs"].index("sweep_0.1")] = np.nan
    with pytest.raises(NotMeasurable, match=r"sweep_0\.1 belong to no network"):
        claims.any_removal_raises_test_error(data)


def test_what_the_runs_leave_open_is_no_data():
    names = ["removal_kills_inversion", "earlier_removal_kills_inversion"]
    functions = {name: f"pipeline.claims.stragglers.pruning:{name}" for name in names}
    base = {"runs": ["main", "pruned"], "analyses": []}
    entries = [{"id": name, "function": functions[name]} | base for name in names]
    left = RunGroups({"main": DATA["main"], "pruned": DATA["pruned"][:1]})
    first, second = measure_claims(entries, left)
    assert first["measurement"]["value"] == 1
    assert second["measurement"] is None
    assert "No run without S(t) of the epochs asked for" in second["unavailable"]
    with pytest.raises(NotMeasurable, match="No analysis holds test errors"):
        claims.any_removal_raises_test_error(RunGroups(DATA))


def test_convolutional_networks_without_stragglers_of_others():
    keys = {"network": "convolutional", "kernel": 4}
    full = run_with("cnn_4", SEEDS, **keys)
    other = run_with("cnn_24", SEEDS, **(keys | {"kernel": 24}))
    pruned = run_with("cnn_4_fc", SEEDS, False, prune_from="main", prune_epoch="inversion", **keys)
    data = RunGroups({"cnn": [full, other], "cnn_4_fc": [pruned]})
    assert claims.expansion_left_distance(data).interval[1] < 1


def test_substituted_data_are_told():
    groups = experiment("main", 3, dataset="generated")
    data = RunGroups(groups, {"noise": noise_of(groups)})
    assert claims.removal_kills_inversion(data).substituted
    assert claims.any_removal_raises_test_error(data).substituted
    assert not claims.removal_kills_inversion(DATA).substituted
