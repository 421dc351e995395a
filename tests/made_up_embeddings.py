"""Made-up runs with all analyses that the figures and claims of embeddings need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from made_up_models import made_up_runs

from pipeline.analysis.closeness import closeness
from pipeline.analysis.distances import distances
from pipeline.analysis.embedding import embedding
from pipeline.analysis.joint_embedding import joint
from pipeline.analysis.models import models
from pipeline.analysis.principal_components import principal_components
from pipeline.analysis.sample_subsets import subsets
from pipeline.runs import Place, RunGroups

GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {},
        {"network": "vit", "failed": (0,), "seeds": 3},
        {"network": "fc", "augmentation": "crop_flip", "optimizer": "nesterov"},
    ],
    "adam": [{"network": "conv_mixer", "optimizer": "adam_minibatch", "reach": 3.0}],
}
ENDS = [
    {"network": "fc", "augmentation": "crop_flip"},
    {"network": "vit", "augmentation": "none"},
    {"network": "vit", "augmentation": "crop_flip"},  # of which there is none
]
MATRICES = {
    "distances_train": {"split": "train"},
    "distances_test": {"split": "test"},
    "distances_kl": {"split": "train", "kind": "symmetrised_kl"},
    "distances_geodesic": {"split": "train", "kind": "geodesic"},
    "distances_euclidean_train": {"split": "train", "kind": "euclidean"},
    "distances_euclidean_test": {"split": "test", "kind": "euclidean"},
}


def analysed(folder: Path) -> RunGroups:
    """Runs and the results of all analyses, as figures get them."""
    runs = made_up_runs(folder / "runs", GROUPS)
    for name, options in MATRICES.items():
        there = place(folder, name)
        distances(runs, {"seed": 0, **options}, there)
        runs.folders[name] = there.folder

    def given(*names: str) -> RunGroups:
        return RunGroups(runs, folders={name: runs.folders[name] for name in names})

    seed = {"seed": 0, "components": 20}
    at = {"seed": 0, "progress": [0.01, 0.5, 0.99]}
    some = {"seed": 0, "counts": [3, 10, 25], "draws": 3, "components": 5}
    here = place(folder, "unused")
    found: dict[str, xr.Dataset] = {
        "models": models(runs, {"seed": 0}),
        "embedding_train": embedding(given("distances_train"), seed),
        "embedding_test": embedding(given("distances_test"), seed),
        "embedding_kl": embedding(given("distances_kl"), seed),
        "embedding_geodesic": embedding(given("distances_geodesic"), seed),
        "pca_train": principal_components(given("distances_euclidean_train"), seed),
        "pca_test": principal_components(given("distances_euclidean_test"), seed),
        "closeness_train": closeness(runs, {**at, "split": "train"}),
        "closeness_test": closeness(given("distances_test"), {**at, "split": "test", "ends": ENDS}),
        "joint": joint(given("distances_train", "distances_test"), {"seed": 0, "components": 12}),
        "subsets_train": subsets(given("distances_train"), some, here),
        "subsets_test": subsets(given("distances_test"), some, here),
    }
    return RunGroups(runs, found)


def place(folder: Path, name: str) -> Place:
    return Place(folder / name, folder / "cache", {"config": {}, "code": "test"}, 1)


def chosen_of(data: RunGroups, *names: str) -> RunGroups:
    """The same runs with some of the analyses, in this order."""
    return RunGroups(data, {name: data.analyses[name] for name in names})
