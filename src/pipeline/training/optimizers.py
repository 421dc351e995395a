"""Optimisers, by name in the configuration: functions from stacked parameters to a torch optimiser.

The update rules act element by element, so one torch optimiser over parameters stacked along the seed
axis updates every network of an ensemble exactly as its own optimiser would.
"""

from __future__ import annotations

from typing import Any

import torch


def gd(parameters: list[torch.Tensor], run: dict[str, Any]) -> torch.optim.Optimizer:
    """Full-batch gradient descent, w <- w - eta (grad L + lambda w), with heavy-ball momentum mu."""
    return torch.optim.SGD(
        parameters,
        lr=run["learning_rate"],
        momentum=run["momentum"],
        weight_decay=run["weight_decay"],
    )


def sgd(parameters: list[torch.Tensor], run: dict[str, Any]) -> torch.optim.Optimizer:
    """Minibatch stochastic gradient descent: the update of ``gd`` on ``batch_size`` samples."""
    return gd(parameters, run)


def adam(parameters: list[torch.Tensor], run: dict[str, Any]) -> torch.optim.Optimizer:
    """Adam with beta = (0.9, 0.999), eps = 1e-8 and lambda w added to the gradient."""
    return torch.optim.Adam(
        parameters, lr=run["learning_rate"], weight_decay=run["weight_decay"], foreach=False
    )
