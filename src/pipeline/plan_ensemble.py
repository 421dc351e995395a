"""What training one ensemble costs, from measured rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pipeline.estimate import BASE_MEMORY_MB, BYTES, START_SECONDS, Estimate
from pipeline.training.schedule import checkpoint_epochs

# Measured on one thread of Intel Xeon (AVX-512, AMX) and AMD EPYC (Zen 4) cores, the slower counting, unless
# marked as assumed. Products of the first layer, counted as if dense, in flop/s per core: grey images such as
# MNIST are mostly background, which float32 skips (the sparse pass); colour images are dense.
FLOPS_PER_SECOND = {"float32": 190e9, "bf16": 150e9, "float64": 35e9}  # float64: assumed
DENSE_FLOPS_PER_SECOND = 65e9  # float32 on dense images
HIDDEN_FLOPS_PER_SECOND = 60e9  # products of the hidden layers
UNIT_SECONDS = 2e-10  # the nonlinearity of one unit on one sample and what else is done to it
UPDATE_SECONDS = 5e-5  # of one network's minibatch, beside its products
LOWER = "the run's stored_seeds or checkpoints, or compute.ensemble_size"


def estimate(run: dict[str, Any], config: dict[str, Any]) -> Estimate:
    """Time, memory and disk of training one resolved run.

    On disk the saved state holds the arrays a second time until the store is complete.
    """
    dataset = config["datasets"][run["dataset"]]
    features = int(np.prod(dataset["shape"][:2]))
    test = dataset["samples"]["test"]
    units, parameters = _network_size(run, dataset["shape"][:2])
    threads = config["compute"]["threads"]
    epoch = _epoch_seconds(run, dataset, units)
    seconds = START_SECONDS + run["seeds"] * run["epochs"] * epoch / threads
    size = min(run["seeds"], config["compute"]["ensemble_size"])
    checkpoints = len(checkpoint_epochs(run["checkpoints"], run["epochs"]))
    hidden = len(run["layers"]) * run["samples"] * units
    stored = run["stored_seeds"] * checkpoints * (hidden + run["samples"] + parameters) * BYTES
    stored += run["seeds"] * parameters * BYTES if run["final_weights"] else 0
    series = run["seeds"] * (run["epochs"] + 1) * (run["samples"] / 8 + 6 * 8)
    images = (run["samples"] + test) * features * BYTES
    # Of a convolution, a block of samples holds the inputs of all its units.
    block = size * units * 256 * BYTES if run["kernel"] is not None else 0
    memory = 6 * images + 4 * size * parameters * BYTES + 2 * stored + block
    memory += 3 * series * size / run["seeds"]
    needed = BASE_MEMORY_MB + int(memory / 1e6)
    return Estimate(seconds, needed, 2 * (stored + series) / 1e6, LOWER)


def _network_size(run: dict[str, Any], shape: list[int]) -> tuple[int, int]:
    """(units of the first layer, parameters of the network without biases)."""
    width, kernel = run["width"], run["kernel"]
    if kernel is not None:
        units = width * (shape[0] - kernel + 1) * (shape[1] - kernel + 1)
        return units, width * kernel**2 + 2 * units
    hidden = (run["depth"] - 2) * width**2
    return width, int(np.prod(shape)) * width + hidden + 2 * width


def _epoch_seconds(run: dict[str, Any], dataset: dict[str, Any], units: int) -> float:
    """Seconds of one core for one epoch of one network: the measures, and what trains it.

    Measuring is a forward pass over the training set, and over the test set where that is measured
    at every epoch; a full batch adds the gradient, as many products again on the training set.
    """
    dense = run["precision"] == "float32" and len(dataset["shape"]) == 3
    rate = DENSE_FLOPS_PER_SECOND if dense else FLOPS_PER_SECOND[run["precision"]]
    inputs = run["kernel"] ** 2 if run["kernel"] else int(np.prod(dataset["shape"][:2]))
    above = (run["depth"] - 2) * run["width"] ** 2
    each = 2 * inputs * units / rate + 2 * above / HIDDEN_FLOPS_PER_SECOND
    each += (units + (run["depth"] - 2) * run["width"]) * UNIT_SECONDS
    passes = run["samples"] + (dataset["samples"]["test"] if run["test_epochs"] == "all" else 0)
    if run["batch_size"] is None:
        return each * (passes + run["samples"])
    updates = run["updates_per_epoch"] or math.ceil(run["samples"] / run["batch_size"])
    return each * passes + updates * (UPDATE_SECONDS + 4 * each * run["batch_size"])
