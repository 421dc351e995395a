"""Fully connected networks of the stragglers paper (its Eqs. 3-5)."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import nn

from pipeline.errors import TrainingError

LEAKY_SLOPE = 0.1  # of leaky_relu below 0; Results, "Weak dependence on data size, ..."
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


def fully_connected(
    features: int, *, depth: int, width: int, activation: str, outputs: int = 2
) -> nn.Sequential:
    """A network of ``depth`` weight layers: hidden layers sigma(W x + c), then a linear read-out.

    Every element of the returned Sequential but the last is one hidden layer with its nonlinearity, the
    last is the read-out; output 0 belongs to label -1, output 1 to label +1. depth 2 is Eq. (3)-(4).

    Arguments
    ---------
    features: inputs per sample, N. depth: weight layers, L >= 2. width: units per hidden layer, H.
    activation: tanh, relu, leaky_relu (slope 0.1), silu or identity.

    Raises TrainingError for a depth below 2, a width below 1 or an unknown activation.
    """
    if depth < 2 or width < 1:
        raise TrainingError(
            f"a fully connected network needs depth >= 2 and width >= 1, not {depth} and {width}."
        )
    if activation not in ACTIVATIONS:
        raise TrainingError(
            f"activation {activation!r} is unknown; valid are: {', '.join(ACTIVATIONS)}."
        )
    sizes = [features] + [width] * (depth - 1)
    hidden = [
        nn.Sequential(nn.Linear(below, above), ACTIVATIONS[activation]())
        for below, above in itertools.pairwise(sizes)
    ]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))
