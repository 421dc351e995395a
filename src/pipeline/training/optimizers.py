"""Optimisers, by name in the configuration: functions from stacked parameters to an optimiser.

The update rules act element by element, so one optimiser over parameters stacked along the seed axis
updates every network of an ensemble exactly as its own optimiser would. The arithmetic is torch.optim's
own; its classes are not used because constructing one imports torch's compiler (1 to 2 s in every job). An
optimiser of one's own may be any torch.optim.Optimizer: only step, state_dict and load_state_dict are
called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam as adam_update
from torch.optim.sgd import sgd as sgd_update

State = dict[str, list[Tensor]]


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

    @torch.no_grad()
    def load_state_dict(self, state_dict: State) -> None:
        """Continue from carried tensors."""
        for name, tensors in self.state.items():
            for tensor, saved in zip(tensors, state_dict[name], strict=True):
                tensor.copy_(saved)


def zeros(parameters: list[Tensor]) -> list[Tensor]:
    """What an update rule carries of each parameter, before the first step."""
    return [torch.zeros_like(p, requires_grad=False) for p in parameters]


def sgd_step(
    values: list[Tensor],
    gradients: list[Tensor],
    carried: list[Tensor],
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool = False,
    fused: bool = False,
) -> None:
    """v <- mu v + g + lambda w, w <- w - eta v, or with Nesterov's momentum; in place.

    Arguments
    ---------
    carried: v, zeros before the first step; of momentum 0 not used. fused: in one kernel, rounded
        differently.
    """
    sgd_update(
        values,
        gradients,
        list(carried) if momentum else [None] * len(values),
        has_sparse_grad=False,
        foreach=False,
        fused=fused,
        weight_decay=weight_decay,
        momentum=momentum,
        lr=learning_rate,
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
    )


def adam_step(
    values: list[Tensor],
    gradients: list[Tensor],
    state: State,
    *,
    learning_rate: float,
    weight_decay: float,
    fused: bool = False,
) -> None:
    """A step of Adam with beta = (0.9, 0.999), eps = 1e-8 and lambda w added to the gradient; in place.

    Arguments
    ---------
    state: ``mean``, ``square`` and ``steps``, zeros before the first step. fused: as ``sgd_step``.
    """
    adam_update(
        values,
        gradients,
        state["mean"],
        state["square"],
        [],
        state["steps"],
        foreach=False,
        fused=fused,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=learning_rate,
        weight_decay=weight_decay,
        eps=1e-8,
        maximize=False,
    )


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
