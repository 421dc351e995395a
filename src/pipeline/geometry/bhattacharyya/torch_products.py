"""Running products of affinities on a GPU: by Triton where it is there, else by batched products.

What a product is, and when it is lost, is as in ``products``.

Source of the distance: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.geometry.bhattacharyya.tiles import Tile
from pipeline.hardware import float32_products

LEAST = 27  # biased exponent of 2^-100, as in ``products``
GROUP = 8  # samples multiplied before a normalisation
SIDE = 4096  # models on a side of what is multiplied at a time


def triton_available(device: str) -> bool:
    """Whether the fused kernel can run: Triton is installed and the device is a GPU."""
    return device.startswith("cuda") and importlib.util.find_spec("triton") is not None


def running_products(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Products (left, right) over all samples: mantissas float32, exponents int32, on the device.

    Arguments
    ---------
    left, right: root probabilities (samples, models, classes) and (samples, classes, models),
        float32, contiguous, on one device.
    """
    if triton_available(str(left.device)):
        from pipeline.geometry.bhattacharyya.triton_products import fused_products

        return fused_products(left, right)
    return batched_products(left, right)


def batched_products(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The same by batched matrix products and a tree of products, on any device."""
    samples, rows, columns = left.shape[0], left.shape[1], right.shape[2]
    mantissas = torch.ones((rows, columns), dtype=torch.float32, device=left.device)
    exponents = torch.zeros((rows, columns), dtype=torch.int32, device=left.device)
    for first in range(0, samples, GROUP):
        with float32_products("float32", left.device.type):
            affinity = torch.bmm(left[first : first + GROUP], right[first : first + GROUP])
        while len(affinity) > 1:
            half = len(affinity) // 2
            rest = affinity[2 * half :]
            affinity = torch.cat([affinity[:half] * affinity[half : 2 * half], rest])
        mantissas *= affinity[0]
        normalise(mantissas, exponents)
    return mantissas, exponents


def normalise(mantissas: Tensor, exponents: Tensor) -> None:
    """Move exponents of mantissas into ``exponents``, in place; what is below 2^-100 becomes 0."""
    bits = mantissas.view(torch.int32)
    power = bits >> 23
    there = power >= LEAST
    exponents += torch.where(there, power - 127, 0)
    bits.copy_(torch.where(there, (bits & 0x007FFFFF) | 0x3F800000, 0))


def device_tile(left: NDArray[np.float32], right: NDArray[np.float32], device: str) -> Tile:
    """The tile of two groups of models, multiplied on a device.

    Arguments
    ---------
    left, right: root probabilities (models, samples, classes), float32, on the CPU.
    """
    columns = torch.from_numpy(right).to(device).permute(1, 2, 0).contiguous()
    mantissas = np.empty((len(left), len(right)), np.float32)
    exponents = np.empty((len(left), len(right)), np.int32)
    for start in range(0, len(left), SIDE):
        rows = slice(start, start + SIDE)
        some = torch.from_numpy(left[rows]).to(device).transpose(0, 1).contiguous()
        products, powers = running_products(some, columns)
        mantissas[rows], exponents[rows] = products.cpu().numpy(), powers.cpu().numpy()
    return Tile(mantissas, exponents, left.shape[1])
