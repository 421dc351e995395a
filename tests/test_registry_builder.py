"""Options of registry entries reach the functions that build networks and optimisers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.registry import builder, resolve
from pipeline.training.ensemble import train_ensemble
from pipeline.training.optimizers import sgd
from pipeline.training.settings import Settings

NETWORK = "pipeline.models.fully_connected:fully_connected"


def test_an_entry_without_options_is_the_function_itself() -> None:
    assert builder({"builder": NETWORK, "options": {}}) is resolve(NETWORK)


def test_options_are_bound() -> None:
    build = builder({"builder": NETWORK, "options": {"outputs": 3}})
    assert build(5, depth=2, width=4, activation="tanh")[-1].out_features == 3


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="no option 'kernel'; its arguments: depth, width"):
        builder({"builder": NETWORK, "options": {"kernel": 4}})


def test_an_optimizer_given_as_a_function_takes_minibatches() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(12, 5, generator=random).numpy()
    labels = [1, -1] * 6
    options: dict[str, Any] = {"batch_size": 4, "epochs": 3, "seeds": 2, "width": 3}
    by_name = train_ensemble(images, labels, optimizer="sgd", **options)
    by_function = train_ensemble(images, labels, optimizer=sgd, **options)
    assert by_name.equals(by_function)
    assert Settings(optimizer=sgd, batch_size=4).batch_size == 4


def test_layers_of_ones_own_network_may_differ_in_units() -> None:
    def network(features: int, *, depth: int, width: int, activation: str) -> torch.nn.Sequential:
        first = torch.nn.Sequential(torch.nn.Linear(features, 4), torch.nn.Tanh())
        second = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Tanh())
        return torch.nn.Sequential(first, second, torch.nn.Linear(2, 2))

    random = torch.Generator().manual_seed(0)
    images = torch.randn(12, 5, generator=random).numpy()
    labels = [1, -1] * 6
    options: dict[str, Any] = {"network": network, "epochs": 2, "seeds": 2, "precision": "float64"}
    both = train_ensemble(images, labels, layers=[1, 2], **options)
    for layer in (1, 2):
        one = train_ensemble(images, labels, layers=layer, **options)
        for name in ("radius_plus", "radius_minus", "distance"):
            assert abs(both[name].sel(layer=layer) - one[name]).max() < 1e-12
