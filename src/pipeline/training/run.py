"""One training job: a configuration and its seeds, from a data store to a store of trajectories."""

from __future__ import annotations

import logging
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.data.preprocessing import run_arrays
from pipeline.data.status import SUBSTITUTED, data_status
from pipeline.errors import TrainingError
from pipeline.hardware import compute_threads
from pipeline.provenance import provenance
from pipeline.registry import builder
from pipeline.seeds import generator, stream_name
from pipeline.store.writer import StoreWriter
from pipeline.training.ensemble import (
    dimensions,
    is_checkpoint_variable,
    split_groups,
)
from pipeline.training.group import train_group
from pipeline.training.job import state_key, unavailable
from pipeline.training.problem import Problem, make_problem
from pipeline.training.progress import Progress
from pipeline.training.pruning import pack_kept, pruning_weights
from pipeline.training.resume import StateFile
from pipeline.training.schedule import checkpoint_epochs
from pipeline.training.settings import Settings

log = logging.getLogger(__name__)


def settings_of(parameters: dict[str, Any]) -> Settings:
    """Settings from ``config.run_parameters``: the run, its network, its optimiser, compute."""
    run, compute = parameters["run"], parameters["compute"]
    known = {f.name for f in fields(Settings)}
    chosen = {key: value for key, value in {**run, **compute}.items() if key in known}
    chosen |= {
        "network": builder(parameters["network"]),
        "optimizer": builder(parameters["optimizer"]),
        "layers": tuple(run["layers"]),
        "root_seed": parameters["seed"],
        "stream": stream_name(run),
        "init_stream": run["init_stream"] and f"{run['paper']}/{run['init_stream']}",
    }
    return Settings(**chosen)


def load_problem(
    parameters: dict[str, Any],
    data_folder: Path,
    networks: int,
    sample_weight: np.ndarray | None = None,
) -> Problem:
    """The training and test arrays of a run, from the store of its data set."""
    arrays = run_arrays(parameters["run"], data_folder, parameters["seed"])
    return make_problem(
        arrays.train_images,
        arrays.train_labels,
        arrays.test_images,
        arrays.test_labels,
        sample_weight,
        networks,
        arrays.train_images.dtype.type,
    )


def train_run(
    parameters: dict[str, Any],
    data_folder: Path,
    folder: Path,
    state_folder: Path,
    *,
    code: str,
    source: Path | None = None,
    inversions: Path | None = None,
    state_seconds: float = 60.0,
) -> dict[str, Any]:
    """Train all seeds of one run, group by group, and write their trajectories; returns the manifest.

    Arguments
    ---------
    parameters: as ``config.run_parameters`` gives them. data_folder: the data set's store.
    folder: where the store and manifest go. state_folder: where unfinished work is kept; a job that
    was killed continues from it to the same bits.
    source, inversions: for a pruned run, the stores of the run whose misclassified samples are left
    out and of the inversion points of that run's group.

    Where the data (or the source's) could not be had, the store holds nothing but the reason.
    """
    run = parameters["run"]
    names = {key: run[key] for key in ("paper", "dataset", "samples")} | {"run": run["name"]}
    inputs = [data_folder, *(path for path in (source, inversions) if path is not None)]
    if (reason := unavailable(run, data_folder, source)) is not None:
        log.warning("run %s is left out: %s", run["name"], reason)
        writer = StoreWriter(folder, names | {"unavailable": reason})
        return writer.close(provenance(config=parameters, code=code))
    settings = settings_of(parameters)
    seeds = list(range(run["seeds"]))
    stored = seeds[: run["stored_seeds"]]
    checkpoints = checkpoint_epochs(run["checkpoints"], settings.epochs) if stored else []
    groups = split_groups(len(seeds), settings.ensemble_size)
    key = state_key(parameters, inputs, code)
    finished = [StateFile(state_folder / f"group_{n}.pt", key) for n in range(len(groups))]
    progress = Progress(run["name"], len(groups), settings.epochs)
    weights, without = sample_weights(parameters, source, inversions)
    with compute_threads(settings.threads):
        problem = load_problem(parameters, data_folder, len(seeds), weights)
        engine: dict[str, Any] = {}
        for number, group in enumerate(groups):
            if (saved := finished[number].load()) is not None:
                engine = saved["engine"]
                progress.skip()
                continue
            own = seeds[group]
            state = StateFile(state_folder / f"group_{number}_epoch.pt", key, state_seconds)
            arrays, engine = train_group(
                problem.of_networks(group),
                own,
                settings,
                checkpoints=checkpoints,
                stored=[seed for seed in stored if seed in own],
                state=state,
                progress=progress,
            )
            void_seeds(arrays, own, [seed for seed in stored if seed in own], without)
            tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
            finished[number].save({"arrays": tensors, "engine": engine})
            state.remove()
    data = data_status(data_folder)
    attrs = names | engine | ({"substitution": data.reason} if data.status == SUBSTITUTED else {})
    if without:
        attrs["seeds_without_set"] = without
    writer = StoreWriter(folder, attrs)
    coordinates = _coordinates(settings, problem, len(seeds), checkpoints, stored)
    if weights is not None:
        coordinates["kept_samples"] = pack_kept(weights)
    _write(writer, coordinates, finished, groups, len(stored))
    written = writer.close(_provenance(parameters, settings, engine, code))
    shutil.rmtree(state_folder, ignore_errors=True)
    return written


