"""The networks of Stephenson et al., ICLR 2021 ("Networks and training"), each with a width
multiplier.

Inputs are (samples, channels, rows, columns), of the feed-forward network (samples, features). What
the paper does not state is marked as inferred.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from pipeline.errors import TrainingError
from pipeline.models.layered import LayeredNetwork, chain, scaled
from pipeline.models.residual import residual_network

VGG_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SMALL, LARGE = 32, 64  # sides of the images that these networks are made for


def feed_forward(
    shape: Sequence[int], outputs: int, width: float = 1.0, depth: int = 5, units: int = 1024
) -> LayeredNetwork:
    """``depth`` layers of ``units`` linear units and ReLU, then a linear read-out.

    Arguments
    ---------
    shape: (features,) of an input. outputs: classes. width: multiplies ``units``.
    """
    if len(shape) != 1:
        raise TrainingError(
            f"feed_forward takes inputs of shape (features,), not {tuple(shape)}; choose a data set "
            "of vectors."
        )
    sizes = [shape[0], *[scaled(units, width)] * depth]
    hidden = [
        ("linear", nn.Sequential(nn.Linear(below, above), nn.ReLU()))
        for below, above in itertools.pairwise(sizes)
    ]
    return chain([*hidden, ("linear", nn.Linear(sizes[-1], outputs))])


def alexnet(shape: Sequence[int], outputs: int, width: float = 1.0) -> LayeredNetwork:
    """AlexNet for 32 x 32 images: five convolutions with ReLU, three poolings, a linear read-out.

    Stride 4 and padding 5 of the first convolution, and "same" padding of the others, are inferred:
    the read-out's 1024 inputs need one position at the end.
    """
    channels = _square_images("alexnet", shape, SMALL)
    c1, c2, c3, c4, c5 = (scaled(size, width) for size in (64, 192, 384, 256, 1024))

    def convolution(inputs: int, maps: int, kernel: int, stride: int = 1) -> tuple[str, nn.Module]:
        layer = nn.Conv2d(inputs, maps, kernel, stride=stride, padding=kernel // 2)
        return "conv", nn.Sequential(layer, nn.ReLU())

    return chain(
        [
            convolution(channels, c1, 11, 4),
            ("pool", nn.MaxPool2d(2)),
            convolution(c1, c2, 5),
            ("pool", nn.MaxPool2d(2)),
            convolution(c2, c3, 3),
            convolution(c3, c4, 3),
            convolution(c4, c5, 3),
            ("pool", nn.MaxPool2d(2)),
            ("", nn.Flatten()),
            ("linear", nn.Linear(c5, outputs)),
        ]
    )


def vgg16(
    shape: Sequence[int], outputs: int, width: float = 1.0, dropout: float = 0.5
) -> LayeredNetwork:
    """VGG-16 for 32 x 32 images, with batch normalisation; the last convolution is layer 17.

    Arguments
    ---------
    dropout: after the first two linear layers; 0.5 is inferred ("VGG keeps its dropout").
    """
    inputs = _square_images("vgg16", shape, SMALL)
    parts: list[tuple[str, nn.Module]] = []
    for widths in VGG_WIDTHS:
        for size in widths:
            maps = scaled(size, width)
            # the normalisation has a bias of its own
            layer = nn.Conv2d(inputs, maps, 3, padding=1, bias=False)
            parts.append(("conv", nn.Sequential(layer, nn.BatchNorm2d(maps), nn.ReLU())))
            inputs = maps
        parts.append(("pool", nn.MaxPool2d(2)))
    hidden = scaled(4096, width)
    parts.append(("", nn.Flatten()))
    for size in (inputs, hidden):
        parts += [
            ("linear", nn.Sequential(nn.Linear(size, hidden), nn.ReLU())),
            ("", nn.Dropout(dropout)),
        ]
    return chain([*parts, ("linear", nn.Linear(hidden, outputs))])


def resnet18(shape: Sequence[int], outputs: int, width: float = 1.0) -> LayeredNetwork:
    """ResNet-18 for 32 x 32 images (3 x 3 stem), or for 64 x 64 (7 x 7 stem of stride 2,
    max-pooling).

    The stride 2 and padding 3 of the larger stem are inferred.
    """
    side = shape[-1] if len(shape) == 3 else 0
    channels = _square_images("resnet18", shape, LARGE if side == LARGE else SMALL)
    widths = [scaled(size, width) for size in (64, 128, 256, 512)]
    return residual_network(channels, widths, outputs, large=side == LARGE)


def _square_images(name: str, shape: Sequence[int], side: int) -> int:
    """Channels of images of that side; TrainingError for inputs of another shape."""
    if len(shape) != 3 or tuple(shape[1:]) != (side, side):
        raise TrainingError(
            f"{name} takes inputs of shape (channels, {side}, {side}), not {tuple(shape)}; choose a "
            f"data set of {side} x {side} images."
        )
    return int(shape[0])
