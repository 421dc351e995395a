"""AdamP: Adam whose update leaves out what changes only the length of a weight that has no use of it.

Source: Heo et al., "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights",
ICLR 2021. Mao et al., PNAS 121(12), 2024, train vision transformers on ImageNet with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import TrainingError

DELTA = 0.1  # gradient and weight count as orthogonal below DELTA / sqrt(dim)
DECAY_RATIO = 0.1  # of the weight decay of projected weights, as the authors' programme has it


class AdamP(torch.optim.Optimizer):
    """Adam with decoupled weight decay and a projected update.

        m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2
        p = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
        q = p - (p . u) u, u = w / |w|, if |cos(w, g)| < delta / sqrt(dim w), else p
        w <- (1 - eta lambda r) w - eta q,  r = decay_ratio where p was projected, else 1

    The condition is asked of every row of a matrix or of the filters of a convolution, and holds if it does
    for all of them; else of the whole parameter. Vectors (biases, normalisation) are never projected.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        delta: float = DELTA,
        decay_ratio: float = DECAY_RATIO,
    ) -> None:
        if not lr >= 0 or not weight_decay >= 0 or not all(0 <= beta < 1 for beta in betas):
            raise TrainingError(
                f"lr is {lr}, weight_decay {weight_decay}, betas {betas}; valid are numbers from 0 on, and "
                "betas below 1."
            )
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "delta": delta, "decay_ratio": decay_ratio})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    _update(weight, weight.grad, self.state[weight], group)
        return loss


def adamp(parameters: list[Tensor], run: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamP with its published constants.

    Arguments
    ---------
    run: settings, of which ``learning_rate`` and ``weight_decay`` are used.
    """
    return AdamP(parameters, lr=run["learning_rate"], weight_decay=run["weight_decay"])


def tangential(
    weight: Tensor, gradient: Tensor, update: Tensor, delta: float = DELTA
) -> tuple[Tensor, Tensor]:
    """The update without its part along the weight, where the gradient has none; and whether (0 or 1, a
    tensor: nothing here waits for a GPU).
    """
    projected = torch.zeros((), dtype=weight.dtype, device=weight.device)
    if weight.ndim < 2:
        return update, projected
    found = update
    for rows in (1, len(weight)):  # what is asked last goes before
        w, g, p = (one.reshape(rows, -1) for one in (weight, gradient, update))
        length = w.norm(dim=1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
        unit = w / length
        along = (unit * g).sum(dim=1).abs()
        limit = delta / math.sqrt(w.shape[1])
        orthogonal = (along < limit * g.norm(dim=1)).all()
        free = p - (unit * p).sum(dim=1, keepdim=True) * unit
        found = torch.where(orthogonal, free.view_as(update), found)
        projected = torch.maximum(projected, orthogonal.to(projected.dtype))
    return found, projected


def _update(weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state["step"] = 0
        state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
    state["step"] += 1
    first, second = group["betas"]
    state["mean"].lerp_(gradient, 1 - first)
    state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    spread = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
    update = state["mean"] / (1 - first ** state["step"]) / spread
    update, projected = tangential(weight, gradient, update, group["delta"])
    ratio = 1 - projected * (1 - group["decay_ratio"])
    weight.mul_(1 - group["lr"] * group["weight_decay"] * ratio)
    weight.add_(update, alpha=-group["lr"])
