"""The ImageNet networks: numbers of parameters, blurred down-sampling by its formula, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.models.imagenet import (
    BlurPool,
    imagenet_resnet18,
    imagenet_resnet50,
    vit_small,
    with_blur,
)

Builder = Callable[..., nn.Module]
PARAMETERS: list[tuple[Builder, int]] = [
    (imagenet_resnet18, 11_689_512),
    (imagenet_resnet50, 25_557_032),
    (vit_small, 22_050_664),
]


@pytest.mark.parametrize(("build", "wanted"), PARAMETERS)
def test_numbers_of_parameters(build: Builder, wanted: int) -> None:
    with torch.device("meta"):
        network = build((3, 224, 224), 1000)
    assert sum(one.numel() for one in network.parameters()) == wanted


@pytest.mark.parametrize(
    ("build", "convolutions", "maps"), [(imagenet_resnet18, 20, 512), (imagenet_resnet50, 53, 2048)]
)
def test_seven_strides_become_blurs(build: Builder, convolutions: int, maps: int) -> None:
    """The stem's, and of three stages the first block's and its shortcut's."""
    with torch.device("meta"):
        network, x = build((3, 224, 224), 1000), torch.zeros(1, 3, 224, 224)
    layers = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    assert len(layers) == convolutions
    assert all(one.stride == (1, 1) for one in layers)
    assert sum(isinstance(one, BlurPool) for one in network.modules()) == 7
    seen: list[torch.Size] = []
    average = next(one for one in network.modules() if isinstance(one, nn.AdaptiveAvgPool2d))
    average.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    assert network(x).shape == (1, 1000)
    assert seen == [(1, maps, 7, 7)]


@pytest.mark.parametrize("side", [64, 49])
@pytest.mark.parametrize("build", [imagenet_resnet18, imagenet_resnet50])
def test_narrow_residual_networks_train_at_any_side(build: Builder, side: int) -> None:
    torch.manual_seed(0)
    network, x = build((3, side, side), 7, 1 / 16), torch.randn(4, 3, side, side)
    out = network(x)
    assert out.shape == (4, 7)
    nn.functional.cross_entropy(out, torch.arange(4)).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None, name
        assert one.grad.abs().sum() > 0, name


def test_a_narrow_transformer_trains_with_biases() -> None:
    torch.manual_seed(0)
    network = vit_small((3, 32, 32), 7, 1 / 16)
    nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None, name
    assert sum(name.endswith("inputs.bias") for name, _ in network.named_parameters()) == 12


def test_the_blur_by_its_formula() -> None:
    x = torch.randn(2, 3, 6, 9, dtype=torch.float64)
    out = BlurPool(3)(x)
    assert out.shape == (2, 3, 3, 5)
    weights = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    for i, j in ((0, 0), (1, 2), (2, 4)):
        rows, columns = ([abs(2 * k - 1), 2 * k, 2 * k + 1] for k in (i, j))
        columns = [16 - c if c > 8 else c for c in columns]  # mirrored at the far border
        wanted = torch.einsum("i,j,scij->sc", weights, weights, x[:, :, rows][:, :, :, columns])
        torch.testing.assert_close(out[:, :, i, j], wanted)
    torch.testing.assert_close(BlurPool(3)(torch.ones(1, 3, 8, 8)), torch.ones(1, 3, 4, 4))


def test_what_is_shifted_by_two_is_shifted_by_one() -> None:
    """What blurring is for: away from borders down-sampling commutes with shifts."""
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 6, 6] = 1
    shifted = BlurPool(1)(torch.roll(x, (2, 2), (2, 3)))
    torch.testing.assert_close(shifted, torch.roll(BlurPool(1)(x), (1, 1), (2, 3)))


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_strided_convolution_becomes_one_followed_by_a_blur(kernel: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, kernel, stride=2, padding=kernel // 2, bias=False).double()
    weight, x = layer.weight.detach().clone(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    out = with_blur(nn.Sequential(layer)).double()(x)
    whole = nn.functional.conv2d(x, weight, padding=kernel // 2)
    torch.testing.assert_close(out, BlurPool(4).double()(whole))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (partial(imagenet_resnet18, (3, 31, 31)), "sides from 32 on, not inputs of shape"),
        (partial(imagenet_resnet50, (3072,)), "imagenet_resnet50 takes pictures"),
        (partial(vit_small, (3, 196, 196)), "multiples of it, not 196 x 196"),
    ],
)
def test_other_inputs_are_refused(build: Builder, text: str) -> None:
    with pytest.raises(TrainingError, match=text):
        build(10)


@pytest.mark.parametrize("build", [imagenet_resnet18, imagenet_resnet50])
def test_convolutions_have_hes_initial_weights(build: Builder) -> None:
    torch.manual_seed(0)
    network = build((3, 32, 32), 10)
    for one in network.modules():
        if isinstance(one, nn.Conv2d):
            wanted = 2 / (one.out_channels * one.kernel_size[0] * one.kernel_size[1])
            assert float(one.weight.detach().var()) == pytest.approx(wanted, rel=0.1)
