"""Optimisers of single networks, by name in the configuration: torch's fused arithmetic over groups.

torch.optim's classes are not used for them (``training.update_rules`` says why); besides, a step of theirs
costs a small network more than the arithmetic. An optimiser of one's own may be any
torch.optim.Optimizer, as ``predictors.adamp`` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.errors import TrainingError
from pipeline.training.update_rules import State, adam_step, copy_state, sgd_step, zeros

Groups = Iterable[Tensor] | Iterable[dict[str, Any]]


class NetworkOptimizer(Protocol):
    """What training a single network needs of an optimiser (torch.optim.Optimizer has it)."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from carried tensors."""
        for ours, saved in zip(self.state, state_dict["state"], strict=True):
            copy_state(ours, saved)


def adam(parameters: Groups, run: Mapping[str, Any]) -> GroupedOptimizer:
    """Adam with beta = (0.9, 0.999), eps = 1e-8 and lambda w added to the gradient.

    Arguments
    ---------
    parameters: tensors, or groups of them: {"params": tensors, "weight_decay": theirs}.
    run: settings, of which ``learning_rate`` and ``weight_decay`` are used.

    Raises TrainingError where there are no parameters.
    """

    def update(
        group: dict[str, Any], values: list[Tensor], gradients: list[Tensor], state: State
    ) -> None:
        rates = {"learning_rate": group["lr"], "weight_decay": group["weight_decay"]}
        adam_step(values, gradients, state, fused=True, **rates)

    groups = _groups(parameters, run)
    state = [
        {
            "mean": zeros(group["params"]),
            "square": zeros(group["params"]),
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

    Raises TrainingError for another momentum than 0 to below 1, for Nesterov's without one, and where there
    are no parameters.
    """
    mu = float(run["momentum"] if momentum is None else momentum)
    if not 0 <= mu < 1:
        raise TrainingError(f"momentum is {mu}; valid are numbers from 0 to below 1.")
    if nesterov and not mu:
        raise TrainingError("nesterov is true and momentum 0; Nesterov's needs a momentum above 0.")

    def update(
        group: dict[str, Any], values: list[Tensor], gradients: list[Tensor], state: State
    ) -> None:
        sgd_step(
            values,
            gradients,
            state.get("momentum", []),
            learning_rate=group["lr"],
            weight_decay=group["weight_decay"],
            momentum=mu,
            nesterov=nesterov,
            fused=True,
        )

    groups = _groups(parameters, run)
    state: list[State] = [{"momentum": zeros(one["params"])} if mu else {} for one in groups]
    return GroupedOptimizer(groups, update, state)


def _groups(parameters: Groups, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups with their settings; all parameters are one group where no groups are given."""
    given: list[Any] = list(parameters)
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    rates = {"lr": run["learning_rate"], "weight_decay": run["weight_decay"]}
    found = [{**rates, **one, "params": list(one["params"])} for one in groups]
    if not any(one["params"] for one in found):
        raise TrainingError(
            "an optimiser was given no parameters; the network has nothing to train."
        )
    return found
