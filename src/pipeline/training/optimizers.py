"""Optimisers, by name in the configuration: functions from stacked parameters to an optimiser.

The update rules act element by element, so one optimiser over parameters stacked along the seed axis
updates every network of an ensemble exactly as its own optimiser would (``update_rules``).
An optimiser of one's own may be any torch.optim.Optimizer: only step, state_dict and load_state_dict
are called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.training.update_rules import State, adam_step, copy_state, sgd_step, zeros


class Optimizer(Protocol):
    """What training needs of an optimiser (torch.optim.Optimizer has it)."""

    def step(self) -> Any: ...

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


@dataclass
class StackedOptimizer:
    """An update rule with the tensors that it carries from step to step."""

    parameters: list[Tensor]
    update: Callable[[list[Tensor], list[Tensor], State], None]
    state: State

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients."""
        self.update(
            self.parameters, [p.grad for p in self.parameters if p.grad is not None], self.state
        )

    def state_dict(self) -> State:
        """The carried tensors, by name."""
        return self.state

    def load_state_dict(self, state_dict: State) -> None:
        """Continue from carried tensors."""
        copy_state(self.state, state_dict)


def gd(parameters: list[Tensor], run: dict[str, Any]) -> Optimizer:
    """Full-batch gradient descent, w <- w - eta (grad L + lambda w), with heavy-ball momentum mu."""
    momentum = run["momentum"]

    def update(values: list[Tensor], gradients: list[Tensor], state: State) -> None:
        sgd_step(
            values,
            gradients,
            state["momentum"],
            learning_rate=run["learning_rate"],
            weight_decay=run["weight_decay"],
            momentum=momentum,
        )

    return StackedOptimizer(parameters, update, {"momentum": zeros(parameters) if momentum else []})


def sgd(parameters: list[Tensor], run: dict[str, Any]) -> Optimizer:
    """Minibatch stochastic gradient descent: the update of ``gd`` on ``batch_size`` samples."""
    return gd(parameters, run)


def adam(parameters: list[Tensor], run: dict[str, Any]) -> Optimizer:
    """Adam with beta = (0.9, 0.999), eps = 1e-8 and lambda w added to the gradient."""

    def update(values: list[Tensor], gradients: list[Tensor], state: State) -> None:
        adam_step(
            values,
            gradients,
            state,
            learning_rate=run["learning_rate"],
            weight_decay=run["weight_decay"],
        )

    state = {"mean": zeros(parameters), "square": zeros(parameters)}
    return StackedOptimizer(
        parameters, update, state | {"steps": [torch.tensor(0.0) for _ in parameters]}
    )
