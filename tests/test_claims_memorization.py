"""Claims of the memorisation paper: known answers on made-up runs, one seed, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_memorization import (
    EPOCHS,
    PARTS,
    POINTS,
    REASON,
    WEIGHT_LAYERS,
    capacities,
    capacity_of,
    given,
    gradient_norms,
    rewound,
    run_of,
    unavailable,
)

from pipeline.analysis.memorization_results import (
    GRID,
    best_test_accuracy,
    common_epochs,
    layer_features,
    on_grid,
)
from pipeline.claims.measurement import Measurement, check, measure_claims
from pipeline.claims.memorization import gradients, layers
from pipeline.claims.memorization.rewinding import rewinding_restores, rewound_curves
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.runs import Run, RunGroups

SEEDS = 3
CLASSES = 6  # fewer than POINTS: the read-out has too few features
NETWORK: dict[str, Any] = {
    "network": {"builder": "pipeline.models.memorization:alexnet", "options": {}},
    "shape": [3, 32, 32],
    "outputs": CLASSES,
    "width": 1 / 128,
}
LAYERS = ("conv1", "pool2", "conv3", "pool4", "conv5", "conv6", "conv7", "pool8", "linear9")
FEATURES = [64, 16, 32, 8, 12, 8, 32, 8, CLASSES]
DEPTHS = (4 / 8, 6 / 8)  # of the last two with POINTS features or more: conv5, conv7
Claim = Callable[[RunGroups], Measurement]


def network_run(seeds: int = SEEDS, **changes: Any) -> Run:
    run = run_of(seeds=seeds, **changes)
    run.trajectories.attrs |= NETWORK
    return run


RUN = network_run()


def stack_of(run: Run = RUN) -> RunGroups:
    """Capacities of one run whose mean differences vary from seed to seed by 1 %."""
    return given([run], stack=capacities([run], LAYERS))


def rewound_with_final(run: Run = RUN, names: tuple[str, ...] = WEIGHT_LAYERS) -> xr.Dataset:
    """``rewound`` with the accuracies of the final network, which the last set gives."""
    found = rewound(run, names)
    last = found["rewound_epoch"].argmax("kept")
    return found.assign(final_accuracy=found["rewound_accuracy"][..., 0, :].isel(kept=last))


def last(kind: str, moment: str, seed: int) -> np.ndarray:
    return np.array([capacity_of(kind, moment, depth, seed) for depth in DEPTHS])


CLAIMS: dict[str, tuple[Claim, Callable[[Run], RunGroups]]] = {
    "permuted_final": (layers.permuted_final, stack_of),
    "permuted_best": (layers.permuted_best, stack_of),
    "restored_falls": (layers.restored_falls, stack_of),
    "restored_as_test": (layers.restored_as_test, stack_of),
    "early_unchanged": (layers.early_unchanged, stack_of),
    "rewinding_restores": (
        rewinding_restores,
        lambda run: given([run], found=rewound_with_final(run)),
    ),
} | {
    name: (
        getattr(gradients, name),
        lambda run: given([run], found=gradient_norms(run)),
    )
    for name in (
        "dep_unpermuted_over_permuted",
        "dep_over_ind_unpermuted",
        "dep_over_ind_permuted",
        "ind_unpermuted_over_permuted",
    )
}


SHARES = ("restored_as_test", "early_unchanged")  # of layers, which has no interval


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_finite_numbers(name: str) -> None:
    function, data = CLAIMS[name]
    found = check(name, function(data(RUN)))
    assert found.n == SEEDS
    if name in SHARES:
        assert found.interval is None
    else:
        assert found.interval is not None
        assert found.interval[0] <= found.value <= found.interval[1]
    assert not found.substituted
    assert found.note
    other = network_run(dataset="generated_colour")
    assert function(data(other)).substituted


@pytest.mark.parametrize("name", CLAIMS)
def test_one_network_has_no_interval(name: str) -> None:
    function, data = CLAIMS[name]
    if name in SHARES:
        with pytest.raises(NotMeasurable, match="needs two networks or more"):
            function(data(network_run(seeds=1)))
        return
    one = check(name, function(data(network_run(seeds=1))))
    assert (one.n, one.spread, one.interval) == (1, None, None)


@pytest.mark.parametrize("name", CLAIMS)
def test_without_its_analysis_a_claim_is_refused(name: str) -> None:
    with pytest.raises(PipelineError, match="No analysis with"):
        CLAIMS[name][0](given([RUN]))
    with pytest.raises(NotMeasurable, match=REASON):
        CLAIMS[name][0](given([RUN], gone=unavailable()))


# --- layers ---------------------------------------------------------------------------------------


def test_permuted_capacity_is_counted_in_units_of_the_bound() -> None:
    final = [np.mean(last("permuted", "final", seed) * POINTS / 2) for seed in range(SEEDS)]
    found = layers.permuted_final(stack_of())
    assert found.value == pytest.approx(np.mean(final))
    assert found.spread == pytest.approx(np.std(final, ddof=1))
    assert found.note == "last layers with N >= M = 10: conv5 (N = 12), conv7 (N = 32)"
    assert layers.permuted_best(stack_of()).value == pytest.approx(1.01)  # 1, 1.01, 1.02


def test_the_bound_is_that_of_the_permuted_points() -> None:
    data = stack_of()
    points = data.analyses["stack"]["manifold_points"]
    points[..., 1] = POINTS // 2  # permuted manifolds have fewer points than the others
    assert layers.permuted_best(data).value == pytest.approx(1.01 / 2)
    points[..., [0, 2, 3]] = 50
    assert layers.permuted_best(data).value == pytest.approx(1.01 / 2)


def test_layers_without_room_for_the_points_do_not_count() -> None:
    assert layer_features(RUN, list(LAYERS)).tolist() == FEATURES
    assert layer_features(RUN, ["linear9", "conv1"]).tolist() == [CLASSES, 64]
    data, functions = (
        stack_of(),
        (layers.permuted_final, layers.permuted_best, layers.restored_falls),
    )
    before = [function(data).value for function in functions]
    data.analyses["stack"]["mean_capacity"][..., [0, 1, 2, 3, 5, 7, 8], :] = 9.0
    assert [function(data).value for function in functions] == before
    points = data.analyses["stack"]["manifold_points"]
    points[:] = 40
    note = "last layers with N >= M = 40: conv1 (N = 64)"
    assert [function(data).note for function in functions] == [note] * 3
    points[:] = 65
    for function in functions:
        with pytest.raises(
            NotMeasurable, match=r"No layer has as many .*M = 65; most features: 64"
        ):
            function(data)


def test_restored_capacity_final_over_best() -> None:
    ratio = np.mean(last("restored", "final", 0) / last("restored", "best", 0))
    found = layers.restored_falls(stack_of())
    assert found.value == pytest.approx(ratio)  # the same for every seed
    assert found.spread == pytest.approx(0, abs=1e-12)
    assert found.value < 1


def test_an_interval_that_holds_zero() -> None:
    # mean 1, sd sqrt(2), n = 2: half width 12.706; mean 1, sd 0.1, n = 3: half width 0.248
    assert layers.holds_zero(np.array([[0.0], [2.0]])).tolist() == [True]
    three = np.array([[0.9, -0.1, 0.2], [1.0, 0.0, 0.3], [1.1, 0.1, 0.4]])
    assert layers.holds_zero(three).tolist() == [False, True, False]
    assert layers.holds_zero(three - [0.76, 0.25, 0.06]).tolist() == [True, False, True]


def with_differences(means: list[float], moment: int, scatter: float) -> RunGroups:
    """Test capacity 1 everywhere; restored capacity 1 + mean of the layer, in seeds ± ``scatter``."""
    data = stack_of()
    capacity = data.analyses["stack"]["mean_capacity"]
    capacity[:] = 1.0
    for seed, sign in enumerate((-1, 0, 1)):
        capacity[0, seed, moment, :, 2] = 1 + np.array(means) + sign * scatter
    return data


def test_layers_agree_within_error_each_on_its_own() -> None:
    # half width: 4.303 * 0.01 / sqrt(3) = 0.025
    means = [0.0, 0.02, -0.02, 0.03, 0.0, 0.0, -0.24, 0.0, 0.0]
    found = layers.restored_as_test(with_differences(means, 0, 0.01))
    assert found.value == pytest.approx(7 / 9)
    assert (found.n, found.spread, found.interval) == (SEEDS, None, None)
    assert found.note == (
        "7 of 9 layers, not pool4, conv7; largest difference 24 % at conv7; half width of the 95 % "
        "intervals 2.5 % (median over layers)"
    )
    assert layers.restored_as_test(with_differences(means, 0, 0.1)).value == 1
    found = layers.early_unchanged(with_differences([0.03, *means[1:]], 1, 0.01))  # the first three
    assert found.value == pytest.approx(2 / 3)
    assert found.note.startswith("2 of 3 first layers, not conv1; largest difference 3 % at conv1")


def test_differences_are_paired_by_network() -> None:
    data = with_differences([0.03] * 9, 0, 0.01)
    shift = np.array([-0.2, 0.0, 0.2])[:, None]  # of both kinds alike
    data.analyses["stack"]["mean_capacity"][0, :, 0, :, 2] += shift
    data.analyses["stack"]["mean_capacity"][0, :, 0, :, 3] += shift
    assert layers.restored_as_test(data).value == 0


def test_networks_without_a_capacity_are_left_out() -> None:
    data = stack_of()
    data.analyses["stack"]["mean_capacity"][0, 1, :, 6, 1:3] = np.nan
    for function in (layers.permuted_final, layers.restored_falls, layers.restored_as_test):
        assert function(data).n == SEEDS - 1
    assert layers.early_unchanged(data).n == SEEDS


@pytest.mark.parametrize(
    "name",
    [
        *("permuted_final", "permuted_best", "restored_falls", "restored_as_test"),
        "early_unchanged",
    ],
)
def test_kinds_without_samples_cannot_be_measured(name: str) -> None:
    clean = network_run(name="clean", label_noise=0.0)
    with pytest.raises(NotMeasurable, match="No network has a capacity at"):
        CLAIMS[name][0](stack_of(clean))


def test_seeds_of_other_runs_are_no_networks() -> None:
    runs = [network_run(seeds=2), network_run(4, name="longer")]
    assert layers.restored_falls(given(runs, stack=capacities(runs, LAYERS))).n == 2


# --- rewinding ------------------------------------------------------------------------------------


def test_rewinding_is_measured_at_the_last_convolution() -> None:
    found = rewound_with_final()
    measured = rewinding_restores(given([RUN], found=found))
    best = best_test_accuracy(RUN, found)
    top = found["rewound_accuracy"].values[0, :, 0, 1, 1]  # conv2: highest at epoch 0
    final = np.array([0.4, 0.39, 0.38])
    assert measured.value == pytest.approx(top.mean() / best.mean())
    assert measured.value > final.mean() / best.mean()
    assert measured.note.startswith("layer conv2 set back to epoch 0 (best epochs: 9); ")
    assert (
        f"without rewinding {final.mean() / best.mean():.3f} of the best epoch's" in measured.note
    )
    assert f"with over without {top.mean() / final.mean():.3f} (95 %: " in measured.note
    names = ("linear1", "linear2", "linear3")
    other = rewinding_restores(given([RUN], found=rewound_with_final(names=names)))
    assert other.note.startswith("layer linear2 ")


def test_all_networks_are_set_back_to_one_epoch() -> None:
    found = rewound_with_final()
    accuracy = found["rewound_accuracy"].values[0, :, :, 1, 1]  # a view: (seed, kept)
    accuracy[:] = 0.4
    for seed, kept in enumerate((0, 1, 2)):  # epochs 0, 2 and 8: each network's own luck
        accuracy[seed, kept] = 0.5
    measured = rewinding_restores(given([RUN], found=found))
    best = best_test_accuracy(RUN, found).mean()
    assert measured.value < 0.5 / best * 0.95
    grid, curves = rewound_curves(found.isel(run=0), "conv2")
    assert measured.value == pytest.approx(curves.mean(axis=0).max() / best)
    assert f"epoch {grid[curves.mean(axis=0).argmax()]:.3g} " in measured.note


def test_the_interval_is_that_of_the_networks_at_one_epoch() -> None:
    found = rewound_with_final()
    found["rewound_accuracy"].values[0, :, :, 1, 1] = np.array([0.5, 0.4, 0.3])[:, None]
    best = best_test_accuracy(RUN, found)
    measured = rewinding_restores(given([RUN], found=found))
    assert measured.value == pytest.approx(0.4 / best.mean())
    assert measured.interval == pytest.approx((0.3 / best[2], 0.5 / best[0]))  # 1 of 27 each


def test_the_final_network_itself_is_not_rewound() -> None:
    found = rewound_with_final()
    final = found["rewound_epoch"].values == found["rewound_epoch"].max("kept").values[..., None]
    before = rewinding_restores(given([RUN], found=found)).value
    found["rewound_accuracy"].values[final] = 1.0
    assert rewinding_restores(given([RUN], found=found)).value == before
    grid, curves = rewound_curves(found.isel(run=0), "conv2")
    assert grid[-1] <= 15  # the last earlier epoch of every seed
    assert curves.shape == (SEEDS, grid.size)
    assert curves.max() < 0.6


def test_fewer_seeds_may_be_rewound() -> None:
    assert rewinding_restores(given([RUN], found=rewound_with_final().isel(seed=[0, 2]))).n == 2


def test_a_network_without_earlier_sets_cannot_be_rewound() -> None:
    found = rewound_with_final().isel(kept=[0])
    with pytest.raises(NotMeasurable, match="No weights were kept before the last epoch"):
        rewinding_restores(given([RUN], found=found))


def test_curves_of_all_seeds_on_common_epochs() -> None:
    epochs = np.array([[0, 5, 10, 20], [0, 10, 16, -1]])
    grid = common_epochs(epochs)
    assert (grid[0], grid[-1], grid.size) == (0, 16, GRID)
    values = np.array([[0.0, 5, 10, 20], [0.0, 20, 32, 99]])
    assert on_grid(grid, epochs, values) == pytest.approx(np.array([grid, 2 * grid]))
    values[0, 0], values[1, 1:] = np.nan, np.nan
    first, second = on_grid(grid, epochs, values)
    assert np.isnan(first[grid < 5]).all()
    assert first[grid >= 5] == pytest.approx(grid[grid >= 5])
    assert np.isnan(second).all()


# --- gradients ------------------------------------------------------------------------------------


def ratio(first: str, second: str, epochs: list[int]) -> float:
    """Geometric mean over epochs of the ratio of two parts, which all layers and seeds have."""
    (one, fall), (two, other) = PARTS[first], PARTS[second]
    return float(np.mean([10 ** (one - two) * 10 ** ((other - fall) * np.mean(epochs) / EPOCHS)]))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("dep_unpermuted_over_permuted", "dep_unpermuted", "dep_permuted"),
        ("dep_over_ind_unpermuted", "dep_unpermuted", "ind_unpermuted"),
        ("dep_over_ind_permuted", "dep_permuted", "ind_permuted"),
        ("ind_unpermuted_over_permuted", "ind_unpermuted", "ind_permuted"),
    ],
)
def test_gradients_early_in_training(name: str, first: str, second: str) -> None:
    assert RUN.trajectories["best_epoch"].values.tolist() == [9] * SEEDS
    early = [[2, 4], [2, 4], [2]]  # kept epochs from 1 to half the best one
    expected = np.mean([ratio(first, second, epochs) for epochs in early])
    found = CLAIMS[name][0](CLAIMS[name][1](RUN))
    assert found.value == pytest.approx(expected)
    assert found.note == "epochs used: 2, 4 (seeds 0, 1); 2 (seed 2)"


def test_epochs_are_listed_seed_by_seed() -> None:
    same = {0: [32], 1: [32], 2: [32]}
    assert gradients.epochs_text(same) == "epochs used: 32 (every seed)"
    found = gradients.epochs_text({0: [4, 6], 1: [2, 6, 8], 7: [4, 6]})
    assert found == "epochs used: 4, 6 (seeds 0, 7); 2, 6, 8 (seed 1)"


def test_without_early_epochs_the_first_counts() -> None:
    epochs = np.array([0, 6, 12, -1])
    assert gradients.early_epochs(epochs, 8).tolist() == [False, True, False, False]
    assert gradients.early_epochs(epochs, 12).tolist() == [False, True, False, False]
    assert gradients.early_epochs(epochs, 24).tolist() == [False, True, True, False]
    with pytest.raises(NotMeasurable, match="No weights were kept after the first epoch"):
        gradients.early_epochs(np.array([0, -1]), 8)


def test_parts_of_empty_subsets_cannot_be_measured() -> None:
    clean = run_of("clean", label_noise=0.0)
    data = given([clean], found=gradient_norms(clean))
    with pytest.raises(NotMeasurable, match="A part of the gradient is 0"):
        gradients.dep_over_ind_permuted(data)
    assert gradients.dep_over_ind_unpermuted(data).n == SEEDS


def test_claims_that_cannot_be_measured_say_why() -> None:
    clean = network_run(name="clean", label_noise=0.0)
    entry: dict[str, Any] = {
        "id": "permuted_final",
        "function": "pipeline.claims.memorization.layers:permuted_final",
        "runs": ["clean"],
        "analyses": ["stack"],
    }
    (found,) = measure_claims([entry], stack_of(clean))
    assert found["measurement"] is None
    assert found["unavailable"].startswith("No network has a capacity at these layers")
