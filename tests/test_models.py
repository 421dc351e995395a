"""Initial weights: bounds, variances, streams."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.models.fully_connected import fully_connected
from pipeline.models.initialise import initial_parameters, stacked_parameters
from pipeline.seeds import generator


def network():
    return fully_connected(300, depth=3, width=100, activation="tanh")


def draw(scheme, variance=None, seed=0):
    return initial_parameters(network(), generator(0, "s", seed, "init"), scheme, variance)


def test_uniform_has_the_papers_bounds():
    for values, fan_in in zip(draw("uniform"), (300, 300, 100, 100, 100, 100), strict=True):
        bound = 1 / math.sqrt(fan_in)
        assert np.abs(values).max() <= bound
        if values.ndim == 2 and values.size > 1000:
            assert np.abs(values).max() > 0.99 * bound
            assert abs(values.std() - bound / math.sqrt(3)) < 0.03 * bound


@pytest.mark.parametrize(
    ("scheme", "variance", "expected"),
    [("he", None, 2 / 300), ("xavier", None, 2 / 400), ("normal", 0.5, 0.5)],
)
def test_other_schemes_have_their_variance(scheme, variance, expected):
    weights = draw(scheme, variance)[0]
    assert abs(weights.var() / expected - 1) < 0.05
    assert np.abs(draw(scheme, variance)[1]).max() <= 1 / math.sqrt(300)


def test_a_seed_has_its_weights_whatever_is_beside_it():
    common = {"root": 0, "stream": "s", "scheme": "uniform", "variance": None}
    many = stacked_parameters(network(), [0, 1, 2], dtype=torch.float64, **common)
    one = stacked_parameters(network(), [2], dtype=torch.float64, **common)
    for a, b in zip(many, one, strict=True):
        assert torch.equal(a[2], b[0])
        assert not torch.equal(a[1], b[0])


def test_parameters_of_other_layers_keep_their_values():
    net = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    values = initial_parameters(net, generator(0, "s", 0, "init"))
    assert [v.shape for v in values] == [tuple(p.shape) for p in net.parameters()]
    np.testing.assert_array_equal(values[2], np.ones(3))


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [("orthogonal", None), ("normal", None), ("normal", -1.0), ("uniform", 0.1)],
)
def test_bad_schemes_are_refused(scheme, variance):
    with pytest.raises(TrainingError):
        draw(scheme, variance)


@pytest.mark.parametrize("keys", [{"depth": 1}, {"width": 0}, {"activation": "sine"}])
def test_bad_networks_are_refused(keys):
    with pytest.raises(TrainingError):
        fully_connected(4, **({"depth": 2, "width": 3, "activation": "tanh"} | keys))
