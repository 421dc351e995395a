"""The gradient of the cross-entropy in parts: what comes from the labels and what does not, on samples
with true and on samples with random labels.

Source: Stephenson et al., ICLR 2021, Appendix A.2, Eqs. 13 to 16 and 24 (Claims 1 to 3). Here are the
tensors; ``analysis.gradients`` is the analysis of the workflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.errors import GeometryError
from pipeline.models.layered import LayeredNetwork

SUBSETS = ("unpermuted", "permuted")
PARTS = ("dep_unpermuted", "ind_unpermuted", "dep_permuted", "ind_permuted")
SUMS = {  # what the parts add up to
    "unpermuted": ("dep_unpermuted", "ind_unpermuted"),
    "permuted": ("dep_permuted", "ind_permuted"),
    "dep": ("dep_unpermuted", "dep_permuted"),
    "ind": ("ind_unpermuted", "ind_permuted"),
    "total": PARTS,
}
BATCH_NORMS = ("train", "eval")
Parts = dict[str, dict[str, Tensor]]


def gradient_parts(
    network: LayeredNetwork,
    x: Tensor,
    labels: Tensor,
    permuted: Tensor,
    *,
    batch_size: int = 1024,
    batch_norm: str = "train",
    biases: bool = False,
) -> Parts:
    """The four parts of the gradient of the mean cross-entropy (Eqs. 15 and 24), float64.

        dep_S = -(1/N) sum over x in S of sum_c P_L(c|x) (g_c(x) - gbar)
        ind_S = +(1/N) sum over x in S of sum_c P_M(c|x) (g_c(x) - gbar)
        g_c(x) = d logit_c(x) / dw,   gbar = (1/N) sum over all x of (1/C) sum_c g_c(x)

    P_L is 1 at the told label, P_M the softmax of the logits, S the samples with true labels
    (unpermuted) or random ones (permuted); N counts all samples, so that the four parts add up to the
    whole gradient (inferred from Eq. 24). Each part is a product of the Jacobian of the logits with
    fixed weights of samples and classes, gbar included, so that one forward pass and a backward pass
    per part are all that a batch needs. Batches are summed in float64.

    Arguments
    ---------
    network: its mode and its running statistics are left as they are. Dropout is off.
    x: inputs (N, ...) of the network's dtype and on its device; labels: (N,) int64 told labels;
        permuted: (N,) bool; all on one device.
    batch_norm: ``train`` (inferred): a batch is normalised by its own mean and variance, the batches
        being ``batch_size`` samples in the order given; ``eval``: by the running statistics.
    biases: whether biases and the scales and shifts of batch normalisation are differentiated too;
        the paper leaves biases out.

    Returns part -> parameter's name -> tensor of its shape. Raises GeometryError for shapes that do
    not fit, labels that are no class, another ``batch_norm``, logits that are not finite, and a
    batch of one sample that would be normalised by itself.
    """
    _check_samples(x, labels, permuted)
    if batch_norm not in BATCH_NORMS or batch_size < 1:
        raise GeometryError(
            f"batch_norm = {batch_norm!r} and batch_size = {batch_size} given; valid are "
            f"{' or '.join(BATCH_NORMS)} and a whole number from 1 on."
        )
    by_name = dict(network.named_parameters())
    names = [name for own in parameter_names(network, biases).values() for name in own]
    chosen = [by_name[name] for name in names]
    found = {part: [torch.zeros_like(one, dtype=torch.float64) for one in chosen] for part in PARTS}
    shares = {"permuted": float(permuted.double().mean())}
    shares["unpermuted"] = 1 - shares["permuted"]
    coupled = batch_norm == "train" and any(isinstance(m, _BatchNorm) for m in network.modules())
    with torch.enable_grad(), _mode(network, batch_norm):
        for rows in _batches(permuted, batch_size, coupled):
            logits = network(x[rows])
            terms = list(_terms(logits, labels[rows], permuted[rows], shares, len(x)))
            for number, (weights, factors) in enumerate(terms):
                more = number + 1 < len(terms)
                pulled = torch.autograd.grad(logits, chosen, weights, retain_graph=more)
                for part, factor in factors.items():
                    for total, one in zip(found[part], pulled, strict=True):
                        total.add_(one, alpha=factor)
    return {part: dict(zip(names, values, strict=True)) for part, values in found.items()}


def layer_norms(
    parts: Mapping[str, Mapping[str, Tensor]],
    network: LayeredNetwork,
    *,
    biases: bool = False,
    permuted_share: float | None = None,
) -> dict[str, NDArray[np.float64]]:
    """L2 norms of the parts and of their sums ``SUMS``, layer by layer: (weight layers,) each.

    Arguments
    ---------
    parts: as ``gradient_parts`` gives them, with the same ``biases``.
    permuted_share: |S_permuted| / N. Given, the parts of a subset and their sum are averaged over
        the subset instead of divided by the size of the whole set: divided by its share (NaN for an
        empty subset). dep, ind and total remain those of the whole set.
    """
    names = parameter_names(network, biases)
    found = {part: np.zeros(len(names)) for part in (*PARTS, *SUMS)}
    for row, own in enumerate(names.values()):
        for part in found:
            members = SUMS.get(part, (part,))
            added = [sum(parts[one][name] for one in members) for name in own]
            squares = [float(torch.linalg.vector_norm(value)) ** 2 for value in added]
            found[part][row] = np.sqrt(sum(squares))
    if permuted_share is not None:
        for subset, share in zip(SUBSETS, (1 - permuted_share, permuted_share), strict=True):
            for part in (f"dep_{subset}", f"ind_{subset}", subset):
                found[part] = found[part] / share if share > 0 else np.full(len(names), np.nan)
    return found


def parameter_names(network: LayeredNetwork, biases: bool = False) -> dict[str, list[str]]:
    """Weight layer -> names of its weights, with ``biases`` of all its parameters.

    Weights are the parameters of two and more dimensions: no biases, no scales and shifts of batch
    normalisation. Parameters that no layer owns (the 1 x 1 convolutions of skips) are left out.
    """
    dimensions = {name: value.ndim for name, value in network.named_parameters()}
    return {
        layer: [
            key
            for key in network.own_keys(layer)
            if key in dimensions and (biases or dimensions[key] > 1)
        ]
        for layer in network.weight_layers()
    }


def _terms(
    logits: Tensor, labels: Tensor, permuted: Tensor, shares: Mapping[str, float], samples: int
) -> Iterator[tuple[Tensor, dict[str, float]]]:
    """What a batch is pulled back with: (weights (batch, classes), factor of each part it adds to).

    A batch of one subset S adds to the parts of the other one by gbar only, so that one more pass
    with uniform weights serves both of them.
    """
    if not torch.isfinite(logits).all():
        raise GeometryError(
            "The network's logits are not finite, so its gradient has no parts; leave networks that "
            "diverged out."
        )
    classes = logits.shape[1]
    if int(labels.max()) >= classes:
        raise GeometryError(
            f"A label is {int(labels.max())}; valid are 0 to {classes - 1}, the network's outputs."
        )
    told = one_hot(labels, classes).to(logits.dtype)
    model = torch.softmax(logits.detach(), dim=1)
    members = {"permuted": permuted, "unpermuted": ~permuted}
    for subset in SUBSETS:
        share, inside = shares[subset], members[subset][:, None]
        if inside.any():
            mean = share / classes  # gbar's part of every sample of the batch
            yield (mean - told * inside) / samples, {f"dep_{subset}": 1.0}
            yield (model * inside - mean) / samples, {f"ind_{subset}": 1.0}
        elif share > 0:
            uniform = torch.full_like(model, 1 / (classes * samples))
            yield uniform, {f"dep_{subset}": share, f"ind_{subset}": -share}


def _batches(permuted: Tensor, size: int, coupled: bool) -> Iterator[Tensor]:
    """Indices of the samples of each batch.

    Where the samples of a batch do not depend on one another, batches are of one subset, which saves
    a backward pass; else in the order given.
    """
    if coupled:
        rows = torch.arange(len(permuted), device=permuted.device).split(size)
        if len(rows[-1]) == 1:
            raise GeometryError(
                f"{len(permuted)} samples in batches of {size} leave a batch of one sample, which has "
                "no statistics to be normalised by; choose another batch_size."
            )
        yield from rows
        return
    for subset in (~permuted, permuted):
        chosen = torch.nonzero(subset).flatten()
        if len(chosen):
            yield from chosen.split(size)


@contextmanager
def _mode(network: nn.Module, batch_norm: str) -> Iterator[None]:
    """Within: eval mode, but batch statistics where asked for, which leave the running ones alone."""
    before = {module: module.training for module in network.modules()}
    tracked: dict[Any, bool] = {}
    network.eval()
    if batch_norm == "train":
        for module in before:
            if isinstance(module, _BatchNorm):
                tracked[module] = module.track_running_stats
                module.training, module.track_running_stats = True, False
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
        for module, tracking in tracked.items():
            module.track_running_stats = tracking


def _check_samples(x: Tensor, labels: Tensor, permuted: Tensor) -> None:
    shapes = tuple(x.shape), tuple(labels.shape), tuple(permuted.shape)
    fits = labels.shape == permuted.shape == x.shape[:1] and len(x) > 0
    if not fits or permuted.dtype != torch.bool or labels.dtype != torch.int64:
        raise GeometryError(
            f"Inputs, labels and permuted of shapes {shapes} and types {x.dtype}, {labels.dtype}, "
            f"{permuted.dtype} given; (samples, ...), (samples,) int64 and (samples,) bool are needed."
        )
    if int(labels.min()) < 0:
        raise GeometryError(f"A label is {int(labels.min())}; labels are class numbers from 0 on.")
