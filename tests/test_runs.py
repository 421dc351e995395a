"""Runs of classifiers as analyses, figures and claims see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pipeline.classifiers.variables
from pipeline.errors import GeometryError
from pipeline.run_texts import count_text, data_text
from pipeline.runs import RunGroups, load_runs, make_run
from pipeline.store.writer import write_dataset

SEEDS, EPOCHS, KEPT, PARAMETERS, SAMPLES, POINTS = 4, 3, 2, 5, 6, 8
STORED, RECORDED = (0, 1, 2), (0, 1)
UNITS = {1: 7, 2: 3, 11: 2}  # by layer number
SUBSETS = list(pipeline.classifiers.variables.SUBSETS)


def trajectories(failed: tuple[int, ...] = ()) -> xr.Dataset:
    """A store's content whose every value of a seed is that seed."""

    def of(seeds: Any, *shape: int, dtype: Any = np.float64) -> np.ndarray:
        values = np.asarray(seeds, dtype).reshape(-1, *(1 for _ in shape))
        return np.broadcast_to(values, (len(values), *shape)).copy()

    seeds = np.arange(SEEDS)
    whole = np.int64
    data: dict[str, Any] = {
        "accuracy": (("seed", "epoch", "subset"), of(seeds, EPOCHS + 1, len(SUBSETS))),
        "loss": (("seed", "epoch"), of(seeds, EPOCHS + 1)),
        "failed_epoch": ("seed", np.where(np.isin(seeds, failed), 1, -1)),
        "last_epoch": ("seed", np.full(SEEDS, EPOCHS)),
        "best_epoch": ("seed", seeds.copy()),
        "noisy_labels": (("seed", "sample"), of(seeds, SAMPLES, dtype=whole)),
        "permuted": (("seed", "sample"), of(seeds, SAMPLES) > 1),
        "kept_epoch": (("stored_seed", "kept"), of(STORED, KEPT, dtype=whole)),
        "kept_weights": (
            ("stored_seed", "kept", "parameter"),
            of(STORED, KEPT, PARAMETERS, dtype=np.float32),
        ),
        "moment_epoch": (("recorded_seed", "moment"), of(RECORDED, 3, dtype=whole)),
        "point_kind": (("recorded_seed", "point"), of(RECORDED, POINTS, dtype=whole)),
    }
    for layer, units in UNITS.items():
        data[f"recorded_activations_{layer}"] = (
            ("recorded_seed", "moment", "point", f"unit_{layer}"),
            of(RECORDED, 3, POINTS, units, dtype=np.float32),
        )
    coords = {"seed": seeds, "epoch": np.arange(EPOCHS + 1)}
    coords |= {"stored_seed": np.array(STORED), "recorded_seed": np.array(RECORDED)}
    return xr.Dataset(data, coords, {"subsets": SUBSETS, "layers": ["a", "b", "c"]})


def loaded(folder: Path, *variables: str, failed: tuple[int, ...] = ()) -> RunGroups:
    write_dataset(trajectories(failed), folder, {"config": {}, "code": "test"})
    entry = {"group": "vgg16", "name": "vgg16", "inversion": None, "trajectories": str(folder)}
    config = {"dataset": "cifar100", "samples": SAMPLES}
    return load_runs([entry | {"config": config, "stated_dataset": "cifar100"}], variables)


CURVES = {"accuracy", "loss", "failed_epoch", "last_epoch", "best_epoch"}
CURVES |= {"kept_epoch", "moment_epoch"}


def test_the_small_series_are_loaded_and_nothing_else(tmp_path: Path) -> None:
    ((run,),) = loaded(tmp_path).values()
    assert set(run.trajectories.data_vars) == CURVES
    assert not any(run.trajectories[name].chunks for name in CURVES)
    assert not run.inversion.data_vars
    assert run.trajectories.attrs["layers"] == ["a", "b", "c"]


def test_variables_are_opened_lazily_and_layers_together(tmp_path: Path) -> None:
    wanted = ("kept_weights", "noisy_labels", "recorded_activations", "misclassified")
    ((run,),) = loaded(tmp_path, *wanted).values()
    layers = {f"recorded_activations_{layer}" for layer in UNITS}
    found = {"kept_weights", "noisy_labels"} | layers
    assert set(run.trajectories.data_vars) == CURVES | found  # what is not stored is not there
    assert all(run.trajectories[name].chunks for name in found)


def test_a_seed_that_diverged_is_left_out_of_all_that_seeds_have(tmp_path: Path) -> None:
    wanted = ("kept_weights", "permuted", "point_kind", "recorded_activations")
    ((run,),) = loaded(tmp_path, *wanted, failed=(1, 3)).values()
    assert (run.seeds, run.failed_seeds) == (2, [1, 3])
    for dim, left in {"seed": [0, 2], "stored_seed": [0, 2], "recorded_seed": [0]}.items():
        assert run.trajectories[dim].values.tolist() == left
    for name in ("loss", "kept_weights", "recorded_activations_11"):
        values = run.trajectories[name]
        first = values.isel({dim: 0 for dim in values.dims[1:]})
        assert first.values.tolist() == values[values.dims[0]].values.tolist(), name


def test_all_seeds_diverged() -> None:
    with pytest.raises(GeometryError, match=r"Run vgg16: All 4 seeds diverged"):
        make_run("vgg16", {}, trajectories((0, 1, 2, 3)), None)


def test_the_words_for_classifiers_and_their_data(tmp_path: Path) -> None:
    ((run,),) = loaded(tmp_path, failed=(3,)).values()
    assert count_text([run]) == "n = 3 independent networks; 1 more diverged and are left out"
    assert data_text([run]) == "CIFAR-100, 6 training samples"


@pytest.mark.parametrize(
    ("dataset", "stated", "name", "substituted"),
    [
        ("spheres", "spheres", "synthetic spheres", False),  # the paper's own
        ("tiny_imagenet", "tiny_imagenet", "Tiny ImageNet", False),
        ("cifar10", "cifar100", "CIFAR-10", True),
        ("generated_spheres", "spheres", "generated spheres", True),
    ],
)
def test_what_counts_as_a_substitute(
    dataset: str, stated: str, name: str, substituted: bool
) -> None:
    run = make_run("a", {"dataset": dataset, "samples": 9}, trajectories(), None, stated)
    assert run.substituted == substituted
    text = data_text([run])
    assert f"{name}, 9 training samples" in text
    assert text.startswith("substituted: ") == substituted
