"""The analysis of noisy test sets: against the test error of training, its streams, its result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.analysis.noise import noisy_test, noisy_test_errors
from pipeline.data import datasets
from pipeline.data.preprocessing import training_arrays
from pipeline.errors import ConfigError
from pipeline.hardware import compute_threads
from pipeline.models.convolutional import convolutional
from pipeline.models.fully_connected import fully_connected
from pipeline.runs import Run, RunGroups
from pipeline.seeds import generator
from pipeline.store.reader import load_arrays, open_store
from pipeline.store.writer import write_dataset
from pipeline.training.ensemble import train_ensemble

CONFIG: dict[str, Any] = {
    "paper": "made_up",
    "dataset": "generated",
    "samples": 120,
    "block": 0,
    "statistics": "own",
    "grey": "mean",
    "labels": "parity",
    "network": "fully_connected",
    "depth": 2,
    "width": 6,
    "activation": "tanh",
    "kernel": None,
    "precision": "float64",  # no count depends on what is computed beside it
}
OPTIONS: dict[str, Any] = {"sigmas": [0, 1, 3], "draws": 3, "seed": 7}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These products are small: more threads only wait for each other."""
    with compute_threads(1):
        yield


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    options = {"train_samples": 240, "test_samples": 150}
    entry = {"loader": "pipeline.data.generated:generated", "options": options}
    write_dataset(datasets.prepare(entry, folder), folder, {})
    return folder


def trained(name: str, folder: Path, seeds: int, failed: list[int], **changes: Any) -> Run:
    """A run trained for a few epochs; ``failed`` seeds are left out of it as diverged ones are."""
    config = CONFIG | {"name": name} | changes
    arrays = training_arrays(
        load_arrays(folder, ("images", "labels", "split")),
        samples=config["samples"],
        block=config["block"],
        statistics=config["statistics"],
        labels=config["labels"],
        label_generator=generator(7, f"made_up/{name}", 0, "labels"),
    )
    kernel = {} if config["kernel"] is None else {"kernel": config["kernel"]}
    builders = {"fully_connected": fully_connected, "convolutional": convolutional}
    found = train_ensemble(
        arrays.train_images,
        arrays.train_labels,
        test_images=arrays.test_images,
        test_labels=arrays.test_labels,
        seeds=seeds,
        network=builders[config["network"]],
        depth=config["depth"],
        width=config["width"],
        epochs=4,
        device="cpu",
        precision="float64",
        compile=False,
        final_weights=True,
        stream=name,
        **kernel,
    )
    kept = found.sel(seed=[seed for seed in range(seeds) if seed not in failed])
    return Run(name, config, kept, xr.Dataset(), failed, None, folder)


@pytest.fixture(scope="module")
def runs(data_folder: Path) -> list[Run]:
    return [
        trained("main", data_folder, 4, [1]),
        trained("second", data_folder, 2, [], block=1),
        trained("train", data_folder, 2, [], statistics="train"),
        trained("random", data_folder, 2, [], labels="random"),
        trained("deep", data_folder, 2, [], depth=3),
        trained("cnn", data_folder, 2, [], network="convolutional", width=2, kernel=25),
    ]


@pytest.fixture(scope="module")
def result(runs: list[Run]) -> xr.Dataset:
    return noisy_test(RunGroups({"all": runs, "again": runs[:2]}), OPTIONS)


def test_without_noise_it_is_the_test_error_of_training(
    runs: list[Run], result: xr.Dataset
) -> None:
    for index, run in enumerate(runs):
        errors = result["test_error_noisy"].sel(run=index, sigma=0, seed=run.trajectories["seed"])
        trained_to = run.trajectories["test_error"].isel(epoch=-1)
        np.testing.assert_allclose(errors, trained_to, rtol=1e-12)


