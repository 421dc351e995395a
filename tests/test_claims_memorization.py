"""Claims of the memorisation paper: known answers on made-up runs, one seed, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_up_memorization import (
    EPOCHS,
    PARTS,
    POINTS,
    capacities,
    capacity_of,
    given,
    gradient_norms,
    kept_epochs,
    rewound,
    run_of,
    unavailable,
)

from pipeline.analysis.memorization_results import best_test_accuracy
from pipeline.claims.measurement import Measurement, check, measure_claims
from pipeline.claims.memorization import double_descent, gradients, layers
from pipeline.claims.memorization.rewinding import rewinding_restores
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.runs import Run, RunGroups

SEEDS = 3
RUN = run_of(seeds=SEEDS)
DEPTHS = (0.75, 1.0)  # of the last two of five layers
Claim = Callable[[RunGroups], Measurement]


def stack_of(run: Run = RUN) -> RunGroups:
    return given([run], stack=capacities([run]))


def last(kind: str, moment: str, seed: int) -> np.ndarray:
    return np.array([capacity_of(kind, moment, depth, seed) for depth in DEPTHS])


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


CLAIMS: dict[str, tuple[Claim, Callable[[Run], RunGroups]]] = {
    "permuted_final": (layers.permuted_final, stack_of),
    "permuted_best": (layers.permuted_best, stack_of),
    "restored_falls": (layers.restored_falls, stack_of),
    "restored_as_test": (layers.restored_as_test, stack_of),
    "early_unchanged": (layers.early_unchanged, stack_of),
    "rewinding_restores": (rewinding_restores, lambda run: given([run], found=rewound(run))),
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


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_finite_numbers(name: str) -> None:
    function, data = CLAIMS[name]
    found = check(name, function(data(RUN)))
    assert found.n == SEEDS
    assert found.interval is not None
    assert found.interval[0] <= found.value <= found.interval[1]
    assert not found.substituted
    assert found.note
    one = check(name, function(data(run_of(seeds=1))))
    assert (one.n, one.spread, one.interval) == (1, None, None)
    other = run_of(dataset="generated_colour")
    assert function(data(other)).substituted


@pytest.mark.parametrize("name", CLAIMS)
def test_without_its_analysis_a_claim_is_refused(name: str) -> None:
    with pytest.raises(PipelineError, match="No analysis with"):
        CLAIMS[name][0](given([RUN], gone=unavailable()))


# --- layers ---------------------------------------------------------------------------------------


def test_permuted_capacity_is_counted_in_units_of_the_bound() -> None:
    final = [np.mean(last("permuted", "final", seed) * POINTS / 2) for seed in range(SEEDS)]
    found = layers.permuted_final(stack_of())
    assert found.value == pytest.approx(np.mean(final))
    assert found.spread == pytest.approx(np.std(final, ddof=1))
    assert found.note == "layers linear4, linear5"
    assert layers.permuted_best(stack_of()).value == pytest.approx(1.01)  # 1, 1.01, 1.02


def test_the_bound_is_that_of_the_permuted_points() -> None:
    data = stack_of()
    points = data.analyses["stack"]["manifold_points"]
    points[..., 1] = POINTS // 2  # permuted manifolds have fewer points than the others
    assert layers.permuted_best(data).value == pytest.approx(1.01 / 2)
    points[..., [0, 2, 3]] = 50
    assert layers.permuted_best(data).value == pytest.approx(1.01 / 2)


def test_restored_capacity_final_over_best() -> None:
    ratio = np.mean(last("restored", "final", 0) / last("restored", "best", 0))
    found = layers.restored_falls(stack_of())
    assert found.value == pytest.approx(ratio)  # the same for every seed
    assert found.spread == pytest.approx(0, abs=1e-12)
    assert found.value < 1


def test_largest_differences_are_of_means_over_networks() -> None:
    depths = np.linspace(0, 1, 5)
    restored, test = (
        np.array([capacity_of(kind, "best", depth, 0) for depth in depths])
        for kind in ("restored", "test")
    )
    found = layers.restored_as_test(stack_of())
    assert found.value == pytest.approx(np.max(np.abs(restored - test) / test))
    data = stack_of()
    data.analyses["stack"]["mean_capacity"][0, :, 1, 0, 2] *= 1.25  # restored, layer 1, final epoch
    data.analyses["stack"]["mean_capacity"][0, :, 1, 2, 2] *= 3  # a later layer does not count
    found = layers.early_unchanged(data)
    assert found.value == pytest.approx(0.25)
    assert found.note == "largest of the first 1 layers"


def test_networks_without_a_capacity_are_left_out() -> None:
    data = stack_of()
    data.analyses["stack"]["mean_capacity"][0, 1, :, -1, 1:3] = np.nan
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
    clean = run_of("clean", label_noise=0.0)
    with pytest.raises(NotMeasurable, match="No network has a capacity at"):
        CLAIMS[name][0](stack_of(clean))


def test_seeds_of_other_runs_are_no_networks() -> None:
    runs = [run_of(seeds=2), run_of("longer", seeds=4)]
    assert layers.restored_falls(given(runs, stack=capacities(runs))).n == 2


# --- rewinding ------------------------------------------------------------------------------------


def test_rewinding_is_measured_at_the_last_convolution() -> None:
    found, epochs = rewound(RUN), kept_epochs(RUN)[0]
    tops = []
    for seed in range(SEEDS):
        earlier = (epochs[seed] >= 0) & (epochs[seed] < epochs[seed].max())
        tops.append(found["rewound_accuracy"].values[0, seed, earlier, 1, 1].max())
    expected = np.mean(tops / best_test_accuracy(RUN, found))
    measured = rewinding_restores(given([RUN], found=found))
    assert measured.value == pytest.approx(expected)
    assert measured.note == "layer conv2"
    names = ["linear1", "linear2", "linear3"]
    assert rewinding_restores(given([RUN], found=rewound(RUN, names))).note == "layer linear2"


def test_the_final_network_itself_is_not_rewound() -> None:
    found = rewound(RUN)
    final = found["rewound_epoch"].values == found["rewound_epoch"].max("kept").values[..., None]
    before = rewinding_restores(given([RUN], found=found)).value
    found["rewound_accuracy"].values[final] = 1.0
    assert rewinding_restores(given([RUN], found=found)).value == before


def test_fewer_seeds_may_be_rewound() -> None:
    assert rewinding_restores(given([RUN], found=rewound(RUN).isel(seed=[0, 2]))).n == 2


def test_a_network_without_earlier_sets_cannot_be_rewound() -> None:
    found = rewound(RUN).isel(kept=[0])
    with pytest.raises(NotMeasurable, match="No weights were kept before the last epoch"):
        rewinding_restores(given([RUN], found=found))


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
    assert found.note == "epochs 1 to 2 or 4"


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


# --- widths ---------------------------------------------------------------------------------------


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
    assert "5 widths; layer conv17" in found.note
    assert function(widths(lambda width: 5.0 - width)).value == 0
    single = function(widths(heights.__getitem__, seeds=1))
    assert (single.n, single.interval) == (1, None)


def test_widths_are_compared_for_the_same_seeds() -> None:
    data = widths([3.0, 1.0, 4.0, 2.0, 2.0].__getitem__)
    values = data.analyses["stack"]["dimension"]
    values[2, 1] = np.nan  # a network that diverged
    found = double_descent.dimension_prominence(data)
    assert found.n == SEEDS - 1
    values[3, [0, 2]] = np.nan
    with pytest.raises(NotMeasurable, match="at every width"):
        double_descent.dimension_prominence(data)
    with pytest.raises(NotMeasurable, match="three widths or more"):
        double_descent.radius_prominence(widths(float, count=2))


# --- all claims of the configuration --------------------------------------------------------------


def test_claims_that_cannot_be_measured_say_why() -> None:
    clean = run_of("clean", label_noise=0.0)
    entry: dict[str, Any] = {
        "id": "permuted_final",
        "function": "pipeline.claims.memorization.layers:permuted_final",
        "runs": ["clean"],
        "analyses": ["stack"],
    }
    (found,) = measure_claims([entry], stack_of(clean))
    assert found["measurement"] is None
    assert found["unavailable"].startswith("No network has a capacity at these layers")
