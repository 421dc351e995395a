"""The CPU pass for fully connected networks on sparse images: lane kernels on all networks at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from pipeline.training import lane_kernels as kernels
from pipeline.training.measures import (
    ClassSums,
    EpochMeasures,
    class_counts,
    pack_misclassified,
    radii_and_distance,
)
from pipeline.training.problem import Architecture, Problem
from pipeline.training.sparse import MEMBERS, PackedRows, SparseImages, sparse_images

LANES = kernels.LANES
Group = TypeVar("Group")
# Above this density a dense matrix product is as fast (measured: 40-70 against 75 Gflop/s per core).
MAX_DENSITY = 0.6


@dataclass
class LaneGroup:
    """Parameters, gradients and sample weights of up to LANES networks, lanes innermost."""

    networks: slice
    weights: np.ndarray  # (N, H LANES)
    first_bias: np.ndarray  # (H LANES,), the bias plus W o
    hidden: np.ndarray  # (L - 2, H, H, LANES)
    hidden_bias: np.ndarray  # (L - 2, H, LANES)
    readout: np.ndarray  # (H, LANES), v+ - v-
    readout_bias: np.ndarray  # (LANES,)
    first_gradient: np.ndarray  # (N rounded up to MEMBERS, H LANES)
    gradients: tuple[np.ndarray, ...]
    sample_weight: np.ndarray  # (P or 1, LANES), divided by the sum over samples
    z: np.ndarray  # (block, H LANES)

    @property
    def network(self) -> tuple[np.ndarray, ...]:
        return (
            self.weights,
            self.first_bias,
            self.hidden,
            self.hidden_bias,
            self.readout,
            self.readout_bias,
        )


def lanes_last(tensor: torch.Tensor, out: np.ndarray) -> None:
    """Copy (networks, ...) into (..., LANES); lanes without a network stay as they are (zero)."""
    values = tensor.detach().numpy()
    out[..., : len(values)] = np.moveaxis(values, 0, -1)


def _make_group(
    networks: slice, problem: Problem, architecture: Architecture, images: SparseImages
) -> LaneGroup:
    features = problem.train_images.shape[1]
    width, layers = architecture.width, architecture.depth - 1
    columns = width * LANES
    padded = -(-features // MEMBERS) * MEMBERS

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return LaneGroup(
        networks=networks,
        weights=zeros(features, columns),
        first_bias=zeros(columns),
        hidden=zeros(layers - 1, width, width, LANES),
        hidden_bias=zeros(layers - 1, width, LANES),
        readout=zeros(width, LANES),
        readout_bias=zeros(LANES),
        first_gradient=zeros(padded, columns),
        gradients=(
            zeros(layers - 1, width, width, LANES),
            zeros(layers, width, LANES),
            zeros(width, LANES),
            zeros(LANES),
        ),
        sample_weight=lane_weights(problem, networks, images.order),
        z=zeros(images.block, columns),
    )


def _load(group: LaneGroup, parameters: list[torch.Tensor], offset: np.ndarray) -> None:
    """Copy the networks' parameters (seeds first) into the group's lanes."""
    own = [p.detach()[group.networks] for p in parameters]
    width = group.readout.shape[0]
    lanes_last(own[0].flatten(2).transpose(1, 2), group.weights.reshape(-1, width, LANES))
    lanes_last(own[1], group.first_bias.reshape(width, LANES))
    group.first_bias += offset @ group.weights
    for layer in range(len(group.hidden)):
        lanes_last(own[2 + 2 * layer], group.hidden[layer])
        lanes_last(own[3 + 2 * layer], group.hidden_bias[layer])
    lanes_last(own[-2][:, 1] - own[-2][:, 0], group.readout)
    lanes_last(own[-1][:, 1] - own[-1][:, 0], group.readout_bias)


def _store(group: LaneGroup, gradients: list[torch.Tensor], offset: np.ndarray) -> None:
    """Copy the group's gradients into the ensemble's, seeds first."""
    hidden, bias, readout, readout_bias = group.gradients
    width = readout.shape[0]
    features = group.weights.shape[0]
    count = group.networks.stop - group.networks.start

    def put(target: torch.Tensor, values: np.ndarray) -> None:
        target.numpy()[group.networks] = np.moveaxis(values[..., :count], -1, 0)

    first = group.first_gradient[:features].reshape(features, width, LANES)
    first += offset[:, None, None] * bias[0]
    gradients[0].flatten(2).numpy()[group.networks] = first[..., :count].transpose(2, 1, 0)
    put(gradients[1], bias[0])
    for layer in range(len(hidden)):
        put(gradients[2 + 2 * layer], hidden[layer])
        put(gradients[3 + 2 * layer], bias[layer + 1])
    put(gradients[-2][:, 1], readout)
    put(gradients[-1][:, 1], readout_bias)
    for target in gradients[-2:]:
        target[group.networks, 0] = -target[group.networks, 1]


def lane_groups(networks: int) -> list[slice]:
    """Groups of at most LANES networks."""
    return [slice(at, min(at + LANES, networks)) for at in range(0, networks, LANES)]


def lane_weights(problem: Problem, networks: slice, order: np.ndarray | None = None) -> np.ndarray:
    """Sample weights divided by their sum, (P or 1, LANES) float32, in the order of the images."""
    samples = len(problem.train_labels)
    if problem.sample_weight is None:
        return np.full((1, LANES), 1 / samples, np.float32)
    chosen = problem.sample_weight[networks].astype(np.float64)
    chosen = chosen if order is None else chosen[:, order]
    weight = np.zeros((samples, LANES), np.float32)
    weight[:, : len(chosen)] = (chosen / chosen.sum(axis=1, keepdims=True)).T
    return weight


def passes_of_groups(
    work: Callable[[Group], tuple[np.ndarray, ...]], groups: Sequence[Group], threads: int
) -> list[tuple[np.ndarray, ...]]:
    """``work`` of every lane group, in order; each is worked by one thread from beginning to end."""

    def quietly(group: Group) -> tuple[np.ndarray, ...]:
        # A network that diverges is found by its loss and weights; NumPy need not warn as well.
        with np.errstate(invalid="ignore", over="ignore"):
            return work(group)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(quietly, groups))


def joined_measures(
    parts: list[tuple[np.ndarray, ...]],
    counts: np.ndarray,
    kept: np.ndarray | None,
    position: np.ndarray | None = None,
) -> EpochMeasures:
    """The measures of all lane groups together.

    parts: per group, networks first: class sums (networks, 2, layers, units), numbers of non-zero h
    (networks, 2, layers), loss, misclassified samples (networks, P), test errors. kept: (R, P) or None.
    position: where in the order of ``parts`` each sample is.
    """
    total, directed, loss, wrong, test_error = (
        np.concatenate(values) for values in zip(*parts, strict=True)
    )
    wrong = wrong if position is None else wrong[:, position]
    sums = ClassSums(np.moveaxis(total, 0, 1), np.moveaxis(directed, 0, 1))
    radii = radii_and_distance(sums, counts)
    errors = (wrong if kept is None else wrong & kept).sum(axis=1) / counts.sum(axis=0)
    return EpochMeasures(loss, errors, test_error, *radii, pack_misclassified(wrong))


def _arrays(rows: PackedRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.first, rows.index, rows.value


class SparsePass:
    """Measures, and gradients, of all networks at their present parameters.

    Calling it with parameters (and gradients to fill, or None) gives the EpochMeasures. Each lane group
    is worked by one thread from beginning to end, so sums do not depend on ``threads``. test_once: the
    test error is wanted once, so that its images need not be put in order.
    """

    def __init__(
        self,
        problem: Problem,
        architecture: Architecture,
        networks: int,
        threads: int,
        *,
        test_once: bool = False,
    ):
        self.problem = problem
        self.test_once = test_once
        self.images = sparse_images(problem.train_images)
        self.labels = problem.train_labels[self.images.order].astype(np.float32)
        self.position = np.argsort(self.images.order)
        self.test: SparseImages | None = None
        self.test_labels = np.empty(0, np.float32)
        self.kind = kernels.ACTIVATIONS[architecture.activation]
        layers = range(1, architecture.depth)
        self.measured = np.array([layer in architecture.measured for layer in layers])
        self.counts = class_counts(problem.train_labels, problem.sample_weight, networks)
        weight = problem.sample_weight
        self.kept = None if weight is None else weight > 0
        self.groups = [
            _make_group(part, problem, architecture, self.images) for part in lane_groups(networks)
        ]
        self.threads = threads

    def __call__(
        self,
        parameters: list[torch.Tensor],
        gradients: list[torch.Tensor] | None = None,
        *,
        with_test: bool = True,
    ) -> EpochMeasures:
        if with_test:
            self._prepare_test()
        parts = passes_of_groups(
            lambda group: self._group_pass(group, parameters, gradients, with_test),
            self.groups,
            self.threads,
        )
        return joined_measures(parts, self.counts, self.kept, self.position)

    def _prepare_test(self) -> None:
        images, labels = self.problem.test_images, self.problem.test_labels
        if self.test is None and images is not None and labels is not None:
            self.test = sparse_images(images, columns=False, reorder=not self.test_once)
            self.test_labels = labels[self.test.order].astype(np.float32)

    def _group_pass(
        self,
        group: LaneGroup,
        parameters: list[torch.Tensor],
        gradients: list[torch.Tensor] | None,
        with_test: bool,
    ) -> tuple[np.ndarray, ...]:
        """All blocks of one lane group: class sums, loss, misclassified samples and test errors."""
        _load(group, parameters, self.images.offset)
        width, layers = group.readout.shape[0], len(self.measured)
        shapes = ((2, layers, width, LANES), (2, layers, LANES), (LANES,))
        sums = [np.zeros(shape) for shape in shapes]
        wrong = np.empty((len(self.labels), LANES), np.bool_)
        none = np.zeros((0, LANES), np.float32)
        empty = (group.gradients[0][:0], none[None], none, none[:, 0])
        group.first_gradient[:] = 0
        for gradient in group.gradients:
            gradient[:] = 0
        for number, start in enumerate(range(0, len(self.labels), self.images.block)):
            stop = min(start + self.images.block, len(self.labels))
            partial = tuple(np.zeros(total.shape, np.float32) for total in sums)
            weight = group.sample_weight
            kernels.train_block(
                _arrays(self.images.rows),
                start,
                self.labels[start:stop],
                weight[start:stop] if len(weight) > 1 else weight,
                group.network,
                self.kind,
                self.measured,
                partial,
                empty if gradients is None else group.gradients,
                wrong[start:stop],
                group.z,
            )
            # Block sums in float32, the sum over blocks in float64: 1e-7 accuracy of the radii.
            for total, part in zip(sums, partial, strict=True):
                total += part
            if gradients is not None:
                columns = _arrays(self.images.columns[number])
                kernels.first_layer_gradient(columns, group.z, group.first_gradient)
        if gradients is not None:
            _store(group, gradients, self.images.offset)
        count = group.networks.stop - group.networks.start
        return (
            *(np.moveaxis(total[:, self.measured], -1, 0)[:count] for total in sums[:2]),
            sums[2][:count],
            wrong.T[:count],
            self._test_error(group, with_test)[:count],
        )

    def _test_error(self, group: LaneGroup, wanted: bool) -> np.ndarray:
        if self.test is None or not wanted:
            return np.full(LANES, np.nan)
        errors = np.zeros(LANES, np.int64)
        # The test set has its own offset, so the folded bias differs from the training set's.
        bias = group.first_bias + (self.test.offset - self.images.offset) @ group.weights
        network = (group.weights, bias, *group.network[2:])
        kernels.count_errors(_arrays(self.test.rows), self.test_labels, network, self.kind, errors)
        return errors / len(self.test_labels)
