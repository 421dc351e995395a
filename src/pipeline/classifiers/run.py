"""One training job of classifiers: a configuration and its seeds, from a data store to a store of
trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.classifiers.arrays import ClassArrays, classifier_arrays
from pipeline.classifiers.batches import on_device
from pipeline.classifiers.job import begin_store, end_store, job_settings, left_out
from pipeline.classifiers.keep import KeptWeights
from pipeline.classifiers.record import (
    Points,
    activations,
    choose_points,
    point_inputs,
    recorded_layers,
)
from pipeline.classifiers.settings import Settings
from pipeline.classifiers.train import NEVER, History, initial_network, train_network
from pipeline.classifiers.variables import MOMENTS, SUBSETS
from pipeline.classifiers.weights import pack, unpack
from pipeline.data.labels import MANIFOLD_KINDS, NoisyLabels, manifold_classes, permute_labels
from pipeline.hardware import chosen_device, compute_threads, deterministic
from pipeline.models.layered import LayeredNetwork
from pipeline.seeds import generator
from pipeline.store.writer import StoreWriter
from pipeline.training.job import state_key
from pipeline.training.progress import Progress
from pipeline.training.resume import StateFile


@dataclass(frozen=True)
class Trained:
    """One seed's results, once it is trained: history, labels, weight sets (on disk)."""

    history: History
    noisy: NoisyLabels
    kept: KeptWeights


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
) -> dict[str, Any]:
    """Train all seeds of one run, one after another, and write their trajectories; returns the
    manifest.

    Arguments
    ---------
    parameters: as ``config.run_parameters`` gives them. data_folder: the data set's store.
    folder: where the store and manifest go. state_folder: where unfinished work is kept; a job that
    was killed continues from it to the same bits.

    Where the data could not be had, the store holds nothing but the reason.
    """
    run = parameters["run"]
    if (nothing := left_out(parameters, data_folder, folder, code)) is not None:
        return nothing
    settings = settings_of(parameters)
    device = chosen_device(settings.device)
    key = state_key(parameters, [data_folder], code)
    arrays = classifier_arrays(run, data_folder)
    if run["recorded_seeds"]:  # a wrong name is refused before anything is trained
        network = initial_network(settings, arrays.shape, arrays.class_count, 0)
        recorded_layers(network, run["recorded_layers"])
    with compute_threads(settings.threads), deterministic(device):
        progress = Progress(run["name"], run["seeds"], settings.epochs)
        trained = [
            _train_seed(
                seed, run, settings, arrays, device, state_folder, key, state_seconds, progress
            )
            for seed in range(run["seeds"])
        ]
        writer = begin_store(parameters, settings, data_folder, folder, device)
        _write_store(writer, run, settings, arrays, trained, device)
    return end_store(writer, parameters, settings, device, state_folder, code)


def _train_seed(
    seed: int,
    run: dict[str, Any],
    settings: Settings,
    arrays: ClassArrays,
    device: str,
    state_folder: Path,
    key: str,
    state_seconds: float,
    progress: Progress,
) -> Trained:
    """One seed, from its saved results where an earlier job finished it."""
    folder = state_folder / f"seed_{seed}"
    kept = KeptWeights(folder, key, settings.kept_weights if seed < run["stored_seeds"] else 0)
    noisy = permute_labels(
        arrays.train_classes,
        settings.label_noise,
        arrays.class_count,
        generator(settings.root_seed, settings.stream, seed, "labels"),
    )
    finished = StateFile(folder / "finished.pt", key)
    if (saved := finished.load()) is not None:
        kept.epochs = list(saved["kept"])
        if kept.complete():
            progress.skip()
            return Trained(History.of_state(saved["history"]), noisy, kept)
    dtype = torch.float64 if settings.precision == "float64" else torch.float32
    network = initial_network(settings, arrays.shape, arrays.class_count, seed)
    network = network.to(device=device, dtype=dtype)
    data = on_device(arrays, noisy, device, dtype)
    state = StateFile(folder / "epoch.pt", key, state_seconds)
    history = train_network(network, data, seed, settings, kept, state, progress)
    if history.last_epoch < settings.epochs:
        progress.skip()
    kept.sync()
    finished.save({"history": history.state(), "kept": list(kept.epochs)})
    kept.purge()
    state.remove()
    return Trained(history, noisy, kept)


def _write_store(
    writer: StoreWriter,
    run: dict[str, Any],
    settings: Settings,
    arrays: ClassArrays,
    trained: list[Trained],
    device: str,
) -> None:
    network = initial_network(settings, arrays.shape, arrays.class_count, 0).to(device)
    writer.attrs |= {
        "network": dict(settings.network),
        "width": settings.width,
        "outputs": arrays.class_count,
        "shape": list(arrays.shape),
        "subsets": list(SUBSETS),
    }
    if isinstance(network, LayeredNetwork):
        writer.attrs |= {
            "layers": list(network.layers),
            "weight_layers": network.weight_layers(),
        }
    _write_series(writer, trained)
    stored = trained[: run["stored_seeds"]]
    if stored:
        _write_weights(writer, stored, pack(network).size)
    if run["recorded_seeds"]:
        network, layers = recorded_layers(network, run["recorded_layers"])
        _write_activations(writer, run, settings, arrays, trained, network, layers)


