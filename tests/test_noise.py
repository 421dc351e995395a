"""The kernel of noisy test sets: against plain loops and a closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import vector_to_parameters

from pipeline.analysis import stacked_networks
from pipeline.analysis.noise import noisy_test_errors
from pipeline.analysis.stacked_networks import split_network
from pipeline.errors import ConfigError, DataError, TrainingError
from pipeline.hardware import compute_threads
from pipeline.models.convolutional import convolutional
from pipeline.models.fully_connected import ACTIVATIONS, fully_connected

FEATURES, SAMPLES, NETWORKS = 36, 50, 5
SIGMAS = (0.0, 0.5, 1.5)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These products are small: more threads only wait for each other."""
    with compute_threads(1):
        yield


def deep_convolutional() -> nn.Sequential:
    """A network that no fast path is for."""
    hidden = nn.Sequential(nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 3, 3), nn.MaxPool2d(2))
    return nn.Sequential(hidden, nn.Sequential(nn.Flatten(), nn.LayerNorm(12)), nn.Linear(12, 2))


def strided() -> nn.Sequential:
    layer = nn.Conv2d(1, 2, 3, stride=2, padding=1, dilation=2)
    image = nn.Unflatten(1, (1, 6, 6))
    return nn.Sequential(nn.Sequential(image, layer, nn.SiLU(), nn.Flatten()), nn.Linear(8, 2))


def without_biases() -> nn.Sequential:
    first, last = nn.Linear(FEATURES, 7, bias=False), nn.Linear(7, 2, bias=False)
    return nn.Sequential(nn.Sequential(first, nn.ReLU()), last)


STACKABLE = {
    **{
        f"{activation} of depth {depth}": partial(
            fully_connected, FEATURES, depth=depth, width=7, activation=activation
        )
        for activation in ACTIVATIONS
        for depth in (2, 4)
    },
    "convolution": partial(convolutional, FEATURES, depth=2, width=3, activation="tanh", kernel=4),
    "convolution as large as the image": partial(
        convolutional, FEATURES, depth=2, width=3, activation="relu", kernel=6
    ),
    "strided": strided,
    "without biases": without_biases,
}
OTHERS = {
    "pooled": deep_convolutional,
    "grouped": lambda: nn.Sequential(
        nn.Sequential(nn.Unflatten(1, (2, 3, 6)), nn.Conv2d(2, 2, 3, groups=2), nn.Flatten()),
        nn.Linear(8, 2),
    ),
    "other activation": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(FEATURES, 4), nn.Softplus()), nn.Linear(4, 2)
    ),
    "one layer": lambda: nn.Sequential(nn.Linear(FEATURES, 2)),
}


