"""The pass for any network that is a torch.nn.Sequential of hidden layers and a read-out.

Slower than the passes written for fully connected networks, and general: gradients by automatic
differentiation, all networks at once through torch.func. It is how one's own network is trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from pipeline.errors import TrainingError
from pipeline.training.dense_pass import _project
from pipeline.training.measures import (
    ClassSums,
    EpochMeasures,
    class_counts,
    pack_misclassified,
    radii_and_distance,
)
from pipeline.training.problem import Problem

BLOCK = 1024


def check_network(network: nn.Module, measured: tuple[int, ...]) -> None:
    """Raise TrainingError unless ``network`` is a Sequential with the measured hidden layers."""
    if not isinstance(network, nn.Sequential) or len(network) < 2:
        raise TrainingError(
            "a network must be a torch.nn.Sequential whose last element is the read-out (2 outputs) "
            f"and every other element a hidden layer; this one is a {type(network).__name__}."
        )
    hidden = len(network) - 1
    if not measured or min(measured) < 1 or max(measured) > hidden:
        raise TrainingError(
            f"layers {list(measured)} are asked for, but the hidden layers are 1 to {hidden}."
        )
    if list(network.buffers()):
        raise TrainingError(
            "networks with buffers (batch-norm running statistics) cannot be trained as an ensemble."
        )


def representations(network: nn.Sequential, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Flattened representations (samples, units) of every hidden layer, and the outputs."""
    hidden: list[Tensor] = []
    h = images
    for layer in list(network)[:-1]:
        h = layer(h)
        hidden.append(h.flatten(1))
    return hidden, network[-1](h)


class ModulePass:
    """Measures, and gradients, of all networks at their present parameters (as SparsePass)."""

    def __init__(
        self,
        problem: Problem,
        network: nn.Sequential,
        measured: tuple[int, ...],
        networks: int,
        *,
        device: str,
        precision: str,
    ):
        if precision == "bf16":
            raise TrainingError(
                "precision bf16 is for the built-in networks only (fully_connected, convolutional)."
            )
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.network, self.measured, self.networks = network, measured, networks
        self.names = [name for name, _ in network.named_parameters()]
        self.device = device
        self.images = self._tensor(problem.train_images)
        self.labels = self._tensor(problem.train_labels)
        self.test: tuple[Tensor, Tensor] | None = None
        if problem.test_images is not None and problem.test_labels is not None:
            self.test = (self._tensor(problem.test_images), self._tensor(problem.test_labels))
        weight = problem.sample_weight
        self.kept = None if weight is None else weight > 0
        if weight is None:
            weight = np.ones((networks, len(problem.train_labels)), np.float32)
        total = weight.astype(np.float64).sum(axis=1, keepdims=True)
        self.weight = self._tensor(weight / total)
        self.counts = class_counts(problem.train_labels, problem.sample_weight, networks)
        self._gradient = vmap(grad_and_value(self._loss, has_aux=True), in_dims=(0, None, None, 0))
        self._own_gradient = vmap(grad_and_value(self._loss, has_aux=True), in_dims=(0, 0, 0, 0))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype)

    def _loss(
        self, parameters: dict[str, Tensor], images: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden: list[Tensor] = []
        h = images
        for position, layer in enumerate(self.network):
            prefix = f"{position}."
            own = {n[len(prefix) :]: p for n, p in parameters.items() if n.startswith(prefix)}
            h = functional_call(layer, own, (h,))
            hidden.append(h.flatten(1))
        field = h[:, 1] - h[:, 0]
        loss = (weight * nn.functional.softplus(-y * field)).sum()
        return loss, (field, *(hidden[layer - 1] for layer in self.measured))

    def _named(self, parameters: list[Tensor]) -> dict[str, Tensor]:
        return dict(zip(self.names, (p.detach() for p in parameters), strict=True))

    def __call__(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor] | None = None,
        *,
        with_test: bool = True,
    ) -> EpochMeasures:
        named = self._named(parameters)
        for gradient in gradients or []:
            gradient.zero_()
        sums: list[Any] = [0.0] * (1 + 2 * len(self.measured))
        wrong = []
        for start in range(0, len(self.labels), BLOCK):
            part = slice(start, start + BLOCK)
            y, weight = self.labels[part], self.weight[:, part]
            parts, (loss, (field, *hidden)) = self._gradient(named, self.images[part], y, weight)
            found = [loss]
            for h in hidden:
                found += _project(h.transpose(1, 2), y, weight)
            sums = [total + value.double() for total, value in zip(sums, found, strict=True)]
            wrong.append((field > 0) != (y > 0))
            if gradients is not None:
                for name, gradient in zip(self.names, gradients, strict=True):
                    gradient += parts[name]
        loss, *projected = (total.cpu().numpy() for total in sums)
        misses = torch.cat(wrong, 1).cpu().numpy()
        # Layer by layer: layers of one's own network may differ in their number of units.
        layers = [
            radii_and_distance(ClassSums(total[:, :, None], directed[:, :, None]), self.counts)
            for total, directed in zip(projected[0::2], projected[1::2], strict=True)
        ]
        plus, minus, distance = (
            np.concatenate(parts, axis=1) for parts in zip(*layers, strict=True)
        )
        counted = misses if self.kept is None else misses & self.kept
        error = counted.sum(axis=1) / self.counts.sum(axis=0)
        packed = pack_misclassified(misses)
        test_error = self._test_error(named, with_test)
        return EpochMeasures(loss, error, test_error, plus, minus, distance, packed)

    @torch.no_grad()
    def _test_error(self, named: dict[str, Tensor], wanted: bool) -> np.ndarray:
        if self.test is None or not wanted:
            return np.full(self.networks, np.nan)
        images, labels = self.test
        outputs = vmap(lambda p, x: functional_call(self.network, p, (x,)), in_dims=(0, None))
        errors = np.zeros(self.networks, np.int64)
        for start in range(0, len(labels), BLOCK):
            out = outputs(named, images[start : start + BLOCK])
            y = labels[start : start + BLOCK]
            errors += ((out[..., 1] > out[..., 0]) != (y > 0)).sum(1).cpu().numpy()
        return errors / len(labels)

    def batch_gradients(
        self, parameters: list[Tensor], gradients: list[Tensor], index: Tensor
    ) -> None:
        """Gradients of the mean loss over a minibatch; index (R, B), own samples for each network."""
        weight = torch.gather(self.weight, 1, index)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(self.dtype).tiny)
        images, y = self.images[index], self.labels[index]
        parts, _ = self._own_gradient(self._named(parameters), images, y, weight)
        for name, gradient in zip(self.names, gradients, strict=True):
            gradient.copy_(parts[name])
