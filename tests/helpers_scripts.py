"""Rule scripts run in this process, with what Snakemake would give them."""

from __future__ import annotations

import contextlib
import logging
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from helpers_workflow import ROOT

RUN: set[str] = set()  # scripts that this process has run


class Names(list[str]):
    """Snakemake's inputs and outputs: a list with names."""

    def __init__(self, *values: str, **named: str | list[str]) -> None:
        super().__init__(values)
        for name, value in named.items():
            setattr(self, name, value)
            self.extend([value] if isinstance(value, str) else value)


class Resources(dict[str, Any]):
    """Snakemake's resources: values by name, as attributes too."""

    __getattr__ = dict.__getitem__


RESOURCES = {
    "mem_mb": 1000,
    "runtime": 60,
    "state_seconds": 60,
    "data_root": "data",
    "jobs_per_gpu": 1,
    "dask": "threads",
    "dask_workers": 1,
    "dask_memory_mb": 1000,
    "dask_interface": "lo",
}


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Handlers and level of the root logger are afterwards what they were before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def run_script(name: str, log: Path, **parts: Any) -> None:
    """Run a script as Snakemake does, in this process, with the directives of its rule."""
    RUN.add(name)
    empty: dict[str, Any] = {"input": Names(), "output": Names(), "params": SimpleNamespace()}
    fake = SimpleNamespace(
        rule=name,
        log=[str(log)],
        threads=1,
        wildcards=SimpleNamespace(paper="stragglers", run="main"),
        resources=Resources(RESOURCES),
        **(empty | parts),
    )
    path = ROOT / "workflow" / "scripts" / f"{name}.py"
    with logging_restored():
        runpy.run_path(str(path), init_globals={"snakemake": fake})


def store(folder: Path) -> Names:
    return Names(store=str(folder / "store"), manifest=str(folder / "manifest.json"))


def stores(*folders: Path) -> Names:
    kinds = {"stores": "store", "manifests": "manifest.json"}
    return Names(
        **{kind: [str(folder / name) for folder in folders] for kind, name in kinds.items()}
    )