def make(network: nn.Module, seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    """Weights of several networks, and a test set."""
    random = np.random.default_rng(seed)
    parameters = sum(p.numel() for p in network.parameters())
    return {
        "weights": random.normal(scale=0.4, size=(NETWORKS, parameters)),
        "images": random.standard_normal((SAMPLES, FEATURES)).astype(dtype),
        "labels": random.choice([-1, 1], SAMPLES).astype(np.int8),
    }


def noise(seed: int, draw: int) -> np.random.Generator:
    return np.random.default_rng([seed, draw])


def outputs(network: nn.Module, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(samples, 2), one network, float64."""
    network = network.double()
    vector_to_parameters(torch.from_numpy(np.asarray(weights, np.float64)), network.parameters())
    with torch.no_grad():
        return network(torch.from_numpy(images.astype(np.float64))).numpy()


def plain_errors(network: nn.Module, made: dict[str, Any], seed: int, draws: int) -> np.ndarray:
    """The definition: a loop over networks, sigmas and draws, on whole noisy sets."""
    errors = np.empty((NETWORKS, len(SIGMAS), draws))
    for draw in range(draws):
        n = noise(seed, draw).standard_normal((SAMPLES, FEATURES), dtype=np.float32)
        for s, sigma in enumerate(SIGMAS):
            for r, weights in enumerate(made["weights"]):
                out = outputs(network, weights, made["images"] + sigma * n.astype(np.float64))
                errors[r, s, draw] = np.mean((out[:, 1] > out[:, 0]) != (made["labels"] > 0))
    return errors


# --- the kernel against the plain way -----------------------------------------------------------


@pytest.mark.parametrize("name", [*STACKABLE, *OTHERS])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_a_loop_over_networks_and_noisy_sets(name: str, seed: int) -> None:
    network = (STACKABLE | OTHERS)[name]()
    made = make(network, seed)
    found = noisy_test_errors(
        network, sigmas=SIGMAS, draws=3, generator_of_draw=partial(noise, seed), block=16, **made
    )
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, plain_errors(network, made, seed, 3))
    assert np.ptp(found[:, 2]) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*STACKABLE, *OTHERS])
def test_split_fields_equal_the_networks_outputs(name: str, dtype: Any) -> None:
    network = (STACKABLE | OTHERS)[name]()
    made = make(network, 3, dtype)
    stack, x = torch.from_numpy(made["weights"].astype(dtype)), torch.from_numpy(made["images"])
    linear, offset, upper = split_network(network.to(stack.dtype), stack, FEATURES)
    n = torch.from_numpy(np.random.default_rng(1).standard_normal(x.shape).astype(dtype))
    with torch.no_grad():
        fields = upper(linear(x) + offset + 0.75 * linear(n)).numpy()
        stacked = linear(x).shape[0] == NETWORKS
    assert stacked == (name in STACKABLE)
    noisy = made["images"].astype(np.float64) + 0.75 * n.double().numpy()
    for weights, field in zip(stack.numpy(), fields, strict=True):
        out = outputs(network, weights, noisy)
        tolerance = 1e-5 if dtype is np.float32 else 1e-12
        expected = out[:, 1] - out[:, 0]
        np.testing.assert_allclose(field, expected, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("name", ["tanh of depth 2", "convolution", "pooled"])
def test_blocks_and_groups_of_networks_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = (STACKABLE | OTHERS)[name]()
    arguments: dict[str, Any] = {
        **make(network, 4),
        "sigmas": SIGMAS,
        "draws": 2,
        "generator_of_draw": partial(noise, 4),
    }
    whole = noisy_test_errors(network, block=SAMPLES, **arguments)
    np.testing.assert_array_equal(noisy_test_errors(network, block=7, **arguments), whole)
    monkeypatch.setattr(stacked_networks, "UNITS_AT_ONCE", 1)
    np.testing.assert_array_equal(noisy_test_errors(network, **arguments), whole)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_networks_meet_the_same_noise(seed: int) -> None:
    """Equal networks have equal errors, whatever stands beside them and in whatever order."""
    network = STACKABLE["tanh of depth 2"]()
    made = make(network, seed)
    common = {"sigmas": SIGMAS, "draws": 4, "generator_of_draw": partial(noise, seed)}
    found = noisy_test_errors(network, **made, **common)
    order = np.random.default_rng(seed).permutation(NETWORKS)[:3]
    part = {**made, "weights": made["weights"][order]}
    np.testing.assert_array_equal(noisy_test_errors(network, **part, **common), found[order])
    fewer = {**common, "sigmas": [1.5]}
    np.testing.assert_array_equal(noisy_test_errors(network, **made, **fewer)[:, 0], found[:, 2])


def test_linear_network_in_closed_form() -> None:
    """f = a x + c: the error at a sample is Phi(-y f / (sigma |a|)), whatever the sample."""
    network = STACKABLE["identity of depth 2"]()
    made = make(network, 5)
    copies, draws = 1000, 4
    x = np.repeat(made["images"][:1], copies, axis=0)
    found = noisy_test_errors(
        network,
        made["weights"],
        x,
        np.ones(copies, np.int8),
        SIGMAS[1:],
        draws,
        partial(noise, 5),
    ).mean(axis=2)
    for weights, errors in zip(made["weights"], found, strict=True):
        f = np.diff(outputs(network, weights, x[:1]))[0, 0]
        steps = np.diff(
            outputs(network, weights, np.vstack([np.zeros(FEATURES), np.eye(FEATURES)]))
        )
        size = np.linalg.norm(steps[1:, 0] - steps[0, 0])
        for sigma, error in zip(SIGMAS[1:], errors, strict=True):
            expected = 0.5 * math.erfc(f / (sigma * size) / math.sqrt(2))
            spread = math.sqrt(expected * (1 - expected) / (copies * draws))
            assert abs(error - expected) < 4 * spread + 1e-6


def test_without_noise_no_noise_is_drawn() -> None:
    network = STACKABLE["tanh of depth 2"]()
    made = make(network, 6)

    def never(draw: int) -> np.random.Generator:
        raise AssertionError("drawn")

    found = noisy_test_errors(network, sigmas=[0.0], draws=3, generator_of_draw=never, **made)
    np.testing.assert_array_equal(found, np.repeat(found[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"weights": np.zeros((2, 5))}, TrainingError, r"shape \(2, 5\); valid is \(networks, 275"),
        ({"images": np.zeros((SAMPLES, FEATURES), np.uint8)}, DataError, "test images are uint8"),
        ({"images": np.full((SAMPLES, FEATURES), np.nan)}, DataError, "not finite"),
        ({"labels": np.zeros(SAMPLES)}, DataError, "50 values, each -1 or"),
        ({"labels": np.ones(3)}, DataError, "50 values, each -1 or"),
        ({"sigmas": [-0.5]}, ConfigError, r"sigmas are \[-0.5\]; valid are finite numbers from 0"),
        ({"sigmas": []}, ConfigError, "sigmas are"),
        ({"sigmas": [math.nan]}, ConfigError, "sigmas are"),
        ({"draws": 0}, ConfigError, "draws is 0; valid are whole numbers from 1"),
        ({"draws": 1.5}, ConfigError, "draws is 1.5"),
    ],
)
def test_unusable_input_is_named(changes: dict[str, Any], kind: type, message: str) -> None:
    network = STACKABLE["tanh of depth 2"]()
    arguments = make(network, 0) | {"sigmas": SIGMAS, "draws": 2} | changes
    with pytest.raises(kind, match=message):
        noisy_test_errors(network, generator_of_draw=partial(noise, 0), **arguments)


def test_networks_that_are_not_finite_are_named() -> None:
    network = STACKABLE["tanh of depth 2"]()
    made = make(network, 0)
    made["weights"][[1, 3], 4] = np.inf
    with pytest.raises(TrainingError, match=r"networks \[1, 3\] are not finite"):
        noisy_test_errors(network, sigmas=[1], draws=1, generator_of_draw=partial(noise, 0), **made)
