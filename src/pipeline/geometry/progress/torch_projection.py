"""Progress by torch, many models at a time: the same equations as ``projection``, for GPUs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.geometry.progress.projection import PRECISION, STEPS

VALUES = 1 << 26  # probabilities on the device at a time


def device_progress(p: NDArray[Any], labels: NDArray[np.int64], device: str) -> NDArray[np.float64]:
    """Progress (models,) of probabilities (models, samples, classes), float64, on a torch device."""
    y = torch.from_numpy(labels).to(device)
    step = max(1, VALUES // (p.shape[1] * p.shape[2]))
    found = [
        _progress(torch.from_numpy(np.array(p[start : start + step])).to(device).double(), y)
        for start in range(0, len(p), step)
    ]
    return np.concatenate([one.cpu().numpy() for one in found])


def _progress(p: Tensor, labels: Tensor) -> Tensor:
    classes = p.shape[2]
    s = (p / p.sum(dim=2, keepdim=True)).sqrt()
    b = s.gather(2, labels[None, :, None].expand(len(p), -1, 1))[..., 0]
    others = torch.ones_like(s).scatter(2, labels[None, :, None].expand(len(p), -1, 1), 0.0)
    total = (s * others).sum(dim=2)
    gaps = (s - total[..., None] / (classes - 1)) * others
    w, h2 = total / math.sqrt(classes - 1), gaps.square().sum(dim=2)
    start = math.asin(1 / math.sqrt(classes))

    def slope(psi: Tensor) -> tuple[Tensor, Tensor]:
        sine, cosine = psi.sin()[:, None], psi.cos()[:, None]
        u = w * sine - b * cosine
        square = u.square() + h2
        inverse = torch.where(square > 0, square.rsqrt(), 0.0)
        first = (u * inverse).sum(dim=1)
        second = ((w * cosine + b * sine) * h2 * inverse**3).sum(dim=1)
        return first, second

    low = torch.full((len(p),), start, dtype=p.dtype, device=p.device)
    high = torch.full_like(low, math.pi / 2)
    at_start, at_end = slope(low)[0] >= 0, slope(high)[0] <= 0
    psi = (low + high) / 2
    for _ in range(STEPS):
        first, second = slope(psi)
        high, low = torch.where(first > 0, psi, high), torch.where(first > 0, low, psi)
        newton = psi - first / second
        inside = (second > 0) & (newton > low) & (newton < high)
        new = torch.where(inside, newton, (low + high) / 2)
        done = ((new - psi).abs() <= PRECISION) | (high - low <= PRECISION) | (first == 0)
        psi = torch.where(first == 0, psi, new)
        if bool(done.all()):
            break
    psi = torch.where(at_end, math.pi / 2, torch.where(at_start, start, psi))
    return (psi - start) / (math.pi / 2 - start)
