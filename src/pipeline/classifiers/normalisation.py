"""Statistics of batch normalisation, estimated anew from samples.

Training leaves running averages over its last updates. Where an epoch has few updates (8 of 2,000
images in batches of 256) they lag behind the weights for epochs, and a network that is measured with
them looks worse than it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.classifiers.evaluate import BATCH, batches, precise


@torch.no_grad()
def renew_statistics(
    network: nn.Module, x: Tensor, batch_size: int = BATCH, precision: str = "float32"
) -> None:
    """Set running means and variances of all batch normalisations, in place, to those of ``x``.

    They are the averages of the batches' own means and unbiased variances, each layer seeing what
    the layers before it give when they normalise by the batch. Everything else works as in eval mode.
    Nothing happens to a network without batch normalisation; training mode and momentum are restored.

    Arguments
    ---------
    x: inputs (samples, ...), on the network's device; precision: of products, see ``evaluate.precise``.
    """
    layers = [one for one in network.modules() if isinstance(one, _BatchNorm)]
    if not layers:
        return
    even = math.ceil(
        len(x) / math.ceil(len(x) / batch_size)
    )  # batches of a size, as they count alike
    training = network.training
    momenta = [one.momentum for one in layers]
    network.eval()
    for one in layers:
        one.reset_running_stats()
        one.momentum = None  # torch: the average of all batches
        one.train()
    try:
        with precise(precision, x.device.type):
            for rows in batches(len(x), even):
                network(x[rows])
    finally:
        for one, momentum in zip(layers, momenta, strict=True):
            one.momentum = momentum
        network.train(training)
