"""Data and trained runs shared between folders: SNAKEMAKE_OUTPUT_CACHE."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers_workflow import copy_project, settings, snakemake

pytestmark = pytest.mark.slow

RESULTS = Path("results/smoke")
RUN = RESULTS / "runs/stragglers/adam_0001"
TARGET = str(RUN / "manifest.json")
LOG = RESULTS / "logs/train_run/stragglers/adam_0001.log"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that Snakemake shares between workflows."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(folder))
    return folder


def test_a_second_folder_takes_data_and_runs_from_the_first(tmp_path: Path, cache: Path) -> None:
    first, second = (copy_project(tmp_path / name) for name in ("first", "second"))
    said = snakemake(first, TARGET, options=("--cache",))
    assert said.status == 0, said.text
    assert (first / LOG).read_text()
    made = (first / TARGET).read_bytes()

    said = snakemake(second, TARGET, options=("--cache",))
    assert said.status == 0, said.text
    assert not (second / LOG).read_text()  # nothing was trained
    assert (second / TARGET).read_bytes() == made
    assert (second / TARGET).resolve().is_relative_to(cache)
    # what follows reads them as its own, and they are whole
    inversion = "results/smoke/inversion/stragglers/adam_0001/manifest.json"
    said = snakemake(second, inversion, "verify")
    assert said.status == 0, said.text

    # another configuration is another entry
    changed = (settings(adam_0001={"learning_rate": 0.002}),)
    said = snakemake(second, TARGET, config=changed, options=("--cache",))
    assert said.status == 0, said.text
    assert (second / LOG).read_text()
    assert (second / TARGET).read_bytes() != made
    assert (first / TARGET).read_bytes() == made


def test_half_of_an_entry_and_a_damaged_one_are_mended(tmp_path: Path, cache: Path) -> None:
    """Snakemake keeps a manifest first and its store then, and may be killed between; others tidy up."""
    project = copy_project(tmp_path / "project")
    folder = project / RESULTS / "data/generated"
    target = str(RESULTS / "data/generated/manifest.json")
    assert snakemake(project, target, options=("--cache",)).status == 0
    made, kept = (project / target).read_bytes(), (folder / "store/data.zarr").resolve()
    assert kept.is_relative_to(cache)

    for half in ("store", "manifest"):
        if half == "store":
            shutil.rmtree(kept.parent)
        else:
            (project / target).resolve().unlink()
        shutil.rmtree(folder)
        assert snakemake(project, target, options=("--cache",)).status == 0
        assert snakemake(project, "verify").status == 0
        assert (project / target).read_bytes() == made
        assert (folder / "store/data.zarr").resolve() == kept
        assert [path.name for path in kept.parent.iterdir() if path.is_dir()] == ["data.zarr"]

    # its key is made of the request, too: what was interrupted is no other one there
    record, request = (
        RESULTS / "requests" / name for name in ("replaced.json", "data/generated.json")
    )
    before = (project / request).read_text()
    shutil.rmtree(folder)
    (project / record).write_text(json.dumps({target: "2026-01-01"}))
    said = snakemake(project, target, options=("--cache",))
    assert said.status == 0, said.text
    assert "had made these again" not in said.text
    assert (project / request).read_text() == before
    assert not (project / record).exists()
    assert (folder / "store/data.zarr").resolve() == kept

    chunk = max(kept.rglob("c/*"), key=lambda path: path.is_file() and path.stat().st_size)
    chunk.chmod(0o600)
    chunk.write_bytes(chunk.read_bytes()[:-1])
    said = snakemake(project, "verify")
    assert said.status == 1
    assert f"data/generated (kept in {kept.parent}): " in said.text
    # as README says
    shutil.rmtree(kept.parent)
    shutil.rmtree(folder)
    assert snakemake(project, target, options=("--cache",)).status == 0
    assert snakemake(project, "verify").status == 0
    assert (project / target).read_bytes() == made
