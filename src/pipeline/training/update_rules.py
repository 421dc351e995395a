"""One step of an optimiser, in place: torch.optim's own arithmetic.

Its classes are not used because constructing one imports torch's compiler (1 to 2 s in every job).
"""

from __future__ import annotations

from torch import Tensor, no_grad, zeros_like
from torch.optim.adam import adam as adam_update
from torch.optim.sgd import sgd as sgd_update

State = dict[str, list[Tensor]]


def zeros(parameters: list[Tensor]) -> list[Tensor]:
    """What an update rule carries of each parameter, before the first step."""
    return [zeros_like(p, requires_grad=False) for p in parameters]


@no_grad()
def copy_state(state: State, saved: State) -> None:
    """Continue from carried tensors: copy saved ones into those of the same names, in their order."""
    for name, tensors in state.items():
        for tensor, value in zip(tensors, saved[name], strict=True):
            tensor.copy_(value)


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
