"""The pass for fully connected networks as dense tensor algebra: any device, any precision, minibatches.

The networks share their inputs, so the first layer of all of them is one matrix product,
Z (R H, samples) = W (R H, N) X^T. With two classes only the logit difference f = f+ - f- matters:
dL/df = w (sigmoid(f) - [y = +1]), and the read-out's two rows get opposite gradients.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.models.fully_connected import LEAKY_SLOPE
from pipeline.training.measures import (
    ClassSums,
    EpochMeasures,
    class_counts,
    pack_misclassified,
    radii_and_distance,
)
from pipeline.training.problem import Architecture, Problem

# Blocks whose elementwise work stays in a CPU's cache; a GPU takes as much as fits.
CPU_BLOCK = 1024
GPU_BLOCK_ELEMENTS = 2**28


def activate(z: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """The activation of z and its derivative at z (at 0, relu's is 0 as in torch)."""
    if kind == "tanh":
        a = torch.tanh(z)
        return a, 1 - a * a
    if kind == "relu":
        return torch.relu(z), (z > 0).to(z.dtype)
    if kind == "leaky_relu":
        slope = torch.full_like(z, LEAKY_SLOPE).masked_fill(z > 0, 1.0)
        return z * slope, slope
    if kind == "silu":
        s = torch.sigmoid(z)
        return z * s, s * (1 + z * (1 - s))
    return z, torch.ones_like(z)


def _layers_up(
    z: Tensor, upper: list[Tensor], kind: str
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Representations and slopes (R, H, B) of all hidden layers, and the logit difference (R, B).

    upper: the parameters after the first layer's weight: bias, then weight and bias of each layer.
    """
    a, slope = activate(z + upper[0][:, :, None], kind)
    outputs, slopes = [a], [slope]
    for weight, bias in zip(upper[1:-2:2], upper[2:-2:2], strict=True):
        a, slope = activate(torch.bmm(weight, a) + bias[:, :, None], kind)
        outputs.append(a)
        slopes.append(slope)
    readout = upper[-2][:, 1] - upper[-2][:, 0]
    field = (a * readout[:, :, None]).sum(1) + (upper[-1][:, 1] - upper[-1][:, 0])[:, None]
    return outputs, slopes, field


def _project(a: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Class sums of h/|h|: (2, R, H), and numbers of non-zero h: (2, R); class 0 is +1."""
    square = (a * a).sum(1)
    inside = ((square > 0) & (weight > 0)).to(a.dtype)
    scale = inside / torch.sqrt(torch.where(square > 0, square, 1.0))
    plus = (y > 0).to(a.dtype)
    sums = [(a * (scale * side)[:, None, :]).sum(2) for side in (plus, 1 - plus)]
    return torch.stack(sums), torch.stack([(inside * side).sum(1) for side in (plus, 1 - plus)])


def _backward(
    outputs: list[Tensor], slopes: list[Tensor], upper: list[Tensor], delta: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """dL/dz of the first layer (R, H, B) and the gradients of ``upper``, in its order."""
    readout = upper[-2][:, 1] - upper[-2][:, 0]
    g_readout = (outputs[-1] * delta[:, None, :]).sum(2)
    g_bias = delta.sum(1)
    gradients = [
        torch.stack([-g_bias, g_bias], 1),
        torch.stack([-g_readout, g_readout], 1),
    ]
    dz = delta[:, None, :] * readout[:, :, None] * slopes[-1]
    for layer in range(len(outputs) - 1, 0, -1):
        weight = upper[2 * layer - 1]
        gradients += [dz.sum(2), torch.bmm(dz, outputs[layer - 1].transpose(1, 2))]
        dz = torch.bmm(weight.transpose(1, 2), dz) * slopes[layer - 1]
    gradients.append(dz.sum(2))
    return dz, gradients[::-1]


def train_block(
    z: Tensor,
    upper: list[Tensor],
    y: Tensor,
    weight: Tensor,
    kind: str,
    measured: tuple[int, ...],
    with_gradient: bool,
) -> tuple[list[Tensor], Tensor | None, list[Tensor]]:
    """([loss, wrong, class sums and counts per measured layer], dL/dz, gradients) of one block.

    z (R, H, B): W x of the first layer, without its bias; y (B,) or (R, B); weight (1 or R, 1 or B),
    sample weights divided by their sum.
    """
    outputs, slopes, field = _layers_up(z, upper, kind)
    weight = weight.expand_as(field)
    loss = torch.log1p(torch.exp(-field.abs())) + torch.relu(-y * field)
    found: list[Tensor] = [(weight * loss).sum(1), (field > 0) != (y > 0)]
    for layer in measured:
        found += _project(outputs[layer - 1], y, weight)
    if not with_gradient:
        return found, None, []
    delta = weight * (torch.sigmoid(field) - (1 + y) / 2)
    dz, gradients = _backward(outputs, slopes, upper, delta)
    return found, dz, gradients


def test_errors(z: Tensor, upper: list[Tensor], y: Tensor, kind: str) -> Tensor:
    """Number of misclassified samples of one block, per network."""
    return ((_layers_up(z, upper, kind)[2] > 0) != (y > 0)).sum(1)


def compiler_available() -> bool:
    """Whether torch.compile can build CPU code here."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


class DensePass:
    """Measures, and gradients, of all networks at their present parameters (as SparsePass)."""

    def __init__(
        self,
        problem: Problem,
        architecture: Architecture,
        networks: int,
        *,
        device: str,
        precision: str,
        compiled: bool,
    ):
        self.architecture = architecture
        self.networks = networks
        self.device = device
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        # bf16: operands of the first layer's products; sums, weights and all else stay float32.
        self.operand = torch.bfloat16 if precision == "bf16" else self.dtype
        self.images = self._tensor(problem.train_images, self.operand)
        self.labels = self._tensor(problem.train_labels, self.dtype)
        self.test: tuple[Tensor, Tensor] | None = None
        if problem.test_images is not None and problem.test_labels is not None:
            self.test = (
                self._tensor(problem.test_images, self.operand),
                self._tensor(problem.test_labels, self.dtype),
            )
        self.kept: np.ndarray | None = None
        if problem.sample_weight is None:
            self.weight = torch.full((1, 1), 1 / len(self.labels), dtype=self.dtype, device=device)
        else:
            self.kept = problem.sample_weight > 0
            total = problem.sample_weight.astype(np.float64).sum(axis=1, keepdims=True)
            self.weight = self._tensor(problem.sample_weight / total, self.dtype)
        self.counts = class_counts(problem.train_labels, problem.sample_weight, networks)
        self.train_block: Callable = train_block
        self.test_errors: Callable = test_errors
        if compiled:
            self.train_block = torch.compile(train_block, dynamic=False)
            self.test_errors = torch.compile(test_errors, dynamic=False)
        on_gpu = device.startswith("cuda")
        per_sample = networks * architecture.width
        self.block = max(1, GPU_BLOCK_ELEMENTS // per_sample) if on_gpu else CPU_BLOCK

    def _tensor(self, values: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device=self.device, dtype=dtype)

    def _inputs(self, weight: Tensor, images: Tensor) -> Tensor:
        """W x of the first layer: (R, H, B) from weight (R, H, N) and shared images (B, N)."""
        flat = weight.reshape(-1, weight.shape[-1]).to(self.operand)
        return (flat @ images.T).to(self.dtype).view(self.networks, -1, len(images))

    def _weights(self, start: int, stop: int) -> Tensor:
        return self.weight if self.weight.shape[1] == 1 else self.weight[:, start:stop]

    @torch.no_grad()
    def __call__(
        self, parameters: list[Tensor], gradients: list[Tensor] | None = None
    ) -> EpochMeasures:
        first, upper = parameters[0], [p.detach() for p in parameters[1:]]
        measured = self.architecture.measured
        totals: list[Tensor] = []
        wrong: list[Tensor] = []
        for gradient in gradients or []:
            gradient.zero_()
        for start in range(0, len(self.labels), self.block):
            images = self.images[start : start + self.block]
            y = self.labels[start : start + self.block]
            weight = self._weights(start, start + len(y))
            kind, wanted = self.architecture.activation, gradients is not None
            z = self._inputs(first, images)
            found, dz, parts = self.train_block(z, upper, y, weight, kind, measured, wanted)
            wrong.append(found.pop(1))
            block_sums = [part.double() for part in found]
            totals = (
                [a + b for a, b in zip(totals, block_sums, strict=True)] if totals else block_sums
            )
            if gradients is not None:
                self._add_first(gradients[0], dz, images)
                for gradient, part in zip(gradients[1:], parts, strict=True):
                    gradient += part
        return self._measures(totals, torch.cat(wrong, 1), self._test_error(first, upper))

    def _add_first(self, gradient: Tensor, dz: Tensor, images: Tensor) -> None:
        flat, features = dz.reshape(-1, dz.shape[-1]), gradient.shape[-1]
        if self.operand == self.dtype:
            gradient.view(-1, features).addmm_(flat, images)
        else:
            gradient.view(-1, features).add_(flat.to(self.operand) @ images)

    def _test_error(self, first: Tensor, upper: list[Tensor]) -> np.ndarray:
        if self.test is None:
            return np.full(self.networks, np.nan)
        images, labels = self.test
        errors = torch.zeros(self.networks, dtype=torch.int64, device=self.device)
        for start in range(0, len(labels), self.block):
            part = slice(start, start + self.block)
            z = self._inputs(first, images[part])
            errors += self.test_errors(z, upper, labels[part], self.architecture.activation)
        return errors.cpu().numpy() / len(labels)

    def _measures(
        self, totals: list[Tensor], wrong_tensor: Tensor, test_error: np.ndarray
    ) -> EpochMeasures:
        wrong = wrong_tensor.cpu().numpy()
        loss, *sums = (total.cpu().numpy() for total in totals)
        total = np.stack(sums[0::2], axis=2)
        directed = np.stack(sums[1::2], axis=2)
        radii = radii_and_distance(ClassSums(total, directed), self.counts)
        counted = wrong if self.kept is None else wrong & self.kept
        error = counted.sum(axis=1) / self.counts.sum(axis=0)
        return EpochMeasures(loss, error, test_error, *radii, pack_misclassified(wrong))

    @torch.no_grad()
    def batch_gradients(
        self, parameters: list[Tensor], gradients: list[Tensor], index: Tensor
    ) -> None:
        """Gradients of the mean loss over a minibatch; index (R, B), own samples for each network."""
        features = parameters[0].shape[-1]
        images = self.images[index.reshape(-1)].view(*index.shape, features)
        y = self.labels[index]
        weight = self.weight.expand(self.networks, -1)
        if weight.shape[1] == 1:
            weight = torch.full_like(y, 1 / index.shape[1])
        else:
            weight = torch.gather(weight, 1, index)
            weight = weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(self.dtype).tiny)
        z = torch.bmm(parameters[0].detach().to(self.operand), images.transpose(1, 2))
        upper = [p.detach() for p in parameters[1:]]
        _, dz, parts = train_block(
            z.to(self.dtype), upper, y, weight, self.architecture.activation, (), True
        )
        if dz is not None:
            gradients[0].copy_(torch.bmm(dz.to(self.operand), images))
        for gradient, part in zip(gradients[1:], parts, strict=True):
            gradient.copy_(part)
