"""What killed jobs were about to replace, from Snakemake's records; half entries of what it shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from snakemake.persistence.file import FilePersistence

from pipeline.errors import PipelineError
from pipeline.staleness import drop_half_entries, renew_interrupted
from pipeline.store.reader import verify

RESULTS = Path("results/smoke")


def record(folder: Path, output: str, before: bool = True) -> None:
    """As Snakemake writes it where a job starts; ``before``: of what a job ended with once."""
    writer = FilePersistence.__new__(FilePersistence)
    writer._max_len = None
    for kind in ("incomplete", "metadata")[: 1 + before]:
        marks = folder / ".snakemake" / kind
        marks.mkdir(parents=True, exist_ok=True)
        path = Path(writer._record_path(str(marks), output))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"external_jobid": null}')


def test_only_results_that_are_gone_are_marked(tmp_path: Path) -> None:
    assert renew_interrupted(tmp_path, RESULTS) == []
    long = (
        RESULTS / "runs" / ("a" * 150) / ("b" * 150) / "manifest.json"
    )  # a record in several pieces
    gone = [
        RESULTS / "claims/stragglers.json",
        RESULTS / "runs/stragglers/main/manifest.json",
        long,
    ]
    there = RESULTS / "runs/stragglers/adam/manifest.json"
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_text("{}")
    others = (RESULTS / "runs/stragglers/main/store", RESULTS / "figures/fig1.png", "other.json")
    for output in (*gone, there, *others, "results/laptop/runs/a/manifest.json"):
        record(tmp_path, str(output))
    record(tmp_path, str(RESULTS / "runs/stragglers/never/manifest.json"), before=False)
    for kind in ("incomplete", "metadata"):
        (tmp_path / ".snakemake" / kind / "migration_underway").touch()
    assert sorted(renew_interrupted(tmp_path, RESULTS)) == sorted(gone)
    assert all((tmp_path / path).read_bytes() == b"" for path in gone)
    assert (tmp_path / there).read_text() == "{}"
    made = {path for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert made == {tmp_path / path for path in (*gone, there)}
    assert renew_interrupted(tmp_path, RESULTS) == []
    (problem,) = verify(tmp_path / gone[1].parent)
    assert "manifest.json is empty, as the job that makes the store was stopped: delete" in problem


def test_while_a_run_is_at_work_nothing_is_marked(tmp_path: Path) -> None:
    record(tmp_path, str(RESULTS / "claims/stragglers.json"))
    lock = tmp_path / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir()
    lock.touch()
    assert renew_interrupted(tmp_path, RESULTS) == []
    lock.unlink()
    assert len(renew_interrupted(tmp_path, RESULTS)) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, str(RESULTS / "claims/stragglers.json"))

    def refused(self: Path, *arguments: object, **named: object) -> None:
        raise PermissionError(13, os.strerror(13), str(self))

    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(
        PipelineError, match=r"stragglers.json cannot be written \(Permission denied\)"
    ):
        renew_interrupted(tmp_path, RESULTS)


def test_only_shared_stores_without_a_manifest_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, half, manifest_only = ("a" * 64, "b" * 64, "c" * 64)
    for name in (f"{whole}_store", f"{half}_store", "my_store", f"{half}"):
        (tmp_path / name / "data.zarr").mkdir(parents=True)
    for name in (f"{whole}_manifest.json", f"{manifest_only}_manifest.json"):
        (tmp_path / name).touch()
    before = {path.name for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:

        def refused(path: Path) -> None:
            raise PermissionError(13, os.strerror(13), str(path))

        patch.setattr("shutil.rmtree", refused)
        with pytest.raises(
            PipelineError, match=r"b_store .* cannot be removed \(Permission denied\)"
        ):
            drop_half_entries(tmp_path)
    assert drop_half_entries(tmp_path) == [tmp_path / f"{half}_store"]
    assert {path.name for path in tmp_path.iterdir()} == before - {f"{half}_store"}
    assert drop_half_entries(tmp_path) == drop_half_entries(tmp_path / "nowhere") == []
