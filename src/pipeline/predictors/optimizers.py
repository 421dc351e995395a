"""Optimisers of predictors, by name in the configuration: torch's own, over a network's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def sgd(parameters: list[Tensor], run: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with heavy-ball momentum where that is not 0.

    Arguments
    ---------
    run: settings, of which ``learning_rate``, ``momentum`` and ``weight_decay`` are used.
    """
    return torch.optim.SGD(
        parameters,
        lr=run["learning_rate"],
        momentum=run["momentum"],
        weight_decay=run["weight_decay"],
        fused=True,
    )


def nesterov(parameters: list[Tensor], run: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The same with Nesterov's momentum."""
    return torch.optim.SGD(
        parameters,
        lr=run["learning_rate"],
        momentum=run["momentum"],
        weight_decay=run["weight_decay"],
        nesterov=True,
        fused=True,
    )


def adam(parameters: list[Tensor], run: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Adam, as classifiers have it."""
    from pipeline.classifiers.optimizers import adam as of_classifiers

    return of_classifiers(parameters, run)
