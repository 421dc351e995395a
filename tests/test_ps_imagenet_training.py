"""Pieces of ImageNet's training: AdamP against its formula, targets, mixtures, schedules, weight decay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from pipeline.errors import TrainingError
from pipeline.models.imagenet import imagenet_resnet18
from pipeline.predictors.adamp import AdamP, adamp, tangential
from pipeline.predictors.imagenet_schedules import (
    decaying_groups,
    side_at,
)
from pipeline.predictors.schedules import spaced_updates
from pipeline.predictors.targets import mixed, smoothed


def parameter(*shape: int, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=draws).requires_grad_()


def stepped(weight: Tensor, optimizer: torch.optim.Optimizer, gradients: list[Tensor]) -> Tensor:
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(7,), (4, 6)])
def test_without_projection_it_is_adam_with_decoupled_decay(shape: tuple[int, ...]) -> None:
    """Vectors are never projected; nor is a matrix whose gradients point along it."""
    first, second = parameter(*shape), parameter(*shape)
    gradients = [first.detach() * (1 + 0.1 * k) for k in range(5)]
    mine = AdamP([first], lr=0.01, weight_decay=0.1)
    other = torch.optim.AdamW([second], lr=0.01, weight_decay=0.1)
    torch.testing.assert_close(stepped(first, mine, gradients), stepped(second, other, gradients))


def test_a_projected_step_by_its_formula() -> None:
    weight = parameter(3, 50)
    start = weight.detach().clone()
    draws = parameter(3, 50, seed=1).detach()
    unit = normalize(start, dim=1)
    gradient = draws - (draws * unit).sum(dim=1, keepdim=True) * unit  # orthogonal, row by row
    stepped(weight, AdamP([weight], lr=0.1, weight_decay=0.5), [gradient])
    p = (gradient / (gradient.abs() + 1e-8)).numpy()  # bias-corrected: g / (|g| + eps)
    u = unit.numpy()
    q = p - (p * u).sum(axis=1, keepdims=True) * u
    wanted = (1 - 0.1 * 0.5 * 0.1) * start.numpy() - 0.1 * q
    np.testing.assert_allclose(weight.detach().numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose((q * u).sum(axis=1), 0, atol=1e-12)


def test_the_length_of_scale_invariant_weights_grows_no_more_than_it_must() -> None:
    """|w|^2 grows by (eta |q|)^2 alone at each step, and less than Adam's."""
    lengths = []
    for make in (AdamP, torch.optim.Adam):
        weight, aim = parameter(5, 20), parameter(5, 20, seed=2).detach()
        optimizer = make([weight], lr=0.1)
        for _ in range(30):
            before = weight.detach().clone()
            optimizer.zero_grad()
            (normalize(weight, dim=1) - normalize(aim, dim=1)).square().sum().backward()
            optimizer.step()
            if make is AdamP:
                moved = (weight.detach() - before).square().sum(dim=1)
                grown = weight.detach().square().sum(dim=1) - before.square().sum(dim=1)
                torch.testing.assert_close(grown, moved)
        lengths.append(float(weight.detach().norm()))
    assert lengths[0] < lengths[1]


def test_a_weight_invariant_as_a_whole_is_projected_as_a_whole() -> None:
    weight, draws = parameter(4, 30).detach(), parameter(4, 30, seed=3).detach()
    gradient = torch.zeros(4, 30, dtype=torch.float64)
    gradient[0], gradient[1] = weight[0] / weight[0].norm() ** 2, -weight[1] / weight[1].norm() ** 2
    found, projected = tangential(weight, gradient, draws)
    assert projected == 1
    assert float((found * weight).sum()) == pytest.approx(0, abs=1e-12)
    assert (found * weight).sum(dim=1).abs().min() > 1e-3  # row by row it is not
    same, projected = tangential(weight, weight, draws)
    assert projected == 0
    assert same is draws or torch.equal(same, draws)


def test_weights_without_gradient_stay_and_zero_weights_are_no_error() -> None:
    idle, zero = parameter(2, 3), torch.zeros(2, 3, requires_grad=True)
    optimizer = adamp([idle, zero], {"learning_rate": 0.1, "weight_decay": 0.0})
    before = idle.detach().clone()
    zero.grad = torch.ones(2, 3)
    optimizer.step()
    torch.testing.assert_close(idle.detach(), before)
    assert torch.isfinite(zero).all()
    with pytest.raises(TrainingError, match=r"betas \(0.9, 1.0\)"):
        AdamP([idle], lr=0.1, betas=(0.9, 1.0))


