"""One training job of predictors: a configuration and its seeds, from data to a store of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.classifiers.arrays import ClassArrays, classifier_arrays
from pipeline.classifiers.batches import held
from pipeline.classifiers.job import begin_store, end_store, job_settings, left_out
from pipeline.classifiers.weights import pack, unpack
from pipeline.errors import TrainingError
from pipeline.hardware import chosen_device, compute_threads, deterministic
from pipeline.predictors.augmentation import check_augmentation
from pipeline.predictors.record import Records
from pipeline.predictors.settings import Settings
from pipeline.predictors.train import NEVER, Course, DeviceData, initial_network, train_network
from pipeline.predictors.variables import SPLITS
from pipeline.seeds import generator
from pipeline.store.reader import load_arrays
from pipeline.store.writer import StoreWriter
from pipeline.training.job import state_key
from pipeline.training.progress import Progress
from pipeline.training.resume import StateFile

MODELS, SAMPLES = 256, 100  # of a chunk of stored predictions


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
) -> dict[str, Any]:
    """Train all seeds of one run, one after another, and write their predictions; returns the manifest.

    Arguments
    ---------
    parameters: as ``config.run_parameters`` gives them. data_folder: the data set's store.
    folder: where the store and manifest go. state_folder: where unfinished work is kept; a job that
    was killed continues from it to the same bits. start: of a run that starts from another, that run's
    store; its seeds start from the final networks there, in turns.

    Models of seeds that diverged are left out; ``failed_update`` says where they did. Where the data
    could not be had, the store holds nothing but the reason.
    """
    run = parameters["run"]
    if (nothing := left_out(parameters, data_folder, folder, code, start)) is not None:
        return nothing
    settings = settings_of(parameters)
    device = chosen_device(settings.device)
    arrays = classifier_arrays(run, data_folder)
    check_augmentation(settings.augmentation, arrays.shape)
    key = state_key(parameters, [data_folder, *([] if start is None else [start])], code)
    first_weights = starting_weights(run, start)
    data = device_data(arrays, settings, device)
    with compute_threads(settings.threads), deterministic(device):
        progress = Progress(run["name"], run["seeds"], settings.epochs)
        courses = [
            _train_seed(
                seed,
                settings,
                arrays,
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
    _write_store(writer, settings, arrays, courses, state_folder, key)
    return end_store(writer, parameters, settings, device, state_folder, code)


class StatePlace(NamedTuple):
    """Where unfinished work is kept, what it belongs to, and how often it is saved."""

    folder: Path
    key: str
    seconds: float


def starting_weights(run: dict[str, Any], start: Path | None) -> NDArray[np.float32] | None:
    """The final weight sets (networks, parameter) that a run starts from; None: its own random weights.

    Raises TrainingError where the source diverged in all seeds.
    """
    if run["start_from"] is None:
        return None
    if start is None:
        raise TrainingError(f"run {run['name']} starts from another and needs that run's store.")
    found: NDArray[np.float32] = load_arrays(start, ("last_weights",))["last_weights"]
    there = np.isfinite(found).all(axis=1)
    if not there.any():
        raise TrainingError(
            f"run {run['name']} starts from {run['start_from']}, whose {len(found)} networks all "
            "diverged; lower its learning rate."
        )
    return found[there]


def device_data(arrays: ClassArrays, settings: Settings, device: str) -> DeviceData:
    """The arrays of a run on the device, with the labels that are learnt."""
    dtype = torch.float64 if settings.precision == "float64" else torch.float32
    learnt = learnt_labels(arrays, settings)
    labels, classes, test_classes = (
        torch.from_numpy(one).to(device)
        for one in (learnt, arrays.train_classes, arrays.test_classes)
    )
    train, test = (held(one, device, dtype) for one in (arrays.train, arrays.test))
    return DeviceData(train, test, labels, classes, test_classes)


def learnt_labels(arrays: ClassArrays, settings: Settings) -> NDArray[np.int64]:
    """The labels that are learnt: the true ones, or a random labelling, uniform over all classes, which
    all runs with its number share.
    """
    if settings.labelling is None:
        return arrays.train_classes
    draws = generator(settings.root_seed, "labelling", settings.labelling, "labels")
    return draws.integers(0, arrays.class_count, arrays.train_classes.size)


def _train_seed(
    seed: int,
    settings: Settings,
    arrays: ClassArrays,
    data: DeviceData,
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
    records, finished = Records(folder, key), StateFile(folder / "finished.pt", key)
    if (saved := finished.load()) is not None and records.complete(saved["recorded"]):
        progress.skip()
        return Course(list(saved["recorded"]), saved["failed_update"], saved["epoch"])
    network = initial_network(settings, arrays.shape, arrays.class_count, seed)
    if weights is not None:
        unpack(network, weights)
    network = network.to(device=device, dtype=data.train.dtype)
    state = StateFile(folder / "epoch.pt", key, place.seconds)
    course = train_network(network, data, seed, settings, records, state, progress)
    if course.epoch < settings.epochs:
        progress.skip()
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


def _write_store(
    writer: StoreWriter,
    settings: Settings,
    arrays: ClassArrays,
    courses: list[Course],
    state_folder: Path,
    key: str,
) -> None:
    """Predictions of all models of the seeds that did not diverge, seed by seed."""
    updates = -(-len(arrays.train) // settings.batch_size)
    models = [
        (seed, update)
        for seed, course in enumerate(courses)
        if course.failed_update == NEVER
        for update in course.recorded
    ]
    writer.attrs |= {
        "network": dict(settings.network),
        "width": settings.width,
        "classes": arrays.class_count,
        "updates_per_epoch": updates,
    }
    columns: dict[str, NDArray[Any]] = {
        "seed": np.arange(len(courses), dtype=np.int64),
        "failed_update": np.array([course.failed_update for course in courses], dtype=np.int64),
        "train_labels": arrays.train_classes,
        "test_labels": arrays.test_classes,
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
    _write_predictions(writer, arrays, models, state_folder, key)


def _write_predictions(
    writer: StoreWriter,
    arrays: ClassArrays,
    models: list[tuple[int, int]],
    state_folder: Path,
    key: str,
) -> None:
    sizes = {"train": len(arrays.train), "test": len(arrays.test)}
    for start in range(0, len(models), MODELS):
        some = models[start : start + MODELS]
        read = [
            Records(_seed_folder(state_folder, seed), key).read(update) for seed, update in some
        ]
        for split in SPLITS:
            for kind in ("root_probabilities", "log_likelihood"):
                name = f"{split}_{kind}"
                values = np.stack([one[name].numpy() for one in read])
                if not start:
                    chunks = {"model": MODELS, f"{split}_sample": min(SAMPLES, sizes[split])}
                    writer.create(name, (len(models), *values.shape[1:]), chunks=chunks)
                writer.write(name, values, (start, *([0] * (values.ndim - 1))))
