"""The built-in networks' pass as dense tensor algebra: any device, any precision, minibatches.

The networks share their inputs, so the first layer of all of them is one matrix product,
Z (R H, samples) = W (R H, N) X^T. With two classes only the logit difference f = f+ - f- matters:
dL/df = w (sigmoid(f) - [y = +1]), and the read-out's two rows get opposite gradients. A convolution is
the same product with the windows of the images in place of the images.
"""

from __future__ import annotations

import math
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
# A convolution has as many units as weights at all positions, so its blocks are bounded in memory.
CPU_BLOCK_ELEMENTS = 2**22


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


def _loss_slope(field: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """dL/df of every sample, (R, B)."""
    return weight * (torch.sigmoid(field) - (1 + y) / 2)


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
    dz, gradients = _backward(outputs, slopes, upper, _loss_slope(field, y, weight))
    return found, dz, gradients


def test_errors(z: Tensor, upper: list[Tensor], y: Tensor, kind: str) -> Tensor:
    """Number of misclassified samples of one block, per network."""
    return ((_layers_up(z, upper, kind)[2] > 0) != (y > 0)).sum(1)


def windows(images: Tensor, kernel: int) -> Tensor:
    """The k x k windows of flat square images (B, N), (positions, B, k k)."""
    side = math.isqrt(images.shape[1])
    found = images.view(-1, side, side).unfold(1, kernel, 1).unfold(2, kernel, 1)
    return found.flatten(3).flatten(1, 2).transpose(0, 1).contiguous()


class DensePass:
    """Measures, and gradients, of all networks at their present parameters (as SparsePass).

    test_once: the test error is wanted once, which is not worth compiling for.
    """

    def __init__(
        self,
        problem: Problem,
        architecture: Architecture,
        networks: int,
        *,
        device: str,
        precision: str,
        compiled: bool,
        test_once: bool = False,
    ):
        self.architecture = architecture
        self.networks = networks
        self.device = device
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        # bf16: operands of the first layer's products; sums, weights and all else stay float32.
        self.operand = torch.bfloat16 if precision == "bf16" else self.dtype
        self.images = self._tensor(problem.train_images, self.operand)
        self.labels = self._tensor(problem.train_labels, self.dtype)
        self.problem = problem
        self.test: tuple[Tensor, Tensor] | None = None
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
            if not test_once:
                self.test_errors = torch.compile(test_errors, dynamic=False)
        on_gpu = device.startswith("cuda")
        per_sample = networks * architecture.units
        self.block = max(1, GPU_BLOCK_ELEMENTS // per_sample) if on_gpu else CPU_BLOCK
        if architecture.positions > 1:
            largest = GPU_BLOCK_ELEMENTS if on_gpu else CPU_BLOCK_ELEMENTS
            cells = architecture.positions * (architecture.kernel or 1) ** 2
            self.block = min(self.block, max(1, largest // max(per_sample, cells)))

    def _tensor(self, values: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device=self.device, dtype=dtype)

    def _rows(self, images: Tensor) -> Tensor:
        """What the first layer's weights meet: (B, N) images, or (positions B, k k) their windows."""
        if self.architecture.positions == 1:
            return images
        return windows(images, self.architecture.kernel or 1).flatten(0, 1)

    def _inputs(self, weight: Tensor, rows: Tensor) -> Tensor:
        """W x of the first layer: (R, H, B) from weight (R, channels, ...) and shared rows."""
        flat = weight.reshape(-1, rows.shape[-1]).to(self.operand)
        samples = len(rows) // self.architecture.positions
        return (flat @ rows.T).to(self.dtype).view(self.networks, -1, samples)

    def _per_unit(self, upper: list[Tensor]) -> list[Tensor]:
        """``upper`` with the first layer's bias of each unit, not of each channel."""
        positions = self.architecture.positions
        return upper if positions == 1 else [upper[0].repeat_interleave(positions, 1), *upper[1:]]

    def _per_channel(self, parts: list[Tensor]) -> list[Tensor]:
        """The gradients of ``_per_unit``'s argument."""
        positions = self.architecture.positions
        if positions == 1 or not parts:
            return parts
        return [parts[0].unflatten(1, (-1, positions)).sum(2), *parts[1:]]

    def _weights(self, start: int, stop: int) -> Tensor:
        return self.weight if self.weight.shape[1] == 1 else self.weight[:, start:stop]

    @torch.no_grad()
    def __call__(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor] | None = None,
        *,
        with_test: bool = True,
    ) -> EpochMeasures:
        first, upper = parameters[0], self._per_unit([p.detach() for p in parameters[1:]])
        measured = self.architecture.measured
        totals: list[Tensor] = []
        wrong: list[Tensor] = []
        for gradient in gradients or []:
            gradient.zero_()
        for start in range(0, len(self.labels), self.block):
            rows = self._rows(self.images[start : start + self.block])
            y = self.labels[start : start + self.block]
            weight = self._weights(start, start + len(y))
            kind, wanted = self.architecture.activation, gradients is not None
            z = self._inputs(first, rows)
            found, dz, parts = self.train_block(z, upper, y, weight, kind, measured, wanted)
            wrong.append(found.pop(1))
            block_sums = [part.double() for part in found]
            totals = (
                [a + b for a, b in zip(totals, block_sums, strict=True)] if totals else block_sums
            )
            if gradients is not None:
                self._add_first(gradients[0], dz, rows)
                for gradient, part in zip(gradients[1:], self._per_channel(parts), strict=True):
                    gradient += part
        test_error = self._test_error(first, upper, with_test)
        return self._measures(totals, torch.cat(wrong, 1), test_error)

    def _add_first(self, gradient: Tensor, dz: Tensor, rows: Tensor) -> None:
        flat, features = dz.reshape(-1, len(rows)), rows.shape[-1]
        if self.operand == self.dtype:
            gradient.view(-1, features).addmm_(flat, rows)
        else:
            gradient.view(-1, features).add_(flat.to(self.operand) @ rows)

    def _test_set(self) -> tuple[Tensor | None, Tensor | None]:
        """The test images and labels on the device, from their first use on."""
        images, labels = self.problem.test_images, self.problem.test_labels
        if self.test is None and images is not None and labels is not None:
            self.test = self._tensor(images, self.operand), self._tensor(labels, self.dtype)
        return self.test or (None, None)

    def _test_error(self, first: Tensor, upper: list[Tensor], wanted: bool) -> np.ndarray:
        images, labels = self._test_set() if wanted else (None, None)
        if images is None or labels is None:
            return np.full(self.networks, np.nan)
        errors = torch.zeros(self.networks, dtype=torch.int64, device=self.device)
        for start in range(0, len(labels), self.block):
            part = slice(start, start + self.block)
            z = self._inputs(first, self._rows(images[part]))
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

    def _own_rows(self, index: Tensor) -> Tensor:
        """As ``_rows``, but each network has samples of its own: (R, positions B, N or k k)."""
        images = self.images.index_select(0, index.reshape(-1))
        if self.architecture.positions == 1:
            return images.view(*index.shape, -1)
        found = windows(images, self.architecture.kernel or 1)
        return found.unflatten(1, index.shape).transpose(0, 1).flatten(1, 2)

    @torch.no_grad()
    def batch_gradients(
        self, parameters: list[Tensor], gradients: list[Tensor], index: Tensor
    ) -> None:
        """Gradients of the mean loss over a minibatch; index (R, B), own samples for each network."""
        rows = self._own_rows(index)
        y = self.labels[index]
        weight = self.weight.expand(self.networks, -1)
        if weight.shape[1] == 1:
            weight = torch.full_like(y, 1 / index.shape[1])
        else:
            weight = torch.gather(weight, 1, index)
            weight = weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(self.dtype).tiny)
        first = parameters[0].detach().view(self.networks, -1, rows.shape[-1])
        z = torch.bmm(first.to(self.operand), rows.transpose(1, 2))
        z = z.view(self.networks, -1, index.shape[1])
        upper = self._per_unit([p.detach() for p in parameters[1:]])
        kind = self.architecture.activation
        outputs, slopes, field = _layers_up(z.to(self.dtype), upper, kind)
        dz, parts = _backward(outputs, slopes, upper, _loss_slope(field, y, weight))
        dz = dz.view(self.networks, -1, rows.shape[1]).to(self.operand)
        if self.operand == self.dtype:
            torch.bmm(dz, rows, out=gradients[0].view_as(first))
        else:
            gradients[0].copy_(torch.bmm(dz, rows).view_as(gradients[0]))
        for gradient, part in zip(gradients[1:], self._per_channel(parts), strict=True):
            gradient.copy_(part)