def test_it_resumes_from_its_state() -> None:
    gradients = [parameter(3, 4, seed=k).detach() for k in range(6)]
    whole, half = parameter(3, 4), parameter(3, 4)
    stepped(whole, AdamP([whole], lr=0.1), gradients)
    first = AdamP([half], lr=0.1)
    stepped(half, first, gradients[:3])
    second = AdamP([half], lr=0.1)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(stepped(half, second, gradients[3:]), whole.detach())


def test_smoothed_targets() -> None:
    found = smoothed(torch.tensor([2, 0]), 5)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(found[0], torch.tensor([0.025, 0.025, 0.9, 0.025, 0.025]))
    logits = torch.randn(2, 5)
    smoothing = 0.1 * 5 / 4  # torch's own: 1 - e + e / C of the true class
    wanted = cross_entropy(logits, torch.tensor([2, 0]), label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, found), wanted)
    assert smoothed(torch.tensor([1]), 3, 1.0).tolist() == [[0.0, 1.0, 0.0]]
    with pytest.raises(TrainingError, match=r"told is 1.2"):
        smoothed(torch.tensor([1]), 3, 1.2)


def test_mixtures_of_two_samples_and_of_their_targets() -> None:
    images, targets = torch.eye(6).view(6, 1, 6, 1), torch.eye(6)
    share = np.random.default_rng(0).beta(0.2, 0.2)
    x, y = mixed(images, targets, np.random.default_rng(0))
    torch.testing.assert_close(x.flatten(1), y)
    torch.testing.assert_close(y.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(y.sum(dim=0), torch.ones(6))  # partners are a permutation
    allowed = {round(one, 6) for one in (0, 1, share, 1 - share)}
    assert {round(float(one), 6) for one in y.flatten()} <= allowed
    shares = [float(np.random.default_rng(k).beta(0.2, 0.2)) for k in range(400)]
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.2)
    with pytest.raises(TrainingError, match="alpha is 0"):
        mixed(images, targets, np.random.default_rng(0), 0)


def test_records_of_forty_epochs_are_at_the_ends_of_epochs() -> None:
    found = spaced_updates(40, 1250)
    assert len(found) == 61
    assert found[:6] == [0, 250, 500, 750, 1000, 1250]
    assert found[25:] == [1250 * epoch for epoch in range(5, 41)]


@pytest.mark.parametrize(
    ("epochs", "batches", "records"), [(200, 1252, 61), (41, 7, 61), (6, 9, 30)]
)
def test_records_rise_from_initialisation_to_the_last_update(
    epochs: int, batches: int, records: int
) -> None:
    found = spaced_updates(epochs, batches, records)
    assert len(found) == len(set(found)) == records
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, epochs * batches)


@pytest.mark.parametrize("given", [(5, 100, 61), (40, 4, 61), (40, 100, 26), (6, 5, 61)])
def test_records_that_do_not_fit_are_refused(given: tuple[int, int, int]) -> None:
    with pytest.raises(TrainingError, match="records"):
        spaced_updates(*given)


def test_pictures_grow_after_34_epochs() -> None:
    assert [side_at(epoch) for epoch in (0, 33, 34, 39)] == [196, 196, 224, 224]
    with pytest.raises(TrainingError, match="epoch is -1"):
        side_at(-1)


def test_batch_normalisation_does_not_decay() -> None:
    network = imagenet_resnet18((3, 64, 64), 5, 1 / 32)
    decaying, others = decaying_groups(network, 5e-5)
    assert (decaying["weight_decay"], others["weight_decay"]) == (5e-5, 0.0)
    assert len(decaying["params"]) == 21 + 1  # convolutions with the read-out, and its bias
    assert len(others["params"]) == 2 * 20
    every = {id(one) for one in network.parameters()}
    assert {id(one) for group in (decaying, others) for one in group["params"]} == every
    body = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(decaying_groups(body, 0.5), lr=1.0)
    for one in body.parameters():
        one.grad = torch.zeros_like(one)
    before = [one.detach().clone() for one in body.parameters()]
    optimizer.step()
    for one, old, share in zip(body.parameters(), before, (0.5, 0.5, 1, 1), strict=True):
        torch.testing.assert_close(one.detach(), share * old)
    assert math.isclose(float(body[1].weight.detach().sum()), 3)
