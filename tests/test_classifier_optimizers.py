"""Optimisers of single networks: torch.optim's own steps to the bit, without what its classes import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classifiers.optimizers import GroupedOptimizer, adam, sgd
from pipeline.errors import TrainingError
from pipeline.predictors.imagenet_schedules import decaying_groups

RUN = {"learning_rate": 0.05, "weight_decay": 0.01, "momentum": 0.0}

Made = tuple[Callable[[Any], GroupedOptimizer], Callable[[Any], torch.optim.Optimizer]]
KINDS: dict[str, Made] = {
    "adam": (
        lambda told: adam(told, RUN),
        lambda told: torch.optim.Adam(told, lr=0.05, weight_decay=0.01, fused=True),
    ),
    "sgd": (
        lambda told: sgd(told, RUN),
        lambda told: torch.optim.SGD(told, lr=0.05, weight_decay=0.01, fused=True),
    ),
    "heavy ball": (
        lambda told: sgd(told, {**RUN, "momentum": 0.8}),
        lambda told: torch.optim.SGD(told, lr=0.05, momentum=0.8, weight_decay=0.01, fused=True),
    ),
    "Nesterov": (
        lambda told: sgd(told, RUN, nesterov=True, momentum=0.9),
        lambda told: torch.optim.SGD(
            told, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True, fused=True
        ),
    ),
}


def network() -> nn.Module:
    """A convolutional network with batch normalisation, its kernels with their channels last."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    return body.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def loss_of(body: nn.Module, step: int) -> Tensor:
    draws = torch.Generator().manual_seed(step)
    x = torch.randn(5, 3, 8, 8, generator=draws).to(memory_format=torch.channels_last)
    return cross_entropy(body(x), torch.randint(0, 4, (5,), generator=draws))


@pytest.mark.parametrize("groups", [False, True], ids=["one group", "two groups"])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_torchs_own_also_from_a_saved_state(kind: str, groups: bool) -> None:
    ours, theirs = network(), network()
    make, reference = KINDS[kind]

    def told(body: nn.Module) -> Any:
        return decaying_groups(body, 0.1) if groups else list(body.parameters())

    optimizer, other = make(told(ours)), reference(told(theirs))
    for step in range(8):
        if step == 4:  # continue from a saved state
            saved = {
                "state": [
                    {name: [one.clone() for one in held] for name, held in state.items()}
                    for state in optimizer.state_dict()["state"]
                ]
            }
            optimizer = make(told(ours))
            optimizer.load_state_dict(saved)
        for one in (optimizer, other):
            for group in one.param_groups:
                group["lr"] = 0.05 / (1 + step)
            one.zero_grad(set_to_none=True)
        loss_of(ours, step).backward()  # type: ignore[no-untyped-call]
        loss_of(theirs, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        other.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_gradient_is_left_as_it_is(kind: str) -> None:
    body = network()
    optimizer = KINDS[kind][0](list(body.parameters()))
    before = [one.detach().clone() for one in body.parameters()]
    frozen = len(before) - 1
    for step in range(2):
        optimizer.zero_grad()
        loss_of(body, step).backward()  # type: ignore[no-untyped-call]
        list(body.parameters())[frozen].grad = None
        optimizer.step()
    same = [torch.equal(a, b) for a, b in zip(body.parameters(), before, strict=True)]
    assert same == [False] * frozen + [True]


def test_nesterov_needs_a_momentum() -> None:
    with pytest.raises(
        TrainingError, match=r"momentum 0\.0; Nesterov's momentum needs one above 0"
    ):
        sgd(list(network().parameters()), RUN, nesterov=True)


def test_gradients_can_be_set_to_zero_instead_of_forgotten() -> None:
    body = network()
    optimizer = sgd(list(body.parameters()), RUN)
    loss_of(body, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.zero_grad(set_to_none=False)
    assert all(one.grad is not None and not one.grad.any() for one in body.parameters())
    optimizer.zero_grad()
    assert all(one.grad is None for one in body.parameters())


def test_a_predictors_job_does_not_import_torchs_compiler() -> None:
    code = (
        "import sys, torch\n"
        "import pipeline.predictors.run, pipeline.classifiers.run\n"
        "from pipeline.classifiers.optimizers import adam, sgd\n"
        "run = {'learning_rate': 0.1, 'weight_decay': 0.1, 'momentum': 0.9}\n"
        "for make in (adam, sgd):\n"
        "    w = torch.ones(3, requires_grad=True)\n"
        "    optimizer = make([w], run)\n"
        "    w.square().sum().backward()\n"
        "    optimizer.step()\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