def test_missing_seeds_are_nan_and_counted(runs: list[Run], result: xr.Dataset) -> None:
    assert result.attrs["runs"] == [run.name for run in runs]
    assert result.attrs["evaluated"] == [3, 2, 2, 2, 2, 2]
    assert result.attrs["diverged"] == [1, 0, 0, 0, 0, 0]
    assert result["test_error_noisy"].dims == ("run", "seed", "sigma")
    finite = np.isfinite(result["test_error_noisy"].values)
    assert finite.all(axis=2).tolist() == [[True, False, True, True]] + 5 * [
        [True] * 2 + [False] * 2
    ]
    np.testing.assert_array_equal(finite.any(axis=2), finite.all(axis=2))


def test_noise_is_named_by_paper_data_set_and_draw(
    runs: list[Run], result: xr.Dataset, data_folder: Path
) -> None:
    stored = load_arrays(data_folder, ("images", "labels", "split"))
    arrays = training_arrays(stored, samples=120, dtype=np.float64)
    network = fully_connected(784, depth=2, width=6, activation="tanh")
    direct = noisy_test_errors(
        network,
        runs[0].trajectories["final_weights"].values,
        arrays.test_images,
        arrays.test_labels,
        [3.0],
        3,
        lambda draw: generator(7, "made_up/noise/generated", draw, "noise"),
    )
    expected = direct.mean(axis=2)
    found = result["test_error_noisy"].isel(run=0, seed=[0, 2, 3]).sel(sigma=[3])
    np.testing.assert_array_equal(found, expected)
    other = noisy_test(RunGroups({"all": runs[:1]}), OPTIONS | {"seed": 8})
    assert not np.array_equal(other["test_error_noisy"][0, [0, 2, 3], 2], expected[:, 0])


def test_result_does_not_depend_on_the_other_runs(runs: list[Run], result: xr.Dataset) -> None:
    for index, run in enumerate(runs):
        alone = noisy_test(RunGroups({"one": [run]}), OPTIONS)["test_error_noisy"].isel(run=0)
        together = result["test_error_noisy"].isel(run=index, drop=True).sel(seed=alone["seed"])
        np.testing.assert_array_equal(alone.values, together.values)


def test_result_is_stored(result: xr.Dataset, tmp_path: Path) -> None:
    write_dataset(result, tmp_path, {})
    found = open_store(tmp_path, lazy=False)
    np.testing.assert_array_equal(found["test_error_noisy"], result["test_error_noisy"])
    assert found["sigma"].values.tolist() == [0, 1, 3]
    assert found.attrs["runs"] == result.attrs["runs"]


def test_no_run_at_all_is_stored_too(tmp_path: Path) -> None:
    data = RunGroups({"kmnist": []}, unavailable={"kmnist": "kmnist was not found"})
    write_dataset(noisy_test(data, OPTIONS), tmp_path, {})
    found = open_store(tmp_path)
    assert found.attrs["runs"] == []
    assert "test_error_noisy" not in found


def test_network_of_ones_own(runs: list[Run], data_folder: Path) -> None:
    run = runs[0]
    renamed = Run(
        "own",
        run.config | {"network": "mine"},
        run.trajectories,
        xr.Dataset(),
        [],
        None,
        data_folder,
    )
    data = RunGroups({"one": [renamed]})
    with pytest.raises(ConfigError, match="'mine' is no known network; known are: convolutional"):
        noisy_test(data, OPTIONS)
    mine = {"mine": "pipeline.models.fully_connected:fully_connected"}
    found = noisy_test(data, OPTIONS | {"networks": mine})["test_error_noisy"]
    expected = noisy_test(RunGroups({"one": [run]}), OPTIONS)["test_error_noisy"]
    np.testing.assert_array_equal(found[0], expected[0][[0, 2, 3]])


def test_faulty_options_and_missing_weights(runs: list[Run]) -> None:
    with pytest.raises(ConfigError, match=r"no options \['sigma'\]; valid are: sigmas, draws"):
        noisy_test(RunGroups({"one": runs[:1]}), {"sigma": [1]})
    run = runs[0]
    bare = Run(
        "bare",
        run.config,
        run.trajectories.drop_vars("final_weights"),
        xr.Dataset(),
        [],
        None,
        run.data_folder,
    )
    with pytest.raises(ConfigError, match="run bare stores no final weights: set final_weights"):
        noisy_test(RunGroups({"one": [bare]}), OPTIONS)
