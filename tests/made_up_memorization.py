"""Runs of classifiers and results of their analyses made by hand, not trained, for figures and claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.gradients import COLUMNS
from pipeline.classifiers.variables import SUBSETS
from pipeline.data.labels import MANIFOLD_KINDS
from pipeline.runs import Run, RunGroups, make_run

EPOCHS, BEST = 20, 8
MANIFOLDS, POINTS = 6, 10  # 2 / M = 0.2
LAYERS = ("conv1", "conv2", "pool3", "linear4", "linear5")
WEIGHT_LAYERS = ("conv1", "conv2", "linear4", "linear5")
VGG16 = tuple(
    f"{'pool' if number in (3, 6, 10, 14, 18) else 'conv' if number < 19 else 'linear'}{number}"
    for number in range(1, 22)
)
CONFIG: dict[str, Any] = {
    "paper": "memorization",
    "dataset": "cifar100",
    "samples": 500,
    "test_samples": None,
    "network": "vgg16",
    "width": 1.0,
    "label_noise": 0.5,
    "batch_size": 1024,
    "epochs": 1000,
    "stop_accuracy": 0.99,
    "statistics_samples": 0,
    "precision": "float32",
}
REASON = "Tiny ImageNet could not be had: no connection"


def run_of(name: str = "vgg16", seeds: int = 3, failed: Sequence[int] = (), **changes: Any) -> Run:
    """A run whose seeds end one epoch after another and whose restored accuracy peaks at ``BEST``."""
    last = EPOCHS - np.arange(seeds) % 3
    epochs = np.arange(EPOCHS + 1)
    noise = float((CONFIG | changes)["label_noise"])
    accuracy = np.full((seeds, EPOCHS + 1, len(SUBSETS)), np.nan)
    for seed in range(seeds):
        shift = 0.01 * seed
        learnt = 1 - np.exp(-epochs / 3)
        memorised = 1 / (1 + np.exp(-(epochs - 13) / 1.5))
        curves = {
            "unpermuted": learnt - shift,
            "permuted": memorised,
            "restored": 0.8 * learnt * (1 - memorised) - shift,
            "test": 0.6 * learnt - 0.2 * memorised - shift,
        }
        curves["train"] = (1 - noise) * curves["unpermuted"] + noise * curves["permuted"]
        empty = {0.0: ("permuted", "restored"), 1.0: ("unpermuted",)}.get(noise, ())
        for place, subset in enumerate(SUBSETS):
            if subset not in empty:
                accuracy[seed, : last[seed] + 1, place] = curves[subset][: last[seed] + 1]
    failed_epoch = np.full(seeds, -1)
    failed_epoch[list(failed)] = 3
    best = np.nanargmax(accuracy[..., SUBSETS.index("test")], axis=1)
    variables = {
        "accuracy": (("seed", "epoch", "subset"), accuracy),
        "loss": (("seed", "epoch"), 1 - accuracy[..., 0]),
        "failed_epoch": ("seed", failed_epoch),
        "last_epoch": ("seed", last),
        "best_epoch": ("seed", best),
    }
    coords = {"seed": np.arange(seeds), "epoch": epochs}
    trajectories = xr.Dataset(variables, coords=coords, attrs={"subsets": list(SUBSETS)})
    return make_run(name, CONFIG | {"name": name} | changes, trajectories, None)


def capacities(
    runs: Sequence[Run],
    names: Sequence[str] = LAYERS,
    moments: Sequence[str] = ("best", "final"),
    kinds: Sequence[str] = MANIFOLD_KINDS,
) -> xr.Dataset:
    """What ``layer_capacity`` gives: every number is known from ``capacity_of``; kinds are empty
    where the run's share of random labels leaves none.
    """
    seeds = max(run.seeds for run in runs)
    shape = (len(runs), seeds, len(moments), len(names), len(kinds))
    cell = ("run", "seed", "checkpoint", "layer", "kind")
    capacity = np.full(shape, np.nan)
    epochs = np.full(shape[:3], -1)
    for index in np.ndindex(shape):
        run, seed, moment, layer, kind = index
        noise = runs[run].config["label_noise"]
        gone = {"unpermuted": noise == 1, "permuted": noise == 0, "restored": noise == 0}
        if seed < runs[run].seeds:
            place = BEST if moments[moment] == "best" else EPOCHS
            epochs[index[:3]] = place if moments[moment] != "kept" else 5 * moment
            if not gone.get(kinds[kind], False):
                depth = layer / max(1, len(names) - 1)
                capacity[index] = capacity_of(kinds[kind], moments[moment], depth, seed)
    there = np.isfinite(capacity)
    each = np.broadcast_to(capacity[..., None], (*shape, MANIFOLDS))
    variables = {
        "mean_capacity": (cell, capacity),
        "capacity": ((*cell, "manifold"), each),
        "radius": ((*cell, "manifold"), 2.0 - each),
        "dimension": ((*cell, "manifold"), 2 / each),
        "center_correlation": (cell, 0.1 + capacity / 10),
        "manifold_points": (cell, np.where(there, POINTS, 0)),
        "defined": (cell, there),
        "measured_epoch": (cell[:3], epochs),
        "parameters": ("run", 1000 * 4 ** np.arange(len(runs))),
    }
    coords = {
        "seed": np.arange(seeds),
        "layer": np.arange(1, len(names) + 1),
        "kind": np.arange(len(kinds)),
        "manifold": np.arange(MANIFOLDS),
    }
    attrs: dict[str, Any] = {"runs": [run.name for run in runs], "kinds": list(kinds)}
    attrs |= {"moments": list(moments), "layer_names": list(names)}
    attrs |= {"run_layer_names": [list(names) for _ in runs]}
    attrs["undefined"] = [f"cell {number}" for number in range(int(np.sum(~there)))]
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def capacity_of(kind: str, moment: str, depth: float, seed: int) -> float:
    """Capacity at a share ``depth`` of the layers: permuted stay at 2/M but for the last layers at the
    final epoch, restored fall there; a seed is 1 % above the one before.
    """
    late = depth * (moment == "final") * (depth > 0.5)
    value = {
        "unpermuted": 0.2 + 0.5 * depth,
        "permuted": 0.2 + 0.3 * late,
        "restored": 0.2 + 0.4 * depth - 0.3 * late,
        "test": 0.21 + 0.42 * depth,
    }[kind]
    return value * (1 + 0.01 * seed)


def kept_epochs(run: Run) -> np.ndarray:
    """(1, seed, kept) epochs 0, 2, 4, BEST, ..., last of each seed; the last seed has fewer."""
    shape = (1, run.seeds, 7)
    found = np.full(shape, -1)
    for seed, last in enumerate(run.trajectories["last_epoch"].values.tolist()):
        epochs = [0, 2, 4, BEST, 12, 15, last]
        if seed == run.seeds - 1 and seed:
            epochs = [0, 2, BEST, 15, last]
        found[0, seed, : len(epochs)] = epochs
    return found


def rewound(run: Run, names: Sequence[str] = WEIGHT_LAYERS) -> xr.Dataset:
    """What ``rewinding`` gives: the last hidden layers restore the test accuracy, the others do not."""
    epochs = kept_epochs(run)
    accuracy = np.full((*epochs.shape, len(names), 2), np.nan)
    for _, seed, kept in np.argwhere(epochs >= 0):
        share = epochs[0, seed, kept] / epochs[0, seed].max()
        for layer in range(len(names)):
            depth = layer / (len(names) - 1)
            accuracy[0, seed, kept, layer, 0] = 1 - (1 - share) * (1 - 0.8 * depth) - 0.01 * seed
            accuracy[0, seed, kept, layer, 1] = 0.4 + 0.1 * depth * (1 - share) - 0.01 * seed
    variables = {
        "rewound_accuracy": (("run", "seed", "kept", "weight_layer", "split"), accuracy),
        "rewound_epoch": (("run", "seed", "kept"), epochs),
    }
    attrs = {"runs": [run.name], "weight_layers": list(names), "splits": ["train", "test"]}
    coords = {"seed": run.trajectories["seed"].values}
    options = {"batch_norm": "with", "precision": None}
    return xr.Dataset(variables, coords=coords, attrs=attrs | {"options": options})


# log10 of the norm of each part at the first epoch, and how much it falls until the last
PARTS = {
    "total": (0.3, 1.0),
    "dep": (0.4, 1.5),
    "ind": (0.1, 0.5),
    "unpermuted": (0.2, 2.0),
    "permuted": (-0.1, 0.5),
    "dep_unpermuted": (0.5, 2.0),
    "ind_unpermuted": (0.0, 0.5),
    "dep_permuted": (-0.5, 0.2),
    "ind_permuted": (0.02, 0.5),
}


def gradient_norms(run: Run, names: Sequence[str] = WEIGHT_LAYERS) -> xr.Dataset:
    """What ``gradients`` gives: the logarithms of the norms fall linearly with the epoch, see
    ``PARTS``; parts of empty subsets are 0.
    """
    epochs = kept_epochs(run)
    norms = np.full((*epochs.shape, len(names), len(COLUMNS)), np.nan)
    noise = run.config["label_noise"]
    for _, seed, kept in np.argwhere(epochs >= 0):
        epoch = epochs[0, seed, kept]
        for column, part in enumerate(COLUMNS):
            start, fall = PARTS[part]
            empty = (noise == 0 and part.endswith("_permuted")) or (
                noise == 0 and part == "permuted"
            )
            values = 10 ** (
                start - fall * epoch / EPOCHS - 0.1 * np.arange(len(names)) + 0.01 * seed
            )
            norms[0, seed, kept, :, column] = 0 if empty else values
    variables = {
        "gradient_norm": (("run", "seed", "kept", "weight_layer", "part"), norms),
        "gradient_epoch": (("run", "seed", "kept"), epochs),
    }
    attrs: dict[str, Any] = {"runs": [run.name], "weight_layers": list(names)}
    attrs |= {"parts": list(COLUMNS), "options": {"batch_norm": "train", "mean": "whole"}}
    return xr.Dataset(variables, coords={"seed": run.trajectories["seed"].values}, attrs=attrs)


def embedded(layers: Sequence[str] = ("linear4", "conv2"), points: int = 8) -> xr.Dataset:
    """What ``umap_features`` gives: one cloud per class, more apart at each moment; point 0 of the
    last class of each kind is missing.
    """
    random, classes = np.random.default_rng(0), 5
    kind, owner, _ = (one.ravel() for one in np.indices((4, classes, points)))
    angle = 2 * np.pi * owner / classes
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    apart = np.array([0.5, 4.0, 8.0])[:, None, None, None]
    values = apart * places + random.normal(size=(3, len(layers), kind.size, 2))
    values[:, :, (owner == classes - 1) & (np.arange(kind.size) % points == 0)] = np.nan
    variables = {
        "umap": (
            ("run", "recorded_seed", "moment", "layer", "point", "component"),
            values[None, None],
        ),
        "umap_kind": (("run", "recorded_seed", "point"), kind[None, None]),
        "umap_class": (("run", "recorded_seed", "point"), owner[None, None]),
        "umap_epoch": (("run", "recorded_seed", "moment"), np.array([[[0, BEST, EPOCHS]]])),
    }
    attrs: dict[str, Any] = {"runs": ["vgg16"], "kinds": list(MANIFOLD_KINDS)}
    attrs |= {"moments": ["init", "best", "final"], "layer_names": list(layers)}
    return xr.Dataset(variables, coords={"recorded_seed": [0]}, attrs=attrs)


def examples(gray: bool = False) -> xr.Dataset:
    """What ``label_examples`` gives: one of four permuted images has its true label by chance."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, size=(3, 4, 16, 16, 3)).astype(np.uint8)
    images[2] = images[1]
    classes = np.array([[0, 3, 9, 1], [8, 1, 4, 6], [8, 1, 4, 6]])
    labels = np.array([[0, 3, 9, 1], [2, 7, 4, 0], [8, 1, 4, 6]])
    dims = ("kind", "example", "row", "column", "channel")
    return xr.Dataset(
        {
            "example_images": (dims[:4], images[..., 0]) if gray else (dims, images),
            "example_label": (dims[:2], labels),
            "example_class": (dims[:2], classes),
        },
        attrs={
            "kinds": ["unpermuted", "permuted", "restored"],
            "dataset": "mnist" if gray else "cifar10",
            "run": "vgg16",
        },
    )


def sphere_points() -> xr.Dataset:
    """What ``sphere_pairs`` gives."""
    random = np.random.default_rng(1)
    angle = random.uniform(0, 2 * np.pi, size=(2, 40))
    circle = 0.9 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    circle[..., 0] += np.array([1, -1])[:, None]
    classes = np.repeat([0, 1], 40)
    variables = {
        "pair_points": (("pair_point", "axis"), circle.reshape(-1, 2)),
        "pair_class": ("pair_point", classes),
    }
    return xr.Dataset(variables)


def unavailable() -> xr.Dataset:
    """What the workflow writes for an analysis none of whose runs could be had."""
    return xr.Dataset(attrs={"unavailable": REASON})


def given(runs: Sequence[Run], **analyses: xr.Dataset) -> RunGroups:
    """A group per run, and analyses by name."""
    return RunGroups({run.name: [run] for run in runs}, analyses)
