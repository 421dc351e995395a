"""Optimisers of single networks: torch.optim's own steps to the bit, without what its classes import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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
    device = next(body.parameters()).device
    x = torch.randn(5, 3, 8, 8, generator=draws).to(device, memory_format=torch.channels_last)
    return cross_entropy(body(x), torch.randint(0, 4, (5,), generator=draws).to(device))


@pytest.mark.parametrize("groups", [False, True], ids=["one group", "two groups"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_steps_are_torchs_own_also_from_a_saved_state(kind: str, groups: bool, device: str) -> None:
    ours, theirs = network().to(device), network().to(device)
    make, reference = KINDS[kind]

    def told(body: nn.Module) -> Any:
        return decaying_groups(body, 0.1) if groups else body.parameters()

    optimizer, other = make(told(ours)), reference(told(theirs))
    for step in range(8):
        if step == 4:  # continue from a saved state
            saved = {
                "state": [
                    {name: [one.cpu().clone() for one in held] for name, held in state.items()}
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
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.grad = a.grad.clone() if a.grad is not None else None
        optimizer.step()
        other.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_gradient_keeps_its_weights_and_its_state(kind: str) -> None:
    ours, theirs = network(), network()
    make, reference = KINDS[kind]
    optimizer, other = make(list(ours.parameters())), reference(list(theirs.parameters()))
    left_out = 1  # neither the first nor the last
    for step in range(6):
        loss_of(ours, step).backward()  # type: ignore[no-untyped-call]
        for i, (a, b) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
            if i == left_out and step in (2, 3):
                a.grad = None
            b.grad = None if a.grad is None else a.grad.clone()
        optimizer.step()
        other.step()
        optimizer.zero_grad()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_momenta_that_make_no_sense_are_refused() -> None:
    weights = list(network().parameters())
    with pytest.raises(TrainingError, match="nesterov is true and momentum 0"):
        sgd(weights, RUN, nesterov=True)
    for momentum in (-0.5, 1.0, float("nan")):
        with pytest.raises(TrainingError, match="valid are numbers from 0 to below 1"):
            sgd(weights, RUN, momentum=momentum)


@pytest.mark.parametrize("make", [adam, sgd])
def test_no_parameters_are_refused(make: Callable[[Any, Any], GroupedOptimizer]) -> None:
    for nothing in ([], [{"params": []}]):
        with pytest.raises(TrainingError, match="no parameters"):
            make(nothing, RUN)


def test_gradients_can_be_set_to_zero_instead_of_forgotten() -> None:
    body = network()
    optimizer = sgd(body.parameters(), RUN)
    loss_of(body, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.zero_grad(set_to_none=False)
    assert all(one.grad is not None and not one.grad.any() for one in body.parameters())
    optimizer.zero_grad()
    assert all(one.grad is None for one in body.parameters())


def test_jobs_of_single_networks_do_not_import_torchs_compiler(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import classifier_helpers, test_predictors\n"
        "from pipeline.classifiers.run import train_run as train_classifier\n"
        "from pipeline.predictors.run import train_run as train_predictor\n"
        "folder = Path(sys.argv[1])\n"
        "data = classifier_helpers.data_store(folder / 'data')\n"
        "for name in ('adam', 'sgd'):\n"
        "    told = test_predictors.parameters(optimizer=name, epochs=1, seeds=1)\n"
        "    train_predictor(told, data, folder / name, folder / 'state' / name, code='c')\n"
        "told = classifier_helpers.parameters(epochs=1, seeds=1, stored_seeds=0, recorded_seeds=0)\n"
        "train_classifier(told, data, folder / 'c', folder / 'state' / 'c', code='c')\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert done.stdout.split()[-1] == "False"
