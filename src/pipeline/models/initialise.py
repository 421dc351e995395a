"""Initial weights from named random streams."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.seeds import generator

SCHEMES = ("uniform", "he", "xavier", "normal")


def _weight(
    rng: np.random.Generator, shape: tuple[int, ...], scheme: str, variance: float | None
) -> np.ndarray:
    fan_in = math.prod(shape[1:])
    fan_out = shape[0] * math.prod(shape[2:])
    if scheme == "uniform":
        return rng.uniform(-1, 1, shape) / math.sqrt(fan_in)
    scale = {"he": 2 / fan_in, "xavier": 2 / (fan_in + fan_out), "normal": variance or 0.0}[scheme]
    return rng.standard_normal(shape) * math.sqrt(scale)


def initial_parameters(
    network: nn.Module,
    rng: np.random.Generator,
    scheme: str = "uniform",
    variance: float | None = None,
) -> list[np.ndarray]:
    """Initial values of ``network.parameters()``, float64, in their order.

    uniform: weights and biases ~ U(-1/sqrt(n), 1/sqrt(n)), n the layer's fan-in (paper, Methods, "Models
    and training"; PyTorch's default bounds). he: weights ~ N(0, 2/n); xavier: N(0, 2/(n + n_out));
    normal: N(0, variance); their biases stay uniform as above. Parameters of other shapes (batch-norm)
    keep the network's own values. ``rng`` is consumed in the order of the parameters, so networks with
    the same layers get the same weights whatever surrounds them.

    Raises TrainingError for an unknown scheme, or ``normal`` without a positive variance.
    """
    if scheme not in SCHEMES:
        raise TrainingError(f"init {scheme!r} is unknown; valid are: {', '.join(SCHEMES)}.")
    if (scheme == "normal") != (variance is not None and variance > 0):
        raise TrainingError(
            f"init_variance must be a positive number with init 'normal' and null otherwise; "
            f"init is {scheme!r}, init_variance {variance!r}."
        )
    values: list[np.ndarray] = []
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim >= 2:
            bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
            for parameter in own:
                if parameter is weight:
                    values.append(_weight(rng, tuple(weight.shape), scheme, variance))
                else:
                    values.append(rng.uniform(-bound, bound, tuple(parameter.shape)))
        else:
            values.extend(parameter.detach().double().numpy() for parameter in own)
    return values


def stacked_parameters(
    network: nn.Module,
    seeds: list[int],
    *,
    root: int,
    stream: str,
    scheme: str,
    variance: float | None,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
) -> list[torch.Tensor]:
    """Initial parameters of all ``seeds`` stacked along a first axis: a list of (seeds, ...) tensors.

    Seed s of a stream has the same initial weights however many networks are trained beside it.
    """
    drawn = [
        initial_parameters(network, generator(root, stream, seed, "init"), scheme, variance)
        for seed in seeds
    ]
    return [
        torch.from_numpy(np.stack(values)).to(dtype=dtype, device=device).contiguous()
        for values in zip(*drawn, strict=True)
    ]
