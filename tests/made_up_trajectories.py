"""Made-up runs with the results of the analyses of trajectories, for figures and claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from made_up_models import made_up_runs
from made_up_predictions import RECORD

from pipeline.analysis.centroids import centroids
from pipeline.analysis.distances import distances
from pipeline.analysis.importance import importance
from pipeline.analysis.models import models
from pipeline.analysis.starts import starts
from pipeline.analysis.trajectories import trajectories
from pipeline.runs import Place, RunGroups
from pipeline.store.reader import open_store
from pipeline.store.variables import validate
from pipeline.store.writer import write_dataset

PLACE = Place(Path("nowhere"), Path("nowhere"), RECORD, 1)
GRID: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"network": network, "optimizer": optimizer, "augmentation": augmentation}
        for network, optimizer, augmentation in (
            ("fc", "sgd_minibatch", "none"),
            ("fc", "nesterov", "none"),
            ("fc", "nesterov", "crop_flip"),
            ("all_cnn", "nesterov", "none"),
            ("conv_mixer", "nesterov", "none"),
        )
    ],
    "adam": [
        {"network": "fc", "optimizer": "adam_minibatch"},
        {"network": "vit", "optimizer": "adam_minibatch", "failed": (0,)},
        {"network": "vit", "optimizer": "adam_minibatch", "reach": 0.01},  # does not train
    ],
}
STARTS: dict[str, list[dict[str, Any]]] = {
    "ensemble": [{"seeds": 3}],
    "first_labels": [{"labelling": 0, "seeds": 1}, {"labelling": 1, "seeds": 1}],
    "then_true": [
        {"start_from": "first_labels_1", "seeds": 2},
        {"start_from": "first_labels_2", "seeds": 2, "reach": 1.0},
    ],
}


def given(runs: RunGroups, folder: Path, **results: xr.Dataset) -> RunGroups:
    """Runs with results in stores."""
    found = RunGroups(runs)
    for name, result in results.items():
        validate(result)
        write_dataset(result, folder / name, RECORD)
        found.folders[name] = folder / name
        if "unavailable" in result.attrs:
            found.unavailable[name] = str(result.attrs["unavailable"])
    return found


def with_trajectories(folder: Path, **changes: Any) -> RunGroups:
    """The grid with ``trajectories_train``, ``_test`` and ``importance_train`` in ``analyses``."""
    runs = made_up_runs(folder / "runs", GRID)
    measured = given(runs, folder, models=models(runs, {"seed": 0}))
    for split in ("train", "test"):
        options = {"seed": 0, "split": split, "values": 10, **changes}
        found = trajectories(measured, options, PLACE)
        later = given(runs, folder, **{f"trajectories_{split}": found})
        more = importance(later, {"seed": 0, "trees": 5, "folds": 2, "repeats": 2}, PLACE)
        runs.analyses[f"trajectories_{split}"] = found
        runs.analyses[f"importance_{split}"] = more
    return runs


def with_starts(folder: Path) -> RunGroups:
    """Runs from random labels with ``starts``, ``starts_models``, and ``centroids`` of the ensemble."""
    runs = made_up_runs(folder / "runs", STARTS)
    metrics = models(runs, {"seed": 0})
    measured = given(runs, folder, models=metrics)
    place = Place(folder / "matrix", folder / "cache", RECORD, 1)
    distances(runs, {"seed": 0, "split": "train", "side": 16}, place)
    measured.folders["distances"] = place.folder
    ensemble = RunGroups({"ensemble": runs["ensemble"]})
    results = {
        "starts": starts(measured, {"seed": 0, "points": 5}),
        "starts_models": metrics,
        "centroids": centroids(ensemble, {"seed": 0}, PLACE),
    }
    stored = given(runs, folder, **results)
    runs.analyses = {name: open_store(stored.folders[name], lazy=False) for name in results}
    return runs


def alone(data: RunGroups, *names: str) -> RunGroups:
    """The same runs with some of the analyses."""
    return RunGroups(data, {name: data.analyses[name] for name in names})
