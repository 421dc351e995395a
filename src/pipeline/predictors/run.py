"""One training job of predictors: a configuration and its seeds, from data to a store of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.job import (
    begin_store,
    empty_store,
    end_store,
    job_settings,
    left_out,
)
from pipeline.classifiers.weights import pack, unpack
from pipeline.errors import TrainingError
from pipeline.hardware import (
    chosen_device,
    compute_threads,
    deterministic,
    flushed_denormals,
    keep_freed_memory,
)
from pipeline.predictors.picture_samples import picture_samples
from pipeline.predictors.samples import Samples, device_data
from pipeline.predictors.settings import Settings
from pipeline.predictors.train import NEVER, Course, as_trained, initial_network, train_network
from pipeline.predictors.variables import SPLITS
from pipeline.store import manifest
from pipeline.store.reader import load_arrays
from pipeline.store.writer import StoreWriter
from pipeline.training.job import state_key
from pipeline.training.progress import Progress
from pipeline.training.resume import PartFiles, StateFile

MODELS, SAMPLES = 256, 100  # of a chunk of stored predictions, at most
JOINED_BYTES = 1_000_000_000  # of the models that are joined to be written


def settings_of(parameters: dict[str, Any]) -> Settings:
    """Settings from ``config.run_parameters``: the run, its network, its optimiser, compute."""
    return job_settings(Settings, parameters)


def train_run(
    parameters: dict[str, Any],
    data_folder: Path,
    folder: Path,
    state_folder: Path,
    *,
    code: str,
    state_seconds: float = 60.0,
    start: Path | None = None,
    root: Path | None = None,
) -> dict[str, Any]:
    """Train all seeds of one run, one after another, and write their predictions; returns the manifest.

    Arguments
    ---------
    parameters: as ``config.run_parameters`` gives them. data_folder: the data set's store.
    folder: where the store and manifest go. state_folder: where unfinished work is kept; a job that
    was killed continues from it to the same bits. start: of a run that starts from another, that run's
    store; its seeds start from the final networks there, in turns. root: the folder of all data, which
    data sets of files need.

    Models of seeds that diverged are left out; ``failed_update`` says where they did. Where the data
    could not be had, the store holds nothing but the reason.
    """
    run = parameters["run"]
    if (nothing := left_out(parameters, data_folder, folder, code, start)) is not None:
        return nothing
    settings = settings_of(parameters)
    device = chosen_device(settings.device)
    keep_freed_memory()
    data = samples_of(run, settings, data_folder, root, device)
    key = state_key(parameters, [data_folder, *([] if start is None else [start])], code)
    first_weights = starting_weights(run, start)
    if first_weights is not None and not len(first_weights):
        reason = (
            f"all networks of {run['start_from']}, which run {run['name']} starts from, diverged"
        )
        return empty_store(parameters, folder, code, reason)
    with compute_threads(settings.threads), deterministic(device), flushed_denormals():
        progress = Progress(run["name"], run["seeds"], settings.epochs)
        courses = [
            _train_seed(
                seed,
                settings,
                data,
                device,
                None if first_weights is None else first_weights[seed % len(first_weights)],
                StatePlace(state_folder, key, state_seconds),
                progress,
            )
            for seed in range(run["seeds"])
        ]
    writer = begin_store(parameters, settings, data_folder, folder, device)
    if run["final_weights"]:
        _write_weights(writer, courses, state_folder, key)
    _write_store(writer, settings, data, courses, state_folder, key)
    return end_store(writer, parameters, settings, device, state_folder, code)


class StatePlace(NamedTuple):
    """Where unfinished work is kept, what it belongs to, and how often it is saved."""

    folder: Path
    key: str
    seconds: float


def starting_weights(run: dict[str, Any], start: Path | None) -> NDArray[np.float32] | None:
    """The final weight sets (networks, parameter) that a run starts from, without those of seeds that
    diverged; None: its own random weights.
    """
    if run["start_from"] is None:
        return None
    if start is None:
        raise TrainingError(f"run {run['name']} starts from another and needs that run's store.")
    found: NDArray[np.float32] = load_arrays(start, ("last_weights",))["last_weights"]
    return found[np.isfinite(found).all(axis=1)]


def samples_of(
    run: dict[str, Any], settings: Settings, data_folder: Path, root: Path | None, device: str
) -> Samples:
    """The samples of a run: held by the device, or of files that are decoded while they are needed.

    Arguments
    ---------
    root: the folder of all data, for files.
    """
    if "pictures" in manifest.read(data_folder)["arrays"]:
        return picture_samples(run, settings, data_folder, root, device)
    return device_data(classifier_arrays(run, data_folder), settings, device)


def _train_seed(
    seed: int,
    settings: Settings,
    data: Samples,
    device: str,
    weights: NDArray[np.float32] | None,
    place: StatePlace,
    progress: Progress,
) -> Course:
    """One seed, from its saved course where an earlier job finished it.

    Arguments
    ---------
    weights: that it starts from; None: random ones.
    """
    folder, key = _seed_folder(place.folder, seed), place.key
    records, finished = _records(folder, key), StateFile(folder / "finished.pt", key)
    if (saved := finished.load()) is not None and records.complete(saved["recorded"]):
        progress.skip()
        return Course(list(saved["recorded"]), saved["failed_update"], saved["epoch"])
    network = initial_network(settings, data.shape, data.outputs, seed)
    if weights is not None:
        unpack(network, weights)
    network = as_trained(network, settings, device)
    state = StateFile(folder / "epoch.pt", key, place.seconds)
    course = train_network(network, data, seed, settings, records, state, progress)
    if course.epoch < settings.epochs:
        progress.skip()
    records.sync()
    finished.save(
        {
            "recorded": list(course.recorded),
            "failed_update": course.failed_update,
            "epoch": course.epoch,
            "weights": torch.from_numpy(pack(network)),
        }
    )
    state.remove()
    return course


def _write_weights(
    writer: StoreWriter, courses: list[Course], state_folder: Path, key: str
) -> None:
    """The final weight sets of all seeds, NaN of those that diverged."""
    for seed, course in enumerate(courses):
        saved = StateFile(_seed_folder(state_folder, seed) / "finished.pt", key).load()
        if saved is None:
            raise TrainingError(
                f"The final weights of seed {seed} in {state_folder} are gone or damaged; delete this "
                "folder and run the workflow again."
            )
        weights = saved["weights"].numpy()
        if not seed:
            writer.create("last_weights", (len(courses), weights.size), chunks={"seed": 1})
        if course.failed_update != NEVER:
            weights = np.full_like(weights, np.nan)
        writer.write("last_weights", weights[None], (seed, 0))


def _seed_folder(state_folder: Path, seed: int) -> Path:
    return state_folder / f"seed_{seed}"


def _records(seed_folder: Path, key: str) -> PartFiles:
    """The predictions that were recorded of one seed, by update, until the store is written."""
    return PartFiles(seed_folder, "record", key)


def _write_store(
    writer: StoreWriter,
    settings: Settings,
    data: Samples,
    courses: list[Course],
    state_folder: Path,
    key: str,
) -> None:
    """Predictions of all models of the seeds that did not diverge, seed by seed."""
    updates = -(-data.size // settings.batch_size)
    models = [
        (seed, update)
        for seed, course in enumerate(courses)
        if course.failed_update == NEVER
        for update in course.recorded
    ]
    writer.attrs |= {
        "network": dict(settings.network),
        "width": settings.width,
        "classes": data.outputs,
        "updates_per_epoch": updates,
    }
    columns: dict[str, NDArray[Any]] = {
        "seed": np.arange(len(courses), dtype=np.int64),
        "failed_update": np.array([course.failed_update for course in courses], dtype=np.int64),
        **{f"{split}_labels": data.recorded_classes(split, settings) for split in SPLITS},
    }
    if models:
        told = np.array(models, dtype=np.int64)
        columns |= {
            "model_seed": told[:, 0],
            "model_update": told[:, 1],
            "model_epoch": told[:, 1] / updates,
        }
    for name, values in columns.items():
        writer.create(name, values.shape, dtype=values.dtype)
        writer.write(name, values)
    _write_predictions(writer, models, state_folder, key)


def _write_predictions(
    writer: StoreWriter,
    models: list[tuple[int, int]],
    state_folder: Path,
    key: str,
) -> None:
    if not models:
        return
    first = _records(_seed_folder(state_folder, models[0][0]), key).read(models[0][1])
    size = sum(value.numel() * value.element_size() for value in first.values())
    step = max(1, min(MODELS, JOINED_BYTES // size))
    for start in range(0, len(models), step):
        some = models[start : start + step]
        read = [
            _records(_seed_folder(state_folder, seed), key).read(update) for seed, update in some
        ]
        for split in SPLITS:
            for kind in ("root_probabilities", "log_likelihood"):
                name = f"{split}_{kind}"
                values = np.stack([one[name].numpy() for one in read])
                if not start:
                    chunks = {"model": step, f"{split}_sample": min(SAMPLES, values.shape[1])}
                    writer.create(name, (len(models), *values.shape[1:]), chunks=chunks)
                writer.write(name, values, (start, *([0] * (values.ndim - 1))))
