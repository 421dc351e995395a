"""What the jobs that train networks one at a time share: settings, and how their stores begin and end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.data.status import SUBSTITUTED, data_status
from pipeline.provenance import provenance
from pipeline.registry import builder
from pipeline.seeds import stream_name
from pipeline.store.writer import StoreWriter
from pipeline.training.job import unavailable

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What a store says of how its networks were computed."""

    @property
    def precision(self) -> str: ...
    @property
    def compile(self) -> bool | str: ...
    @property
    def threads(self) -> int: ...
    @property
    def root_seed(self) -> int: ...
    @property
    def stream(self) -> str: ...


Kind = TypeVar("Kind", bound=Engine)


def job_settings(kind: Callable[..., Kind], parameters: dict[str, Any]) -> Kind:
    """Settings from ``config.run_parameters``: the run, its network, its optimiser, compute.

    Arguments
    ---------
    kind: the dataclass of the trainer's settings.
    """
    run, compute = parameters["run"], parameters["compute"]
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    chosen = {key: value for key, value in {**compute, **run}.items() if key in known}
    if chosen.get("compile") is None:
        chosen["compile"] = compute["compile"]
    chosen |= {
        "network": dict(parameters["network"]),
        "optimizer": builder(parameters["optimizer"]),
        "root_seed": parameters["seed"],
        "stream": stream_name(run),
    }
    return kind(**chosen)


def left_out(
    parameters: dict[str, Any],
    data_folder: Path,
    folder: Path,
    code: str,
    source: Path | None = None,
) -> dict[str, Any] | None:
    """Where a run's data, or those of the run that it starts from, could not be had, the manifest of a
    store that holds nothing but the reason.
    """
    run = parameters["run"]
    reason = unavailable(run, data_folder, source)
    return None if reason is None else empty_store(parameters, folder, code, reason)


def empty_store(parameters: dict[str, Any], folder: Path, code: str, reason: str) -> dict[str, Any]:
    """The manifest of a store that holds nothing but the reason why."""
    run = parameters["run"]
    log.warning("run %s is left out: %s", run["name"], reason)
    writer = StoreWriter(folder, _names(run) | {"unavailable": reason})
    return writer.close(provenance(config=parameters, code=code))


def begin_store(
    parameters: dict[str, Any], settings: Engine, data_folder: Path, folder: Path, device: str
) -> StoreWriter:
    """The writer of a run's store, which says what was trained, on which data, and by what."""
    attrs = _names(parameters["run"]) | _engine(settings, device)
    data = data_status(data_folder)
    if data.status == SUBSTITUTED:
        attrs["substitution"] = data.reason
    return StoreWriter(folder, attrs)


def end_store(
    writer: StoreWriter,
    parameters: dict[str, Any],
    settings: Engine,
    device: str,
    state_folder: Path,
    code: str,
) -> dict[str, Any]:
    """Close a run's store and forget its unfinished work; returns the manifest."""
    written = writer.close(
        provenance(
            config=parameters,
            seeds={"root": settings.root_seed, "all": settings.stream},
            code=code,
            device=device,
            threads=settings.threads,
            extra={"engine": _engine(settings, device)},
        )
    )
    shutil.rmtree(state_folder, ignore_errors=True)
    return written


def _names(run: dict[str, Any]) -> dict[str, Any]:
    return {key: run[key] for key in ("paper", "dataset", "samples")} | {"run": run["name"]}


def _engine(settings: Engine, device: str) -> dict[str, Any]:
    return {
        "device": device,
        "precision": settings.precision,
        "compiled": settings.compile is True,
    }
