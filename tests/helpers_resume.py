"""Whether what a saved state names is on the disk before the state is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.training.resume import StateFile


def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files, from now on, that are waited for until they are on the disk."""
    paths: list[Path] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        paths.append(Path(os.readlink(f"/proc/self/fd/{file}")))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


def check_states(monkeypatch: pytest.MonkeyPatch, train: Callable[[], object]) -> None:
    """Train, and check that no state is saved before all numbered files beside it were waited for."""
    found: list[tuple[str, set[str]]] = []
    on_the_disk = waited_for(monkeypatch)
    save = StateFile.save

    def noted(self: StateFile, state: dict[str, Any], on_disk: bool = True) -> None:
        if on_disk:
            there = set(self.path.resolve().parent.glob("*_[0-9]*.pt"))
            found.append((self.path.name, {path.name for path in there - {*on_the_disk}}))
        save(self, state, on_disk)

    monkeypatch.setattr(StateFile, "save", noted)
    train()
    assert {name for name, _ in found} == {"epoch.pt", "finished.pt"}
    assert not [names for _, names in found if names]
