"""Optimisers of single networks, by name in the configuration: torch's fused arithmetic over groups.

torch.optim's classes are not used: constructing one imports torch's compiler (1 s in every job), and a
step of theirs costs a small network more than the arithmetic. An optimiser of one's own may be any
torch.optim.Optimizer: ``param_groups``, ``zero_grad``, ``step`` and the state's two functions are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam as adam_update
from torch.optim.sgd import sgd as sgd_update

from pipeline.errors import TrainingError

State = dict[str, list[Tensor]]
Groups = Iterable[Tensor] | Iterable[dict[str, Any]]


@dataclass
class GroupedOptimizer:
    """An update rule over groups of parameters, each with its learning rate and weight decay.

    param_groups: dictionaries with ``params``, ``lr`` and ``weight_decay``; what is set there holds from the
    next step on. update: of a group, its parameters that have a gradient, their gradients and their state.
    state: of each group, by name the tensors that are carried from step to step, one per parameter.
    """

    param_groups: list[dict[str, Any]]
    update: Callable[[dict[str, Any], list[Tensor], list[Tensor], State], None]
    state: list[State]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for one in group["params"]:
                if set_to_none or one.grad is None:
                    one.grad = None
                else:
                    one.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters that have a gradient."""
        for group, state in zip(self.param_groups, self.state, strict=True):
            told = [(i, one) for i, one in enumerate(group["params"]) if one.grad is not None]
            carried = {name: [held[i] for i, _ in told] for name, held in state.items()}
            if told:
                self.update(group, [one for _, one in told], [one.grad for _, one in told], carried)

    def state_dict(self) -> dict[str, Any]:
        """The carried tensors, by group and name."""
        return {"state": self.state}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from carried tensors."""
        for ours, saved in zip(self.state, state_dict["state"], strict=True):
            for name, held in ours.items():
                for tensor, value in zip(held, saved[name], strict=True):
                    tensor.copy_(value)


def adam(parameters: Groups, run: Mapping[str, Any]) -> GroupedOptimizer:
    """Adam with beta = (0.9, 0.999), eps = 1e-8 and lambda w added to the gradient.

    Arguments
    ---------
    parameters: tensors, or groups of them: {"params": tensors, "weight_decay": theirs}.
    run: settings, of which ``learning_rate`` and ``weight_decay`` are used.
    """

    def update(
        group: dict[str, Any], values: list[Tensor], gradients: list[Tensor], state: State
    ) -> None:
        adam_update(
            values,
            gradients,
            state["mean"],
            state["square"],
            [],
            state["steps"],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )

    groups = _groups(parameters, run)
    state = [
        {
            "mean": _zeros(group["params"]),
            "square": _zeros(group["params"]),
            "steps": [torch.zeros((), device=one.device) for one in group["params"]],
        }
        for group in groups
    ]
    return GroupedOptimizer(groups, update, state)


def sgd(
    parameters: Groups,
    run: Mapping[str, Any],
    nesterov: bool = False,
    momentum: float | None = None,
) -> GroupedOptimizer:
    """Stochastic gradient descent, v <- mu v + g + lambda w, w <- w - eta v, or with Nesterov's momentum.

    Arguments
    ---------
    parameters: as ``adam`` takes them.
    run: settings, of which ``learning_rate``, ``momentum`` and ``weight_decay`` are used.
    nesterov, momentum: options of the configuration's entry; Nesterov's needs a momentum above 0, the
        run's or, before it, the option's.
    """
    mu = float(run["momentum"] if momentum is None else momentum)
    if nesterov and not mu > 0:
        raise TrainingError(
            f"nesterov is true and momentum {mu}; Nesterov's momentum needs one above 0."
        )

    def update(
        group: dict[str, Any], values: list[Tensor], gradients: list[Tensor], state: State
    ) -> None:
        sgd_update(
            values,
            gradients,
            list(state["momentum"]) if mu else [None] * len(values),
            fused=True,
            weight_decay=group["weight_decay"],
            momentum=mu,
            lr=group["lr"],
            dampening=0.0,
            nesterov=nesterov,
            maximize=False,
        )

    groups = _groups(parameters, run)
    state: list[State] = [{"momentum": _zeros(one["params"])} if mu else {} for one in groups]
    return GroupedOptimizer(groups, update, state)


def _groups(parameters: Groups, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = list(parameters)
    groups = told if told and isinstance(told[0], dict) else [{"params": told}]
    return [
        {"lr": run["learning_rate"], "weight_decay": run["weight_decay"], **one}
        for one in groups
        if isinstance(one, dict)
    ]


def _zeros(parameters: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(one, requires_grad=False) for one in parameters]
