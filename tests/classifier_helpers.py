"""A small data set of images in a store, and the parameters of a run on it, for tests of classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pipeline.data.datasets import to_store_dataset
from pipeline.data.images import ImageDataset
from pipeline.models.layered import LayeredNetwork, chain, scaled
from pipeline.store.writer import write_dataset

CLASSES, SIDE, TRAIN, TEST = 4, 32, 96, 40
RECORD = {"config": {}, "code": "test"}


def images(samples: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colour images whose class is the place of a bright square."""
    classes = np.arange(samples) % CLASSES
    pixels = random.integers(0, 90, size=(samples, SIDE, SIDE, 3))
    for image, label in zip(pixels, classes, strict=True):
        row, column = divmod(int(label), 2)
        image[16 * row : 16 * row + 12, 16 * column : 16 * column + 12] += 120
    return pixels.astype(np.uint8), classes.astype(np.int64)


def data_store(folder: Path) -> Path:
    """The store of a small colour data set in ``folder``, as the workflow writes it."""
    random = np.random.default_rng(5)
    dataset = ImageDataset("made_up", *images(TRAIN, random), *images(TEST, random))
    stored = to_store_dataset(dataset)
    stored.attrs.pop("origin")
    write_dataset(stored, folder, RECORD)
    return folder


def small(shape: Sequence[int], outputs: int, width: float = 1.0) -> LayeredNetwork:
    """One convolution with ReLU and a linear read-out."""
    channels = scaled(32, width)
    convolution = nn.Sequential(nn.Conv2d(shape[0], channels, 5, stride=4), nn.ReLU())
    read_out = nn.Linear(channels * ((SIDE - 5) // 4 + 1) ** 2, outputs)
    return chain([("conv", convolution), ("", nn.Flatten()), ("linear", read_out)])


def parameters(**changes: Any) -> dict[str, Any]:
    """The parameters of a run on ``data_store``, as ``config.run_parameters`` gives them."""
    run: dict[str, Any] = {
        "paper": "memorization",
        "name": "made_up",
        "dataset": "made_up",
        "samples": TRAIN,
        "test_samples": None,
        "network": "alexnet",
        "width": 0.05,
        "label_noise": 0.5,
        "optimizer": "adam_minibatch",
        "learning_rate": 2e-3,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_size": 32,
        "epochs": 6,
        "stop_accuracy": None,
        "statistics_samples": 0,
        "seeds": 2,
        "stored_seeds": 2,
        "kept_weights": 5,
        "recorded_seeds": 1,
        "recorded_classes": 3,
        "recorded_points": 4,
        "recorded_layers": None,
        "precision": "float32",
        "compile": None,
    }
    builder = changes.pop("builder", "pipeline.models.memorization:alexnet")
    return {
        "seed": 7,
        "run": run | changes,
        "network": {"builder": builder, "options": {}},
        "optimizer": {"builder": "pipeline.classifiers.optimizers:adam", "options": {}},
        "compute": {"threads": 1, "device": "cpu", "compile": "auto", "precision": "float32"},
    }
