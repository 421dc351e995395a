"""Half entries in the folder that Snakemake shares; whole ones are in test_workflow_cache.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.execution.shared_cache import drop_half_entries

WHOLE, HALF, MANIFEST, OTHER = (letter * 64 for letter in "abcd")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    for name in (f"{WHOLE}_store", f"{HALF}_store", "my_store", HALF, "half-time"):
        (tmp_path / name / "data.zarr").mkdir(parents=True)
    (tmp_path / f"{OTHER}_store").mkdir()  # of another workflow, which has no manifests
    for name in (f"{WHOLE}_manifest.json", f"{MANIFEST}_manifest.json", f"{'e' * 64}_store"):
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_only_stores_of_ours_without_a_manifest_are_removed(shared: Path) -> None:
    before = names(shared)
    (shared / f"half-{HALF}-17/data.zarr").mkdir(parents=True)  # of a run that was killed
    assert drop_half_entries(shared) == []
    assert names(shared) == before - {f"{HALF}_store"}
    assert drop_half_entries(shared) == drop_half_entries(shared / "nowhere") == []


def test_one_that_cannot_be_removed_is_told_and_left_whole(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(13, os.strerror(13), str(self))

    monkeypatch.setattr(Path, "rename", refused)
    before = names(shared)
    (said,) = drop_half_entries(shared)
    assert f"{HALF}_store has no manifest and cannot be removed (Permission denied)" in said
    assert names(shared) == before
    assert (shared / f"{HALF}_store/data.zarr").is_dir()


def test_another_run_that_was_faster_is_no_fault(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def late(self: Path, target: Path) -> Path:
        shutil.rmtree(self)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert drop_half_entries(shared) == []
