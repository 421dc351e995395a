"""Training and test samples on the device, and the minibatches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.classifiers.arrays import ClassArrays
from pipeline.data.labels import NoisyLabels


@dataclass(frozen=True)
class DeviceArrays:
    """What one network is trained on, all of it on the device.

    Images are held with their channels last, which is how convolutions are fastest; ``inputs`` gives
    them as (samples, channels, rows, columns) all the same.

    train, test: as held; labels: (samples,) told labels; classes, test_classes: true ones;
    permuted: (samples,) bool.
    """

    train: Tensor
    test: Tensor
    labels: Tensor
    classes: Tensor
    test_classes: Tensor
    permuted: Tensor


def held(values: NDArray[np.float32], device: str, dtype: torch.dtype) -> Tensor:
    """Inputs as they are held: images (samples, channels, rows, columns) with channels last."""
    tensor = torch.from_numpy(values)
    if tensor.ndim == 4:
        tensor = tensor.permute(0, 2, 3, 1).contiguous()
    return tensor.to(device=device, dtype=dtype)


def inputs(values: Tensor) -> Tensor:
    """Held inputs as a network takes them."""
    return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


def on_device(
    arrays: ClassArrays, noisy: NoisyLabels, device: str, dtype: torch.dtype = torch.float32
) -> DeviceArrays:
    """The arrays of a run and the labels of one seed, on the device."""

    def whole(values: NDArray[np.int64] | NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(values).to(device)

    return DeviceArrays(
        held(arrays.train, device, dtype),
        held(arrays.test, device, dtype),
        whole(noisy.labels),
        whole(noisy.classes),
        whole(arrays.test_classes),
        whole(noisy.permuted),
    )


def minibatches(data: DeviceArrays, size: int, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and told labels of each minibatch, the last one smaller where samples do not fit.

    Arguments
    ---------
    order: (samples,) the epoch's permutation, on the device.
    """
    for rows in order.split(size):
        yield inputs(data.train.index_select(0, rows)), data.labels.index_select(0, rows)
