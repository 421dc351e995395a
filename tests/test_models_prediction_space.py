"""The networks of the third paper: numbers of parameters, shapes, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.models.prediction_space import all_cnn, conv_mixer, fc, student, vit
from pipeline.models.wide_residual import WideBlock, wide_resnet

IMAGE = (3, 32, 32)
LARGE = partial(wide_resnet, depth=16, base=64)
# The paper's Table; the two residual networks' are exact there.
PARAMETERS: list[tuple[Callable[..., nn.Module], int]] = [
    (fc, 3_837_066),
    (all_cnn, 399_486),
    (wide_resnet, 300_226),
    (LARGE, 43_890_122),
    (conv_mixer, 594_186),
    (vit, 9_523_722),
]


@pytest.mark.parametrize(("build", "wanted"), PARAMETERS)
def test_numbers_of_parameters(build: Callable[..., nn.Module], wanted: int) -> None:
    with torch.device("meta"):
        network = build(IMAGE, 10)
    assert sum(one.numel() for one in network.parameters()) == wanted


NARROW: list[Callable[..., nn.Module]] = [
    partial(fc, width=0.25),
    partial(all_cnn, width=0.25),
    partial(wide_resnet, width=0.25),
    partial(LARGE, width=0.125),
    partial(conv_mixer, width=0.25, patch=4),
    partial(vit, width=0.25, patch=8),
]


@pytest.mark.parametrize("build", NARROW)
def test_narrow_ones_train(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    network, x = build(IMAGE, 7), torch.randn(6, *IMAGE)
    out = network(x)
    assert out.shape == (6, 7)
    nn.functional.cross_entropy(out, torch.arange(6)).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None, name
        assert torch.isfinite(one.grad).all()
        assert one.grad.abs().sum() > 0, name


def test_students_take_vectors() -> None:
    network = student((200,), 5, depth=2)
    assert network(torch.randn(4, 200)).shape == (4, 5)
    sizes = [one.out_features for one in network if isinstance(one, nn.Linear)]
    assert sizes == [512, 512, 5]


def test_a_block_has_its_stride_in_the_second_convolution() -> None:
    block = WideBlock(4, 8, 2)
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))
    assert isinstance(block.shortcut, nn.Conv2d)
    assert block.shortcut.bias is not None
    assert isinstance(WideBlock(8, 8, 1).shortcut, nn.Identity)


def test_patches_are_read_in_order() -> None:
    """A token sees its patch alone: changing one pixel changes one token's embedding."""
    network: Any = vit(IMAGE, 10, width=0.125, patch=8)
    seen: list[torch.Tensor] = []
    network.embed.register_forward_hook(lambda _m, _i, out: seen.append(out))
    x = torch.zeros(1, *IMAGE)
    network(x)
    x[0, 1, 9, 25] = 1  # second row of patches, fourth column
    network(x)
    changed = (seen[0] != seen[1]).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == [4 + 3]


@pytest.mark.parametrize(
    ("build", "shape", "text"),
    [
        (all_cnn, (200,), "takes images"),
        (wide_resnet, (200,), "takes images"),
        (partial(wide_resnet, depth=12), IMAGE, "valid are 10, 16, 22"),
        (partial(vit, patch=5), IMAGE, "multiples"),
        (partial(conv_mixer, patch=3), IMAGE, "multiples"),
        (partial(fc, width=0), IMAGE, "width"),
    ],
)
def test_what_does_not_fit_is_refused(build: Any, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(TrainingError, match=text):
        build(shape, 10)
