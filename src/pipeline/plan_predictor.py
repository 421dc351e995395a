"""What training one run of predictors costs, from measured rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.estimate import BASE_MEMORY_MB, BYTES, START_SECONDS, Estimate
from pipeline.predictors.schedules import SPACED, record_updates

# Measured on one thread of an Intel Xeon core (AVX-512, AMX), batches of 200.
FLOPS = {"float32": 1.2e11, "bf16": 1.0e12, "float64": 5e10, "tf32": 1.2e11}
UNIT_SECONDS = 1.5e-9  # normalisation, nonlinearity and memory of one unit on one sample, one pass
UPDATE_SECONDS = 5e-4  # of an update, whatever its size
BACKWARD = 3  # a training step costs as much as this many forward passes
MODELS, JOINED_BYTES = 256, 1e9  # that are joined at a time
STATES = 4  # copies of the weights in memory
EVALUATED = 200  # samples whose activations are held at once, on a CPU (``samples.CPU_BATCH``)
LOWER = "the run's samples, batch_size or seeds, or its network's width"


class Size(NamedTuple):
    """What one network does with one sample, and what it holds."""

    products: float  # multiplications in one forward pass
    units: float  # outputs of all layers
    parameters: float


Shape = list[int]


def estimate(run: dict[str, Any], config: dict[str, Any]) -> Estimate:
    """Time, memory and disk of training one resolved run, one seed after another.

    At each record all training and test samples are evaluated. On disk the records are there a second
    time until the store is complete.
    """
    dataset = config["datasets"][run["dataset"]]
    test = run["test_samples"] or dataset["samples"]["test"]
    shape, classes = dataset["shape"], dataset.get("classes", 10)
    entry = config["networks"][run["network"]]
    options = {**entry.get("options", {}), **run["network_options"]}
    builder = entry["builder"].rpartition(":")[2]
    size = SIZES.get(builder, _unknown)(shape, classes, run["width"], options)
    updates = -(-run["samples"] // run["batch_size"])
    records = SPACED if run["records"] == "spaced" else len(record_updates(run["epochs"], updates))
    records = 1 + -(-(records - 1) // run["record_every"])
    recorded = (run["record_samples"] or run["samples"]) + test
    passes = BACKWARD * run["samples"] * run["epochs"] + recorded * records
    each = 2 * size.products / FLOPS[run["precision"]] + size.units * UNIT_SECONDS
    seconds = START_SECONDS + run["seeds"] * (
        passes * each / config["compute"]["threads"] + run["epochs"] * updates * UPDATE_SECONDS
    )
    predictions = run["seeds"] * records * recorded * (classes + 1)
    weights = run["seeds"] * size.parameters if run["final_weights"] else 0
    copies = 2 if run["augmentation"] == "crop_flip" else 1
    inputs = (run["samples"] * copies + test) * np.prod(shape)
    batch = 3 * run["batch_size"] * size.units + EVALUATED * size.units / 2
    model = recorded * (classes + 1)  # models are joined for the store
    if run["augmentation"] == "random_crop":  # files, for which a GPU has the activations
        inputs, batch = 4 * run["batch_size"] * np.prod(shape), 0.0
    written = 2 * max(model, min(MODELS * model, JOINED_BYTES / BYTES))
    memory = 3 * float(inputs) + STATES * size.parameters + max(batch, written)
    memory_mb = BASE_MEMORY_MB + int(memory * BYTES / 1e6)
    return Estimate(float(seconds), memory_mb, (2 * predictions + weights) * BYTES / 1e6, LOWER)


def _dense(sides: list[float]) -> Size:
    products = sum(below * above for below, above in itertools.pairwise(sides))
    return Size(products, sum(sides[1:]), products)


def _fc(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    hidden = [one * width for one in options.get("hidden", (1024, 512, 256, 128))]
    return _dense([float(np.prod(shape)), *hidden, classes])


def _student(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    hidden = [options.get("units", 512) * width] * options.get("depth", 1)
    return _dense([float(np.prod(shape)), *hidden, classes])


def _layers(rows: list[tuple[float, float, float, float]]) -> Size:
    """Size of convolutions (kernel side, maps below, maps, positions of the output)."""
    weights = [kernel**2 * below * maps for kernel, below, maps, _ in rows]
    products = sum(one * row[3] for one, row in zip(weights, rows, strict=True))
    return Size(products, sum(maps * positions for _, _, maps, positions in rows), sum(weights))


def _all_cnn(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    side, (a, b) = float(np.prod(shape[:2])), (96 * width, 144 * width)
    rows = [(3, _maps(shape), a, side), (3, a, a, side / 4), (3, a, b, side / 4)]
    return _layers([*rows, (3, b, b, side / 16), (1, b, float(classes), side / 16)])


def _wide_resnet(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    base = options.get("base", 8) * width
    blocks = (options.get("depth", 10) - 4) // 6
    below, side = base, float(np.prod(shape[:2]))
    rows: list[tuple[float, float, float, float]] = [(3, _maps(shape), base, side)]
    for stage in range(3):
        maps = base * options.get("widening", 4) * 2**stage
        for block in range(blocks):
            after = (
                side / 4 if stage and not block else side
            )  # the second convolution has the stride
            rows += [(3, below, maps, side), (3, maps, maps, after), (1, below, maps, after)]
            below, side = maps, after
    return _layers(rows)


def _conv_mixer(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    maps, patch = options.get("dim", 256) * width, options.get("patch", 2)
    side = float(np.prod(shape[:2])) / patch**2
    kernel, depth = options.get("kernel", 5), options.get("depth", 8)
    # a depthwise convolution is 5 times slower than its products
    rows: list[tuple[float, float, float, float]] = [(patch, _maps(shape), maps, side)]
    rows += [(kernel, 5.0, maps, side), (1, maps, maps, side)] * depth
    return _layers(rows)


def _vit(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    patch, dim = options.get("patch", 4), options.get("dim", 512) * width
    inner = options.get("heads", 8) * options.get("head_dim", 64) * width
    hidden, depth = options.get("mlp", 512) * width, options.get("depth", 6)
    tokens = float(np.prod(shape[:2])) / patch**2 + 1
    weights = depth * (4 * dim * inner + 2 * dim * hidden) + _maps(shape) * patch**2 * dim
    products = tokens * weights + depth * 2 * tokens**2 * inner
    units = tokens * depth * (4 * inner + 3 * dim + hidden)
    return Size(products, units, weights)


def _blur_resnet18(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    scale = np.prod(shape[:2]) / 224**2
    return Size(2.4e9 * width**2 * scale, 5.5e6 * width * scale, 11.7e6 * width**2)


def _blur_resnet50(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    scale = np.prod(shape[:2]) / 224**2
    return Size(5e9 * width**2 * scale, 2.5e7 * width * scale, 25.6e6 * width**2)


def _vit_small(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    sizes = {"patch": 16, "dim": 384, "depth": 12, "heads": 6, "head_dim": 64, "mlp": 1536}
    return _vit(shape, classes, width, {**sizes, **options})


def _unknown(shape: Shape, classes: int, width: float, options: Mapping[str, Any]) -> Size:
    """A guess at a network that is not listed: a wide residual one."""
    if len(shape) == 1:
        return _student(shape, classes, width, {})
    return _wide_resnet(shape, classes, width, {})


def _maps(shape: Shape) -> float:
    return float(shape[2]) if len(shape) == 3 else 1.0


SIZES: dict[str, Callable[[Shape, int, float, Mapping[str, Any]], Size]] = {
    "fc": _fc,
    "student": _student,
    "all_cnn": _all_cnn,
    "wide_resnet": _wide_resnet,
    "conv_mixer": _conv_mixer,
    "vit": _vit,
    "imagenet_resnet18": _blur_resnet18,
    "imagenet_resnet50": _blur_resnet50,
    "vit_small": _vit_small,
}
