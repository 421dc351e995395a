"""What a network answers: logits of many samples, in batches, in the precision asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.hardware import float32_products

BATCH = 1000  # samples evaluated at a time


@contextmanager
def precise(precision: str, device: str) -> Iterator[None]:
    """Within, for a forward pass: products in bfloat16 for ``bf16``, else as ``float32_products``."""
    with float32_products(precision, device):
        if precision == "bf16":
            with torch.autocast(device, dtype=torch.bfloat16):
                yield
        else:
            yield


def batches(samples: int, size: int = BATCH) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` samples."""
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


@torch.no_grad()
def predict(
    network: nn.Module, x: Tensor, batch_size: int = BATCH, precision: str = "float32"
) -> Tensor:
    """Logits (samples, classes) in eval mode, float32 (float64 of inputs in float64), on x's device.

    The network's own mode is restored.
    """
    training = network.training
    network.eval()
    try:
        with precise(precision, x.device.type):
            found = [network(x[rows]) for rows in batches(len(x), batch_size)]
    finally:
        network.train(training)
    logits = torch.cat(found)
    return logits if logits.dtype == torch.float64 else logits.float()