def _write(writer: StoreWriter, name: str, values: NDArray[Any]) -> None:
    writer.create(name, values.shape, dtype=values.dtype)
    writer.write(name, values)


def _write_series(writer: StoreWriter, trained: list[Trained]) -> None:
    """What was measured of every seed at every epoch, and the labels that it was told."""
    histories = [one.history for one in trained]
    last = max(history.last_epoch for history in histories)
    accuracy = np.full((len(trained), last + 1, len(SUBSETS)), np.nan)
    loss = np.full((len(trained), last + 1), np.nan)
    for row, history in enumerate(histories):
        accuracy[row, : history.last_epoch + 1] = history.accuracy
        loss[row, : history.last_epoch + 1] = history.loss
    failed = [history.failed_epoch for history in histories]
    for row, epoch in enumerate(failed):
        if epoch != NEVER:
            accuracy[row, epoch:] = loss[row, epoch:] = np.nan
    columns = {
        "seed": np.arange(len(trained)),
        "epoch": np.arange(last + 1),
        "failed_epoch": np.array(failed),
        "last_epoch": np.array([history.last_epoch for history in histories]),
        "best_epoch": np.array([history.best_epoch for history in histories]),
    }
    for name, values in columns.items():
        _write(writer, name, values.astype(np.int64))
    _write(writer, "accuracy", accuracy)
    _write(writer, "loss", loss)
    _write(writer, "noisy_labels", np.stack([one.noisy.labels for one in trained]))
    _write(writer, "permuted", np.stack([one.noisy.permuted for one in trained]))


def _write_weights(writer: StoreWriter, stored: list[Trained], size: int) -> None:
    """The weight sets (of ``size`` values) of the stored seeds, each in a chunk of its own."""
    most = max(1, *(len(one.kept.epochs) for one in stored))
    epochs = np.full((len(stored), most), NEVER, dtype=np.int64)
    for row, one in enumerate(stored):
        epochs[row, : len(one.kept.epochs)] = one.kept.epochs
    _write(writer, "stored_seed", np.arange(len(stored), dtype=np.int64))
    _write(writer, "kept_epoch", epochs)
    shape = (len(stored), most, size)
    writer.create("kept_weights", shape, chunks={"stored_seed": 1, "kept": 1})
    for row, column in np.ndindex(epochs.shape):
        epoch = int(epochs[row, column])
        weights = np.full(size, np.nan, dtype=np.float32)
        if epoch != NEVER:
            weights = stored[row].kept.load(epoch)
        writer.write("kept_weights", weights[None, None], (row, column, 0))


def _write_activations(
    writer: StoreWriter,
    run: dict[str, Any],
    settings: Settings,
    arrays: ClassArrays,
    trained: list[Trained],
    network: LayeredNetwork,
    layers: list[str],
) -> None:
    """Activations of the recorded seeds at each moment, for their recorded points."""
    device = next(network.parameters()).device
    recorded = trained[: run["recorded_seeds"]]
    chosen = [_points(run, settings, arrays, one, seed) for seed, one in enumerate(recorded)]
    train = torch.from_numpy(arrays.train).to(device)
    test = torch.from_numpy(arrays.test).to(device)
    writer.attrs |= {"moments": list(MOMENTS), "kinds": list(MANIFOLD_KINDS)}
    epochs = np.array([_moments(one.history) for one in recorded], dtype=np.int64)
    _write(writer, "recorded_seed", np.arange(len(recorded), dtype=np.int64))
    _write(writer, "moment_epoch", epochs)
    _write(writer, "point_kind", np.stack([one.kind for one in chosen]))
    _write(writer, "point_class", np.stack([one.manifold for one in chosen]))
    _write(writer, "point_sample", np.stack([one.sample for one in chosen]))
    for row, (one, points) in enumerate(zip(recorded, chosen, strict=True)):
        x = point_inputs(points, train, test)
        absent = points.sample < 0
        for column, epoch in enumerate(epochs[row]):
            if epoch != NEVER:
                unpack(network, one.kept.load(int(epoch)))
            for layer in layers:  # one at a time: all of a wide network would not fit
                ((number, values),) = activations(network, x, [layer]).items()
                name = f"recorded_activations_{number}"
                if (row, column) == (0, 0):
                    shape = (*epochs.shape, *values.shape)
                    writer.create(name, shape, chunks={"recorded_seed": 1, "moment": 1})
                values[absent | (epoch == NEVER)] = np.nan
                writer.write(name, values[None, None], (row, column, 0, 0))


def _moments(history: History) -> list[int]:
    """Epochs of ``MOMENTS``; of a network that diverged, none."""
    if history.failed_epoch != NEVER:
        return [NEVER] * len(MOMENTS)
    return [0, history.best_epoch, history.last_epoch]


def _points(
    run: dict[str, Any], settings: Settings, arrays: ClassArrays, one: Trained, seed: int
) -> Points:
    return choose_points(
        manifold_classes(one.noisy, arrays.test_classes),
        arrays.train_classes.size,
        min(run["recorded_classes"], arrays.class_count),
        run["recorded_points"],
        generator(settings.root_seed, settings.stream, seed, "analysis"),
    )
