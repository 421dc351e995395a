"""What training one run of classifiers costs, from measured rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pipeline.estimate import BASE_MEMORY_MB, BYTES, START_SECONDS, Estimate

# Measured on one thread of an Intel Xeon core (AVX-512, AMX), batches of 128 to 1024.
MATRIX_FLOPS = {"float32": 1.2e11, "bf16": 6e11, "float64": 5e10, "tf32": 1.2e11}
CONVOLUTION_FLOPS = {"float32": 1.2e11, "bf16": 3e11, "float64": 5e10, "tf32": 1.2e11}
UNIT_SECONDS = 3e-9  # normalisation, nonlinearity and memory of one unit on one sample, one pass
STOPPED_SHARE = 0.5  # of the epochs, where training stops early; 0.05 to 0.7 were found
BACKWARD = 3  # a training step costs as much as this many forward passes
STATES = 6  # copies of the weights in memory: gradients, two moments, best set, packing
EVALUATED = 1000  # samples of which the outputs of a few layers are held while evaluating
LOWER = "the run's kept_weights, recorded_points or batch_size, or its network's width"


class Size(NamedTuple):
    """What one network does with one sample, and what it holds."""

    products: float  # multiplications in one forward pass
    units: float  # outputs of all layers
    parameters: float


class Block(NamedTuple):
    """A convolution: kernel side, maps, positions of its output."""

    kernel: int
    maps: float
    positions: int


def estimate(run: dict[str, Any], config: dict[str, Any]) -> Estimate:
    """Time, memory and disk of training one resolved run, one seed after another.

    After each epoch the training and test samples are evaluated. On disk the kept weight sets are
    there a second time until the store is complete.
    """
    dataset = config["datasets"][run["dataset"]]
    test = run["test_samples"] or dataset["samples"]["test"]
    shape, classes = dataset["shape"], dataset.get("classes", 10)
    builder = config["networks"][run["network"]]["builder"].rpartition(":")[2]
    size = SIZES.get(builder, unknown)(shape, classes, run["width"])
    rates = MATRIX_FLOPS if len(shape) == 1 else CONVOLUTION_FLOPS
    passes = BACKWARD * run["samples"] + run["samples"] + test
    passes += min(run["statistics_samples"], run["samples"])
    each = 2 * size.products / rates[run["precision"]] + size.units * UNIT_SECONDS
    epochs = run["epochs"] * (STOPPED_SHARE if run["stop_accuracy"] else 1.0)
    seconds = START_SECONDS
    seconds += run["seeds"] * epochs * passes * each / config["compute"]["threads"]
    kept = run["stored_seeds"] * run["kept_weights"] * size.parameters
    points = 4 * run["recorded_classes"] * run["recorded_points"]
    recorded = run["recorded_seeds"] * 3 * points * size.units
    inputs = (run["samples"] + test) * float(np.prod(shape))
    batch = 3 * run["batch_size"] * size.units + EVALUATED * size.units / 2
    recorded_layer = points * size.units / 2 if run["recorded_seeds"] else 0.0
    memory = 3 * inputs + STATES * size.parameters + max(batch, recorded_layer)
    disk = (2 * kept + recorded) * BYTES + run["seeds"] * run["samples"] * 9
    memory_mb = BASE_MEMORY_MB + int(memory * BYTES / 1e6)
    return Estimate(seconds, memory_mb, disk / 1e6, LOWER)


def feed_forward(shape: list[int], classes: int, width: float) -> Size:
    """Size of ``models.memorization.feed_forward``."""
    sides = [shape[0], *[1024 * width] * 5, classes]
    products = sum(below * above for below, above in itertools.pairwise(sides))
    return Size(products, sum(sides[1:]), products)


def convolutions(
    blocks: list[Block], channels: int, hidden: list[float], classes: int, width: float
) -> Size:
    """Size of convolutions one after another and linear layers above them."""
    products = parameters = units = 0.0
    below = float(channels)
    for kernel, maps, positions in blocks:
        weights = kernel**2 * below * maps * width
        below = maps * width
        parameters += weights
        products += weights * positions
        units += below * positions
    for above in [*(one * width for one in hidden), float(classes)]:
        products += below * above
        parameters += below * above
        below = above
    return Size(products, units, parameters)


def alexnet(shape: list[int], classes: int, width: float) -> Size:
    """Size of ``models.memorization.alexnet``."""
    rows = [(11, 64, 64), (5, 192, 16), (3, 384, 4), (3, 256, 4), (3, 1024, 4)]
    return convolutions([Block(*row) for row in rows], _channels(shape), [], classes, width)


def vgg16(shape: list[int], classes: int, width: float) -> Size:
    """Size of ``models.memorization.vgg16``."""
    stages = [(64, 1024, 2), (128, 256, 2), (256, 64, 3), (512, 16, 3), (512, 4, 3)]
    blocks = [Block(3, maps, positions) for maps, positions, count in stages for _ in range(count)]
    return convolutions(blocks, _channels(shape), [4096, 4096], classes, width)


def resnet18(shape: list[int], classes: int, width: float) -> Size:
    """Size of ``models.memorization.resnet18``; shortcuts are left out."""
    stages = [(64, 1024, 5), (128, 256, 4), (256, 64, 4), (512, 16, 4)]
    if shape[0] == 64:  # the large stem, and a pooling layer
        stages = [(64, 1024, 1), (64, 256, 4), (128, 64, 4), (256, 16, 4), (512, 4, 4)]
    blocks = [Block(3, maps, positions) for maps, positions, count in stages for _ in range(count)]
    return convolutions(blocks, _channels(shape), [], classes, width)


def unknown(shape: list[int], classes: int, width: float) -> Size:
    """A guess at a network that is not listed: half of ResNet-18."""
    found = resnet18(shape, classes, width)
    return Size(*(value / 2 for value in found))


def _channels(shape: list[int]) -> int:
    return shape[2] if len(shape) == 3 else 1


SIZES: dict[str, Callable[[list[int], int, float], Size]] = {
    "feed_forward": feed_forward,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "resnet18": resnet18,
}
