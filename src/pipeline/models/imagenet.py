"""The networks that Mao et al., PNAS 121(12), 2024, train on ImageNet, each with a width multiplier.

Inputs are (samples, channels, rows, columns). The residual networks take any side from 32 on, so
that training can begin with smaller pictures. Their initial weights are He's, as in torchvision's
networks: the paper does not state them, but with torch's default ones a fresh ResNet-50 lies near
ignorance, not 0.91 of the way to the truth's distance from it (App. B).

Source: Mao et al., App. B; He et al., CVPR 2016; Zhang, ICML 2019 (blurred down-sampling); Touvron et
al., ICML 2021 (ViT-S).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from pipeline.errors import TrainingError
from pipeline.models.layered import scaled
from pipeline.models.prediction_space import Attention, vit
from pipeline.models.residual import residual_network

WIDTHS = (64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)  # of the stages of ResNet-50
EXPANSION = 4  # maps of a bottleneck block's output over those inside it
LEAST_SIDE = 32  # the last stage then has one pixel


class BlurPool(nn.Module):
    """Every second pixel, both ways, of the maps convolved with (1, 2, 1) x (1, 2, 1) / 16.

    The kernel is fixed and the same for all maps; pixels beyond the border are mirrored.
    """

    kernel: Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(row, row).expand(maps, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padded = pad(x, (1, 1, 1, 1), mode="reflect")
        return conv2d(padded, self.kernel.to(x.dtype), stride=2, groups=x.shape[1])


def with_blur(network: nn.Module) -> nn.Module:
    """The network, each of its convolutions of stride 2 replaced by one of stride 1, then ``BlurPool``.

    Numbers and names of weights stay, but for a ``.0`` after a convolution's name. Of a 1 x 1 convolution
    the blur comes first, which gives the same with a quarter of the products.
    """
    for path, layer in list(network.named_modules()):
        if not isinstance(layer, nn.Conv2d) or layer.stride != (2, 2):
            continue
        layer.stride = (1, 1)
        if layer.kernel_size == (1, 1):
            parts = {"blur": BlurPool(layer.in_channels), "0": layer}
        else:
            parts = {"0": layer, "blur": BlurPool(layer.out_channels)}
        blurred = nn.Sequential()
        for name, part in parts.items():
            blurred.add_module(name, part)
        parent, _, name = path.rpartition(".")
        network.get_submodule(parent).register_module(name, blurred)
    return network


def imagenet_resnet18(shape: Sequence[int], outputs: int, width: float = 1.0) -> nn.Module:
    """ResNet-18: 7 x 7 stem, max-pooling, four stages of two basic blocks; all strided convolutions blurred.

    Arguments
    ---------
    shape: (channels, rows, columns) of an input; outputs: classes; width: multiplies all maps.
    """
    channels = _picture("imagenet_resnet18", shape)
    widths = [scaled(maps, width) for maps in WIDTHS]
    return he_initialised(with_blur(residual_network(channels, widths, outputs, large=True)))


def he_initialised(network: nn.Module) -> nn.Module:
    """The network with convolutions drawn anew, normal of variance 2 / (outputs x kernel area) (He et al.,
    ICCV 2015, fan-out).
    """
    for one in network.modules():
        if isinstance(one, nn.Conv2d):
            nn.init.kaiming_normal_(one.weight, mode="fan_out", nonlinearity="relu")
    return network


class Bottleneck(nn.Module):
    """ReLU(shortcut(x) + BN(1 x 1 (ReLU BN(3 x 3 (ReLU BN(1 x 1 (x))))))); the 3 x 3 has the stride."""

    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        outer = EXPANSION * maps
        self.inner = nn.Sequential(
            *_normalised(inputs, maps, 1),
            nn.ReLU(),
            *_normalised(maps, maps, 3, stride),
            nn.ReLU(),
            *_normalised(maps, outer, 1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outer:
            self.shortcut = nn.Sequential(*_normalised(inputs, outer, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.shortcut(x) + self.inner(x)).relu()
        return out


def imagenet_resnet50(shape: Sequence[int], outputs: int, width: float = 1.0) -> nn.Module:
    """ResNet-50: the same with stages of 3, 4, 6 and 3 bottleneck blocks.

    Arguments as for ``imagenet_resnet18``.
    """
    channels = _picture("imagenet_resnet50", shape)
    inputs = scaled(WIDTHS[0], width)
    body = nn.Sequential(*_normalised(channels, inputs, 7, 2), nn.ReLU())
    body.append(nn.MaxPool2d(3, stride=2, padding=1))
    for stage, (size, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        maps = scaled(size, width)
        for number in range(blocks):
            body.append(Bottleneck(inputs, maps, 2 if stage and not number else 1))
            inputs = EXPANSION * maps
    body.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs)])
    return he_initialised(with_blur(body))


def vit_small(shape: Sequence[int], outputs: int, width: float = 1.0) -> nn.Module:
    """ViT-S/16: patches of 16 x 16, 12 blocks of 6 heads, tokens of 384; as ``vit``, but queries, keys and
    values have a bias.

    Arguments
    ---------
    shape: (channels, rows, columns) of an input; outputs: classes; width: multiplies the sizes of tokens,
    heads and hidden layers.
    """
    sizes = {"dim": 384, "depth": 12, "heads": 6, "head_dim": 64, "mlp": 1536}
    network = vit(shape, outputs, width, patch=16, **sizes)
    for one in network.modules():
        if isinstance(one, Attention):
            one.inputs = nn.Linear(one.inputs.in_features, one.inputs.out_features)
    return network


def _normalised(inputs: int, maps: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A convolution without bias, then batch normalisation."""
    layer = nn.Conv2d(inputs, maps, kernel, stride=stride, padding=kernel // 2, bias=False)
    return layer, nn.BatchNorm2d(maps)


def _picture(name: str, shape: Sequence[int]) -> int:
    """Channels of pictures; TrainingError for inputs of another shape, and for pictures too small."""
    if len(shape) != 3 or min(shape[1:]) < LEAST_SIDE:
        raise TrainingError(
            f"{name} takes pictures (channels, rows, columns) with sides from {LEAST_SIDE} on, not inputs "
            f"of shape {tuple(shape)}."
        )
    return int(shape[0])
