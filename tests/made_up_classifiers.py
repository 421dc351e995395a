"""Small runs of classifiers, trained for a few epochs on made-up data, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.classifiers.run import train_run
from pipeline.data.datasets import to_store_dataset
from pipeline.data.images import ImageDataset
from pipeline.data.points import PointDataset
from pipeline.models.layered import LayeredNetwork, chain
from pipeline.models.residual import residual_network
from pipeline.runs import RunGroups, load_runs
from pipeline.store.writer import write_dataset

torch.set_num_threads(1)  # threads cost more than they save in networks this small

CLASSES, TRAIN, TEST = 4, 60, 28  # of both data sets
FEATURES, SIDE = 10, 8
VARIABLES = ("kept_weights", "noisy_labels", "permuted")  # beside the curves
RECORDED = ("recorded_activations", "point_kind", "point_class", "point_sample")
RECORD = {"config": {}, "code": "test"}

FEED_FORWARD = {
    "builder": "pipeline.models.memorization:feed_forward",
    "options": {"depth": 2, "units": 16},
}
CONVOLUTION = {"builder": "made_up_classifiers:convolution", "options": {}}
RESIDUAL = {"builder": "made_up_classifiers:residual", "options": {}}

RUN: dict[str, Any] = {
    "paper": "memorization",
    "dataset": "made_up_points",
    "samples": TRAIN,
    "test_samples": None,
    "network": "made_up",
    "width": 1.0,
    "label_noise": 0.5,
    "optimizer": "adam_minibatch",
    "learning_rate": 5e-3,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch_size": 20,
    "epochs": 5,
    "stop_accuracy": None,
    "statistics_samples": 0,
    "seeds": 2,
    "stored_seeds": 2,
    "kept_weights": 5,
    "recorded_seeds": 0,
    "recorded_classes": 3,
    "recorded_points": 5,
    "recorded_layers": None,
    "precision": "float32",
    "compile": None,
}


def convolution(
    shape: tuple[int, ...], outputs: int, width: float = 1.0, dropout: float = 0.5
) -> LayeredNetwork:
    """conv1 and conv3 with batch normalisation, pool2, linear4 with dropout after it, linear5."""
    maps = max(1, round(6 * width))

    def layer(below: int) -> nn.Module:
        one = nn.Conv2d(below, maps, 3, padding=1, bias=False)
        return nn.Sequential(one, nn.BatchNorm2d(maps), nn.ReLU())

    units = maps * (shape[1] // 2) * (shape[2] // 2)
    return chain(
        [
            ("conv", layer(shape[0])),
            ("pool", nn.MaxPool2d(2)),
            ("conv", layer(maps)),
            ("", nn.Flatten()),
            ("linear", nn.Sequential(nn.Linear(units, 12), nn.ReLU())),
            ("", nn.Dropout(dropout)),
            ("linear", nn.Linear(12, outputs)),
        ]
    )


def residual(shape: tuple[int, ...], outputs: int, width: float = 1.0) -> LayeredNetwork:
    """A residual network of two stages: conv1 to conv9, pool10, linear11."""
    maps = max(1, round(4 * width))
    return residual_network(shape[0], [maps, 2 * maps], outputs, large=False)


def points_store(folder: Path) -> Path:
    """The store of vectors around the centres of ``CLASSES`` classes, as the workflow writes it."""
    random = np.random.default_rng(3)
    centres = 1.5 * random.normal(size=(CLASSES, FEATURES))

    def split(samples: int) -> tuple[np.ndarray, np.ndarray]:
        classes = np.arange(samples) % CLASSES
        values = centres[classes] + random.normal(size=(samples, FEATURES))
        return values.astype(np.float32), classes.astype(np.int64)

    return _stored(PointDataset("made_up_points", *split(TRAIN), *split(TEST)), folder)


def images_store(folder: Path) -> Path:
    """The store of colour images whose class is the place of a bright square."""
    random = np.random.default_rng(5)
    half = SIDE // 2

    def split(samples: int) -> tuple[np.ndarray, np.ndarray]:
        classes = np.arange(samples) % CLASSES
        pixels = random.integers(0, 120, size=(samples, SIDE, SIDE, 3))
        for image, label in zip(pixels, classes, strict=True):
            row, column = divmod(int(label), 2)
            image[half * row : half * (row + 1), half * column : half * (column + 1)] += 100
        return pixels.astype(np.uint8), classes.astype(np.int64)

    return _stored(ImageDataset("made_up_images", *split(TRAIN), *split(TEST)), folder)


def _stored(dataset: ImageDataset | PointDataset, folder: Path) -> Path:
    content = to_store_dataset(dataset)
    content.attrs.pop("origin")
    write_dataset(content, folder, RECORD)
    return folder


def made_up_classifiers(
    folder: Path,
    runs: Mapping[str, Mapping[str, Any]],
    entry: Mapping[str, Any] = FEED_FORWARD,
    variables: Iterable[str] = VARIABLES,
) -> RunGroups:
    """Train one run per group (half a second each) and open them as the workflow does.

    Arguments
    ---------
    folder: where stores go; runs that are trained in one folder share the data sets.
    runs: group, which is the run's name -> changes of ``RUN``; ``entry`` among them is the network's
        own. The data set follows from the network: vectors for ``FEED_FORWARD``, else images.
    variables: to be loaded beside the curves; ``RECORDED`` needs recorded_seeds above 0.
    """
    entries = []
    for name, changes in runs.items():
        own = dict(changes)
        network = dict(own.pop("entry", entry))
        kind = "points" if network["builder"] == FEED_FORWARD["builder"] else "images"
        run = RUN | {"name": name, "dataset": f"made_up_{kind}"} | own
        data = folder / f"data_{kind}"
        if not data.exists():
            (points_store if kind == "points" else images_store)(data)
        parameters = {
            "seed": 7,
            "run": run,
            "network": network,
            "optimizer": {"builder": "pipeline.classifiers.optimizers:adam", "options": {}},
            "compute": {"threads": 1, "device": "cpu", "compile": "auto", "precision": "float32"},
        }
        train_run(parameters, data, folder / name, folder / f"{name}_state", code="test")
        entries.append(
            {
                "group": name,
                "name": name,
                "config": run,
                "trajectories": str(folder / name),
                "inversion": None,
                "data": str(data),
            }
        )
    return load_runs(entries, variables)
