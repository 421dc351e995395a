"""Predictions of one network along training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pipeline.classifiers.evaluate import predict
from pipeline.hardware import kept_denormals


def predictions(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str
) -> tuple[Tensor, Tensor]:
    """Root probabilities (samples, classes) and log-probabilities of the true class (samples,), on the
    CPU, float32, in eval mode.

    Both come from logits: log-probabilities are exact where probabilities underflow.

    Arguments
    ---------
    batches: (inputs, true classes) of some samples at a time.
    """
    roots, told = [], []
    for x, classes in batches:
        logits = predict(network, x, precision=precision)
        with kept_denormals():
            logs = torch.log_softmax(logits.double(), dim=1)
            told.append(logs.gather(1, classes[:, None])[:, 0].float().cpu())
            roots.append((logs / 2).exp().float().cpu())
    return torch.cat(roots), torch.cat(told)
