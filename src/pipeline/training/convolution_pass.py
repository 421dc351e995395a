"""The CPU pass for convolutional networks (one convolution, a read-out) on sparse images.

As SparsePass, with windows in place of whole images: networks lie side by side, X = 1 o^T + S, and the
offset image o is convolved once per epoch. Units are kept as (tile, window, channel, lane).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.training import lane_convolution as kernels
from pipeline.training.lane_kernels import ACTIVATIONS
from pipeline.training.lane_math import LANES
from pipeline.training.lane_windows import TILE
from pipeline.training.measures import EpochMeasures, class_counts
from pipeline.training.problem import Architecture, Problem
from pipeline.training.sparse_pass import (
    joined_measures,
    lane_groups,
    lane_weights,
    lanes_last,
    passes_of_groups,
)

BLOCK = 256  # samples whose class sums are float32; sums over blocks are float64


@dataclass(frozen=True)
class Windows:
    """Where a kernel of side ``kernel`` is applied on images of side ``side``, in tiles of windows."""

    side: int
    kernel: int

    @property
    def across(self) -> int:
        """Positions in a row."""
        return self.side - self.kernel + 1

    @property
    def padded(self) -> int:
        """Positions in a row of whole tiles."""
        return -(-self.across // TILE) * TILE

    def tiles(self) -> np.ndarray:
        """Row, first column and number of windows of each tile, (tiles, 3) int64."""
        return np.array(
            [
                (row, column, min(TILE, self.across - column))
                for row in range(self.across)
                for column in range(0, self.padded, TILE)
            ],
            np.int64,
        )

    def of_image(self, image: np.ndarray) -> np.ndarray:
        """The pixels of every window of one flat image, (positions, k k)."""
        square = image.reshape(self.side, self.side)
        shape = (self.kernel, self.kernel)
        found = np.lib.stride_tricks.sliding_window_view(square, shape)
        return np.ascontiguousarray(found.reshape(self.across**2, -1))

    def units(self, array: np.ndarray) -> np.ndarray:
        """A view (rows, columns, channels, LANES) of (tiles, TILE channels LANES), without padding."""
        return array.reshape(self.across, self.padded, -1, LANES)[:, : self.across]


@dataclass(frozen=True)
class WindowImages:
    """A set of images as offset and rest, the rest padded so that the last tile of a row stays inside."""

    offset: np.ndarray  # (features,) float32
    rest: np.ndarray  # (samples, side, side + TILE) float32, 0 where there is background
    lit: (
        np.ndarray
    )  # (samples, side, side) bool, whether a pixel or the TILE - 1 to its right are lit
    labels: np.ndarray  # (samples,) float32
    windows_of_offset: np.ndarray  # (positions, k k)


def window_images(images: np.ndarray, labels: np.ndarray, windows: Windows) -> WindowImages:
    """Take the smallest value of every pixel off ``images`` (samples, features) float32."""
    offset = images.min(axis=0)
    rest = np.zeros((len(images), windows.side, windows.side + TILE), np.float32)
    rest[:, :, : windows.side] = (images - offset).reshape(-1, windows.side, windows.side)
    bright = rest != 0
    lit = np.zeros((len(images), windows.side, windows.side), np.bool_)
    for shift in range(TILE):
        lit |= bright[:, :, shift : shift + windows.side]
    return WindowImages(offset, rest, lit, labels.astype(np.float32), windows.of_image(offset))


@dataclass
class ConvolutionGroup:
    """Parameters, gradients, sample weights and work space of up to LANES networks, lanes innermost."""

    networks: slice
    weights: np.ndarray  # (k k, C LANES)
    bias: np.ndarray  # (C LANES,)
    readout: np.ndarray  # (tiles, TILE C LANES), v+ - v-, 0 beyond the last position of a row
    readout_bias: np.ndarray  # (LANES,)
    gradients: tuple[
        np.ndarray, ...
    ]  # of weights, units, read-out, read-out bias; factors of dark tiles
    sample_weight: np.ndarray  # (P or 1, LANES), divided by the sum over samples
    work: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Background:
    """Units of windows without a lit pixel, at the present weights, per tile."""

    inputs: np.ndarray  # (tiles, TILE C LANES)
    activation: np.ndarray  # the same, 0 beyond the last position of a row
    slope: np.ndarray
    products: np.ndarray  # (tiles, LANES): sums over the tile of activation times read-out
    squares: np.ndarray  # (tiles, LANES): sums over the tile of activation^2


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _make_group(
    networks: slice, problem: Problem, windows: Windows, channels: int
) -> ConvolutionGroup:
    tiles = windows.across * windows.padded // TILE
    columns, cells = channels * LANES, windows.kernel**2
    units = (tiles, TILE * columns)
    entries = tiles * cells + 1
    return ConvolutionGroup(
        networks=networks,
        weights=_zeros(cells, columns),
        bias=_zeros(columns),
        readout=_zeros(*units),
        readout_bias=_zeros(LANES),
        gradients=(
            _zeros(cells, columns),
            _zeros(*units),
            _zeros(*units),
            _zeros(LANES),
            _zeros(tiles, LANES),
        ),
        sample_weight=lane_weights(problem, networks),
        work=(
            (
                np.zeros(entries, np.int32),
                np.zeros(entries, np.int32),
                np.zeros(tiles + 1, np.int64),
                np.zeros(tiles, np.int64),
            ),
            (_zeros(TILE * columns), _zeros(*units), _zeros(*units), _zeros(LANES)),
        ),
    )


def _load(group: ConvolutionGroup, parameters: list[torch.Tensor], windows: Windows) -> None:
    """Copy the networks' parameters (seeds first) into the group's lanes."""
    weight, bias, readout, readout_bias = (p.detach()[group.networks] for p in parameters)
    channels = weight.shape[1]
    lanes_last(weight.flatten(2).transpose(1, 2), group.weights.reshape(-1, channels, LANES))
    lanes_last(bias, group.bias.reshape(channels, LANES))
    difference = (readout[:, 1] - readout[:, 0]).unflatten(1, (channels, windows.across, -1))
    lanes_last(difference.permute(0, 2, 3, 1), windows.units(group.readout))
    lanes_last(readout_bias[:, 1] - readout_bias[:, 0], group.readout_bias)


def _background(
    group: ConvolutionGroup, images: WindowImages, windows: Windows, kind: int
) -> Background:
    inputs, activation, slope = (np.zeros_like(group.readout) for _ in range(3))
    units = windows.units(inputs)
    found = images.windows_of_offset @ group.weights + group.bias
    units[:] = found.reshape(units.shape)
    kernels.activate(inputs.reshape(-1), activation.reshape(-1), slope.reshape(-1), kind)
    for array in (activation, slope):
        array.reshape(windows.across, windows.padded, -1)[:, windows.across :] = 0
    per_lane = (len(inputs), -1, LANES)
    return Background(
        inputs,
        activation,
        slope,
        (activation * group.readout).reshape(per_lane).sum(axis=1),
        (activation * activation).reshape(per_lane).sum(axis=1),
    )


def _by_lane(per_tile: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Values (..., tiles, LANES) repeated over the units of each tile."""
    return np.tile(per_tile, like.shape[-1] // LANES)


def _store(
    group: ConvolutionGroup,
    background: Background,
    images: WindowImages,
    windows: Windows,
    gradients: list[torch.Tensor],
) -> None:
    """Complete the group's gradients by the dark tiles and copy them into the ensemble's."""
    g_weights, g_units, g_readout, g_field, dark_delta = group.gradients
    delta = _by_lane(dark_delta, g_units)
    g_readout += delta * background.activation
    g_units += delta * group.readout * background.slope
    units = windows.units(g_units)
    channels = units.shape[2]
    flat = np.ascontiguousarray(units.reshape(windows.across**2, -1))
    g_weights += images.windows_of_offset.T @ flat
    count = group.networks.stop - group.networks.start

    def put(target: torch.Tensor, values: np.ndarray) -> None:
        target.numpy()[group.networks] = np.moveaxis(values[..., :count], -1, 0)

    put(gradients[0].flatten(2), g_weights.reshape(-1, channels, LANES).transpose(1, 0, 2))
    put(gradients[1], flat.sum(axis=0).reshape(channels, LANES))
    by_channel = windows.units(g_readout).transpose(2, 0, 1, 3).reshape(-1, LANES)
    put(gradients[2][:, 1], by_channel)
    put(gradients[3][:, 1], g_field)
    for target in gradients[2:]:
        target[group.networks, 0] = -target[group.networks, 1]


class ConvolutionPass:
    """Measures, and gradients, of all networks at their present parameters (as SparsePass).

    The test images are prepared at the first epoch that wants them, ``test_once`` or not.
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
        self.windows = Windows(math.isqrt(architecture.features), architecture.kernel or 1)
        self.tiles = self.windows.tiles()
        self.images = window_images(problem.train_images, problem.train_labels, self.windows)
        self.problem = problem
        self.test: WindowImages | None = None
        self.kind = ACTIVATIONS[architecture.activation]
        weight = problem.sample_weight
        self.kept = None if weight is None else weight > 0
        self.counts = class_counts(problem.train_labels, weight, networks)
        self.groups = [
            _make_group(part, problem, self.windows, architecture.width)
            for part in lane_groups(networks)
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
        return joined_measures(parts, self.counts, self.kept)

    def _prepare_test(self) -> None:
        images, labels = self.problem.test_images, self.problem.test_labels
        if self.test is None and images is not None and labels is not None:
            self.test = window_images(images, labels, self.windows)

    def _group_pass(
        self,
        group: ConvolutionGroup,
        parameters: list[torch.Tensor],
        gradients: list[torch.Tensor] | None,
        with_test: bool,
    ) -> tuple[np.ndarray, ...]:
        """All blocks of one lane group: class sums, loss, misclassified samples and test errors."""
        _load(group, parameters, self.windows)
        background = _background(group, self.images, self.windows, self.kind)
        sums, wrong = self._train_blocks(group, background, gradients is not None)
        if gradients is not None:
            _store(group, background, self.images, self.windows, gradients)
        total, dark_total, directed, loss = sums
        total += _by_lane(dark_total, total) * background.activation
        count = group.networks.stop - group.networks.start
        by_unit = total.reshape(2, 1, -1, LANES)
        return (
            np.moveaxis(by_unit, -1, 0)[:count],
            np.moveaxis(directed[:, None], -1, 0)[:count],
            loss[:count],
            wrong.T[:count],
            self._test_error(group, with_test)[:count],
        )

    def _train_blocks(
        self, group: ConvolutionGroup, background: Background, with_gradient: bool
    ) -> tuple[list[np.ndarray], np.ndarray]:
        tiles = len(self.tiles)
        shapes = ((2, *group.readout.shape), (2, tiles, LANES), (2, LANES), (LANES,))
        sums = [np.zeros(shape) for shape in shapes]
        labels, weight = self.images.labels, group.sample_weight
        wrong = np.empty((len(labels), LANES), np.bool_)
        for gradient in group.gradients:
            gradient[:] = 0
        for start in range(0, len(labels), BLOCK):
            part = slice(start, start + BLOCK)
            partial = tuple(np.zeros(shape, np.float32) for shape in shapes)
            kernels.train_block(
                self.images.rest[part],
                self.images.lit[part],
                labels[part],
                weight[part] if len(weight) > 1 else weight,
                self._network(group, background),
                self.tiles,
                self.windows.kernel,
                self.kind,
                partial,
                group.gradients,
                with_gradient,
                wrong[part],
                group.work,
            )
            # Block sums in float32, the sum over blocks in float64: 1e-7 accuracy of the radii.
            for total, found in zip(sums, partial, strict=True):
                total += found
        return sums, wrong

    def _network(self, group: ConvolutionGroup, background: Background) -> tuple[object, ...]:
        dark = (background.inputs, background.products, background.squares)
        return group.weights, dark, group.readout, group.readout_bias

    def _test_error(self, group: ConvolutionGroup, wanted: bool) -> np.ndarray:
        if self.test is None or not wanted:
            return np.full(LANES, np.nan)
        errors = np.zeros(LANES, np.int64)
        # The test set has its own offset, and so its own background.
        background = _background(group, self.test, self.windows, self.kind)
        kernels.count_errors(
            self.test.rest,
            self.test.lit,
            self.test.labels,
            self._network(group, background),
            self.tiles,
            self.windows.kernel,
            self.kind,
            errors,
            group.work,
        )
        return errors / len(self.test.labels)
