"""Optimisers of classifiers, by name in the configuration: torch's own, over a network's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def adam(parameters: list[Tensor], run: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Adam with beta = (0.9, 0.999), eps = 1e-8 and lambda w added to the gradient.

    Arguments
    ---------
    run: settings, of which ``learning_rate`` and ``weight_decay`` are used.
    """
    return torch.optim.Adam(
        parameters, lr=run["learning_rate"], weight_decay=run["weight_decay"], fused=True
    )


def sgd(
    parameters: list[Tensor],
    run: Mapping[str, Any],
    nesterov: bool = False,
    momentum: float | None = None,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, v <- mu v + g + lambda w, w <- w - eta v, or with Nesterov's momentum.

    Arguments
    ---------
    run: settings, of which ``learning_rate``, ``momentum`` and ``weight_decay`` are used.
    nesterov, momentum: options of the configuration's entry; Nesterov's needs a momentum above 0, the
        run's or, before it, the option's.
    """
    return torch.optim.SGD(
        parameters,
        lr=run["learning_rate"],
        momentum=run["momentum"] if momentum is None else momentum,
        weight_decay=run["weight_decay"],
        nesterov=nesterov,
        fused=True,
    )
