"""Residual networks of basic blocks (He et al., CVPR 2016) with named layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.models.layered import Layer, LayeredNetwork

BLOCKS = 2  # per stage


class BasicBlock(nn.Module):
    """ReLU(shortcut(x) + BN(conv2(ReLU(BN(conv1(x)))))); the shortcut is 1 x 1 where shapes differ."""

    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(maps)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(maps)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != maps:
            layer = nn.Conv2d(inputs, maps, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(layer, nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu1(self.norm1(self.conv1(x)))
        out: Tensor = self.relu2(self.shortcut(x) + self.norm2(self.conv2(inner)))
        return out


def residual_network(
    channels: int, widths: Sequence[int], outputs: int, large: bool
) -> LayeredNetwork:
    """Stem, stages of two basic blocks, global average pooling, linear read-out.

    A block's second convolution is read after the shortcut was added and rectified. A shortcut's
    convolution is owned by no layer: the paper leaves skip layers out.

    Arguments
    ---------
    widths: maps of each stage; from the second stage on the first block has stride 2.
    large: 7 x 7 stem of stride 2 and 3 x 3 max-pooling of stride 2, for 64 x 64 images.
    """
    body = nn.Sequential()
    layers: list[Layer] = []

    def add(kind: str, path: str, tap: str, owned: tuple[str, ...] = ()) -> None:
        number = len(layers) + 1
        layers.append(Layer(f"{kind}{number}", number, tap or path, owned))

    kernel, stride = (7, 2) if large else (3, 1)
    stem = nn.Conv2d(channels, widths[0], kernel, stride=stride, padding=kernel // 2, bias=False)
    body.add_module("stem", nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU()))
    add("conv", "stem", "stem", ("stem",))
    if large:
        body.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        add("pool", "pool", "pool")
    inputs = widths[0]
    for stage, maps in enumerate(widths):
        for number in range(BLOCKS):
            name = f"stage{stage + 1}block{number + 1}"
            body.add_module(name, BasicBlock(inputs, maps, 2 if stage and not number else 1))
            for part in (1, 2):
                owned = (f"{name}.conv{part}", f"{name}.norm{part}")
                add("conv", name, f"{name}.relu{part}", owned)
            inputs = maps
    body.add_module("average", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    add("pool", "average", "average")
    body.add_module("read_out", nn.Linear(inputs, outputs))
    add("linear", "read_out", "read_out", ("read_out",))
    return LayeredNetwork(body, layers)
