"""Convolutional networks of the stragglers paper (Results, "Weak dependence on data size, ...")."""

from __future__ import annotations

import math

from torch import nn

from pipeline.errors import TrainingError
from pipeline.models.fully_connected import ACTIVATIONS


def image_side(features: int) -> int:
    """Side of the square grey image with ``features`` pixels; raises TrainingError for no square."""
    side = math.isqrt(features)
    if side * side != features:
        raise TrainingError(
            f"a convolutional network needs square grey images; {features} features are no square "
            "number."
        )
    return side


def convolutional(
    features: int, *, depth: int, width: int, activation: str, kernel: int, outputs: int = 2
) -> nn.Sequential:
    """A network of one convolution and a linear read-out of all channels at all positions.

    Hidden layer: h_cij = sigma(sum_ab w_cab x_(i+a)(j+b) + b_c), with stride 1 and no padding, so that
    there are (side - k + 1)^2 positions; k = side is the fully connected network of as many units.

    Arguments
    ---------
    features: pixels per image, a square number. depth: weight layers, 2. width: channels, >= 1.
    activation: as of fully_connected. kernel: side k of the k x k kernels, 1 to the image's side.

    Raises TrainingError for another depth, a width below 1, an unknown activation, features that are
    no square number or a kernel that does not fit.
    """
    side = image_side(features)
    if depth != 2 or width < 1:
        raise TrainingError(
            f"a convolutional network needs depth 2 and width >= 1, not {depth} and {width}."
        )
    if not 1 <= kernel <= side:
        raise TrainingError(f"kernel must lie between 1 and the image's side {side}, not {kernel}.")
    if activation not in ACTIVATIONS:
        raise TrainingError(
            f"activation {activation!r} is unknown; valid are: {', '.join(ACTIVATIONS)}."
        )
    positions = (side - kernel + 1) ** 2
    hidden = nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, width, kernel),
        ACTIVATIONS[activation](),
        nn.Flatten(),
    )
    return nn.Sequential(hidden, nn.Linear(width * positions, outputs))
