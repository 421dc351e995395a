"""Small training jobs outside of Snakemake: data, configuration and stores in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from helpers_workflow import ROOT

from pipeline.analysis.inversion import find_inversions, group_inversions
from pipeline.config import load_config
from pipeline.data.datasets import prepare
from pipeline.data.status import SUBSTITUTED, UNAVAILABLE
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset
from pipeline.training.run import train_run

SAMPLES, EPOCHS, SEEDS = 128, 24, 3
REASON = "KMNIST was not found in any source."
MADE: dict[str, Any] = {"config": {}, "seeds": {}}


def small_config() -> dict[str, Any]:
    """The smoke scale with a small run ``main`` in float64 and runs pruned by it."""
    pruned = {"seeds": SEEDS, "epochs": EPOCHS, "test_epochs": "all", "stored_seeds": 2}
    runs = {
        "main": {
            "samples": SAMPLES,
            "epochs": EPOCHS,
            "seeds": SEEDS,
            "precision": "float64",
            "learning_rate": 0.06,
            "checkpoints": {"count": 4},
        },
        "pruned": {**pruned, "grid": {"prune_epoch": ["inversion", "inversion_distance", 3]}},
        "pruned_random": {**pruned, "prune_epoch": 3},
        "sweep": {**pruned, "grid": {"prune_error": [0.2, 0.3]}},
        "sweep_random": {**pruned, "grid": {"prune_error": [0.2, 0.3]}},
        "cnn_4_pruned_fc": {"samples": SAMPLES},
        "cnn_24_pruned_fc": {"samples": SAMPLES},
    }
    small = {"train": 1024, "test": 64}
    options = {f"{split}_samples": count for split, count in small.items()}
    data = {"generated": {"options": options, "samples": small}}
    return load_config(ROOT, {"scale": "smoke", "datasets": data, "stragglers": {"runs": runs}})


def write_data(folder: Path, config: dict[str, Any]) -> Path:
    """The store of the generated data set."""
    dataset = prepare(config["datasets"]["generated"], folder)
    dataset.attrs.pop("origin")
    write_dataset(dataset, folder, MADE)
    return folder


def write_unavailable(folder: Path) -> Path:
    """A data store that holds nothing but the reason."""
    counts = {"train_samples": 0, "test_samples": 0}
    attrs = {"name": "kmnist", "status": UNAVAILABLE, "reason": REASON, **counts}
    write_dataset(xr.Dataset(attrs=attrs), folder, MADE)
    return folder


def write_substituted(folder: Path, whole: Path, samples: int) -> Path:
    """The data store ``whole`` with its first ``samples`` training images, as a substitute."""
    data = open_store(whole, lazy=False)
    test = int(data["split"].values.sum())
    kept = np.r_[:samples, data.sizes["sample"] - test : data.sizes["sample"]]
    less = data.drop_vars("sample", errors="ignore").isel(sample=kept)
    counts = {"train_samples": samples, "test_samples": test}
    attrs = {"status": SUBSTITUTED, "substitution": "others stand in for KMNIST.", **counts}
    write_dataset(less.assign_attrs(data.attrs | attrs), folder, MADE)
    return folder


def train(parameters: dict[str, Any], data: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """One training job into ``folder``; returns its manifest."""
    return train_run(parameters, data, folder, folder / "state", code="c", **more)


def write_inversions(folder: Path, runs: dict[str, Path]) -> Path:
    """The store of the inversion points of a group of runs."""
    found = {name: find_inversions(open_store(path, lazy=False)) for name, path in runs.items()}
    write_dataset(group_inversions(found), folder, MADE)
    return folder
