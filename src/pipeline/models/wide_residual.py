"""Wide residual networks with pre-activation (Zagoruyko & Komodakis, BMVC 2016), as Mao et al. have them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.errors import TrainingError
from pipeline.models.layered import scaled

STAGES = 3


class WideBlock(nn.Module):
    """shortcut(x) + conv2(ReLU(BN(conv1(ReLU(BN(x)))))), BN without scale and shift.

    The second convolution has the stride; the shortcut is a 1 x 1 convolution with bias where shapes
    differ.
    """

    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs, affine=False)
        self.conv1 = nn.Conv2d(inputs, maps, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(maps, affine=False)
        self.conv2 = nn.Conv2d(maps, maps, 3, stride=stride, padding=1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != maps:
            self.shortcut = nn.Conv2d(inputs, maps, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(self.norm1(x).relu())
        out: Tensor = self.shortcut(x) + self.conv2(self.norm2(inner).relu())
        return out


def wide_resnet(
    shape: Sequence[int],
    outputs: int,
    width: float = 1.0,
    depth: int = 10,
    base: int = 8,
    widening: int = 4,
) -> nn.Module:
    """Stem of ``base`` maps, three stages of (depth - 4) / 6 blocks with base x widening x (1, 2, 4) maps.

    Arguments
    ---------
    shape: (channels, rows, columns) of an input; outputs: classes; width: multiplies all maps.
    """
    if len(shape) != 3:
        raise TrainingError(
            f"wide_resnet takes images (channels, rows, columns), not inputs of shape {tuple(shape)}."
        )
    if depth < 10 or (depth - 4) % 6:
        raise TrainingError(f"depth is {depth}; valid are 10, 16, 22 and so on (6 n + 4).")
    stem = scaled(base, width)
    body = nn.Sequential(nn.Conv2d(shape[0], stem, 3, padding=1, bias=False))
    inputs = stem
    for stage in range(STAGES):
        maps = scaled(base * widening * 2**stage, width)
        for number in range((depth - 4) // 6):
            body.append(WideBlock(inputs, maps, 2 if stage and not number else 1))
            inputs = maps
    body.append(nn.BatchNorm2d(inputs, affine=False))
    body.append(nn.ReLU())
    body.append(nn.AdaptiveAvgPool2d(1))
    body.append(nn.Flatten())
    body.append(nn.Linear(inputs, outputs))
    return body