def sample_weights(
    parameters: dict[str, Any], source: Path | None, inversions: Path | None
) -> tuple[np.ndarray | None, list[int]]:
    """Weights (seeds, samples) of a pruned run and the seeds that have no set; None for all samples."""
    run = parameters["run"]
    if run["prune_from"] is None:
        return None, []
    if source is None or inversions is None:
        raise TrainingError(f"run {run['name']} is pruned and needs its source and inversions.")

    def draws(seed: int) -> np.random.Generator:
        return generator(parameters["seed"], stream_name(run), seed, "pruning")

    return pruning_weights(run, source, inversions, draws)


def void_seeds(
    arrays: dict[str, np.ndarray], seeds: list[int], stored: list[int], void: list[int]
) -> None:
    """Record networks of a group as failed from the beginning: they were not asked for."""
    for name, values in arrays.items():
        checkpoint = is_checkpoint_variable(name)
        owners = stored if checkpoint else seeds
        rows = [owners.index(seed) for seed in void if seed in owners]
        empty = np.nan if values.dtype.kind == "f" else 0
        if checkpoint:
            values[:, rows] = empty
        else:
            values[rows] = empty


def _coordinates(
    settings: Settings, problem: Problem, seeds: int, checkpoints: list[int], stored: list[int]
) -> dict[str, np.ndarray]:
    coordinates: dict[str, np.ndarray] = {
        "seed": np.arange(seeds, dtype=np.int64),
        "epoch": np.arange(settings.epochs + 1, dtype=np.int64),
        "layer": np.asarray(settings.layers, np.int64),
        "binary_labels": problem.train_labels,
    }
    if checkpoints:
        coordinates["checkpoint_epoch"] = np.asarray(checkpoints, np.int64)
        coordinates["stored_seed"] = np.asarray(stored, np.int64)
    return coordinates


def _write(
    writer: StoreWriter,
    coordinates: dict[str, np.ndarray],
    finished: list[StateFile],
    groups: list[slice],
    stored: int,
) -> None:
    """Assemble the finished groups into one store: small arrays whole, large ones group by group."""
    size = groups[0].stop - groups[0].start
    for name, values in coordinates.items():
        writer.create(name, values.shape, dtype=values.dtype)
        writer.write(name, values)
    series: dict[str, list[np.ndarray]] = {}
    for number, group in enumerate(groups):
        state = finished[number].load()
        if state is None:
            raise RuntimeError(f"the finished group {number} has disappeared from its state file")
        for name, tensor in state["arrays"].items():
            values = tensor.numpy()
            if name == "misclassified" or is_checkpoint_variable(name):
                _write_group(writer, name, values, group, size, groups[-1].stop, stored)
            else:
                series.setdefault(name, []).append(values)
    for name, parts in series.items():
        values = np.concatenate(parts)
        writer.create(name, values.shape, dimensions(name), dtype=values.dtype)
        writer.write(name, values)


def _write_group(
    writer: StoreWriter,
    name: str,
    values: np.ndarray,
    group: slice,
    size: int,
    seeds: int,
    stored: int,
) -> None:
    """Write one group's part of a large array, creating the array with the first group."""
    dims = dimensions(name)
    axis = 1 if is_checkpoint_variable(name) else 0
    total = stored if axis == 1 else seeds
    if group.start == 0:
        shape = (*values.shape[:axis], total, *values.shape[axis + 1 :])
        writer.create(name, shape, dims, {dims[axis]: min(size, total)}, values.dtype)
    start = [0] * values.ndim
    start[axis] = group.start
    writer.write(name, values, start)


def _provenance(
    parameters: dict[str, Any], settings: Settings, engine: dict[str, Any], code: str
) -> dict[str, Any]:
    streams = {
        "root": settings.root_seed,
        "init": settings.init_stream or settings.stream,
        "order": settings.stream,
        "labels": settings.stream,
    }
    return provenance(
        config=parameters,
        seeds=streams,
        code=code,
        device=engine["device"],
        threads=settings.threads,
        extra={"engine": engine},
    )
