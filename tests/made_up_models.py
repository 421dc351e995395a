"""Made-up runs whose predictions are recorded, as analyses of prediction space are given them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from made_up_predictions import RECORD, softmax
from numpy.typing import NDArray

from pipeline.predictors.variables import SPLITS
from pipeline.runs import RunGroups, load_runs
from pipeline.store.writer import StoreWriter

CLASSES, SAMPLES = 5, {"train": 40, "test": 30}
UPDATES = (0, 2, 4, 8, 12, 16, 20)  # at which models are recorded; 4 of an epoch
CONFIG = {
    "dataset": "made_up",
    "samples": SAMPLES["train"],
    "network": "fc",
    "width": 1.0,
    "optimizer": "sgd_minibatch",
    "batch_size": 10,
    "weight_decay": 0.0,
    "augmentation": "none",
    "learning_rate": 0.1,
    "epochs": 5,
    "corner": None,
    "labelling": None,
    "start_from": None,
    "statistics": "initial",
    "precision": "float32",
    "seeds": 2,
}


def labels_of(split: str) -> NDArray[np.int64]:
    """The true classes of all made-up runs."""
    return np.random.default_rng(SPLITS.index(split)).integers(0, CLASSES, SAMPLES[split])


def write_run(
    folder: Path,
    number: int = 0,
    *,
    seeds: int = 2,
    failed: tuple[int, ...] = (),
    reach: float = 6.0,
) -> Path:
    """The store of one run: networks on their way from near ignorance to the labels, nearly.

    Arguments
    ---------
    number: of the run, which draws its own way; reach: the logit of the true class at the end.
    """
    writer = StoreWriter(folder)
    healthy = [seed for seed in range(seeds) if seed not in failed]
    models = [(seed, update) for seed in healthy for update in UPDATES]
    columns: dict[str, NDArray[Any]] = {
        "seed": np.arange(seeds),
        "failed_update": np.array([3 if seed in failed else -1 for seed in range(seeds)]),
    }
    for split in SPLITS:
        y = labels_of(split)
        columns[f"{split}_labels"] = y
        way = np.random.default_rng((number, SPLITS.index(split)))
        aim = np.eye(CLASSES)[y] + 0.15 * way.standard_normal((y.size, CLASSES))
        found = []
        for seed, update in models:
            noise = np.random.default_rng((number, seed, update, SPLITS.index(split)))
            own = np.random.default_rng((number, seed, 99)).standard_normal((y.size, CLASSES))
            steps = reach * (update / UPDATES[-1]) ** 0.7
            logits = steps * (aim + 0.05 * own) + 0.05 * noise.standard_normal((y.size, CLASSES))
            found.append(softmax(logits))
        p = np.array(found).reshape(len(models), y.size, CLASSES)
        told = np.log(p[:, np.arange(y.size), y])
        columns[f"{split}_root_probabilities"] = np.sqrt(p).astype(np.float32)
        columns[f"{split}_log_likelihood"] = told.astype(np.float32)
    if models:
        told = np.array(models)
        columns |= {
            "model_seed": told[:, 0],
            "model_update": told[:, 1],
            "model_epoch": told[:, 1] / 4,
        }
    for name, values in columns.items():
        writer.create(name, values.shape, dtype=values.dtype)
        writer.write(name, values)
    writer.close(RECORD)
    return folder


def made_up_runs(
    folder: Path, groups: dict[str, list[dict[str, Any]]], folders: dict[str, Path] | None = None
) -> RunGroups:
    """Runs by group, each from the changes of its settings (``failed`` and ``reach`` go to ``write_run``)."""
    entries, number = [], 0
    for group, runs in groups.items():
        for changes in runs:
            config = {**CONFIG, **changes, "name": f"{group}_{number}", "group": group}
            made = {key: config.pop(key) for key in ("failed", "reach") if key in config}
            place = folder / config["name"]
            if not place.exists():
                write_run(place, number, seeds=config["seeds"], **made)
            entries.append(
                {
                    "group": group,
                    "name": config["name"],
                    "config": config,
                    "trajectories": str(place),
                    "inversion": None,
                }
            )
            number += 1
    places = {name: str(place) for name, place in (folders or {}).items()}
    return load_runs(entries, folders=places)
