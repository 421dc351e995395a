"""Weight sets: all parameters and statistics of a network as one vector, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import TrainingError
from pipeline.registry import builder

if TYPE_CHECKING:
    import xarray as xr


def state_tensors(network: nn.Module) -> dict[str, Tensor]:
    """The floating-point entries of a network's state, in order: parameters, and running statistics
    of batch normalisation. Counters are left out: nothing here depends on them.
    """
    return {key: value for key, value in network.state_dict().items() if value.is_floating_point()}


def pack(network: nn.Module) -> NDArray[np.float32]:
    """The weight set (parameter,) of a network, float32."""
    parts = [value.detach().reshape(-1).float().cpu() for value in state_tensors(network).values()]
    return torch.cat(parts).numpy()


@torch.no_grad()
def unpack(network: nn.Module, values: NDArray[Any]) -> None:
    """Set a network's parameters and statistics, in place, from a weight set.

    Raises TrainingError where the number of values is another, and where one is not finite: a place
    of a store where no set was kept holds NaN, which a network would answer with its first class.
    """
    tensors = state_tensors(network)
    needed = sum(tensor.numel() for tensor in tensors.values())
    flat = torch.from_numpy(np.array(values))  # a copy: torch warns of arrays that are read-only
    if flat.shape != (needed,):
        raise TrainingError(
            f"A weight set of shape {tuple(flat.shape)} was given to a network of {needed} values; "
            "give one of the same network, width and data set."
        )
    if not torch.isfinite(flat).all():
        raise TrainingError(
            "A weight set with values that are not finite was given; choose one of the epochs in "
            "kept_epoch, which is -1 where none was kept."
        )
    start = 0
    for tensor in tensors.values():
        tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))
        start += tensor.numel()


def build_network(
    entry: Mapping[str, Any], shape: tuple[int, ...], outputs: int, width: float
) -> nn.Module:
    """A network of a configuration entry ``{builder, options}``, with torch's own random weights.

    Arguments
    ---------
    shape: of one input; outputs: classes; width: the width multiplier.
    """
    network: nn.Module = builder(entry)(shape, outputs, width)
    return network


def network_of(trajectories: xr.Dataset) -> nn.Module:
    """The network of a run's store, in eval mode; ``unpack`` gives it one of the kept weight sets."""
    attrs = trajectories.attrs
    with torch.random.fork_rng(devices=[]):
        network = build_network(
            attrs["network"], tuple(attrs["shape"]), int(attrs["outputs"]), float(attrs["width"])
        )
    return network.eval()
