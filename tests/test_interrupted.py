"""What a run was to make again and did not: notes of it, and the requests that bring it back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import interrupted
from pipeline.errors import PipelineError
from pipeline.interrupted import gone, gone_sentence, note
from pipeline.staleness import write_request, write_requests

CONFIG = {"depth": 2}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "requests/replaced.json"


def manifests(folder: Path, *names: str) -> list[str]:
    """Manifests that are there."""
    paths = [folder / name / "manifest.json" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return [str(path) for path in paths]


def test_what_is_gone_stays_noted_until_it_is_made(tmp_path: Path, record: Path) -> None:
    first, second, third = manifests(tmp_path, "first", "second", "third")
    note(record, [first, second, str(tmp_path / "never/manifest.json")])
    assert set(json.loads(record.read_text())) == {first, second}
    assert gone(record) == {}
    Path(first).unlink()
    began = gone(record)
    assert set(began) == {first}
    note(record, [third])  # another run, which does not need the first
    assert set(json.loads(record.read_text())) == {first, third}
    assert gone(record) == began
    note(record)  # that run has ended
    assert json.loads(record.read_text()) == began
    before = record.stat().st_mtime_ns
    note(record)
    assert record.stat().st_mtime_ns == before
    manifests(tmp_path, "first")
    note(record)
    assert not record.exists()
    assert gone(record) == {}
    note(record, [third])
    note(record)
    Path(third).unlink()  # by somebody, and no run was to make it again
    assert gone(record) == {}


def test_a_request_is_another_one_after_each_run_that_was_stopped(tmp_path: Path) -> None:
    request, manifest = tmp_path / "request.json", tmp_path / "manifest.json"
    write_request(request, manifest, CONFIG, "code")
    plain = request.read_text()
    contents = {plain}
    for began in ("2026-01-01", "2026-01-02"):
        os.utime(request, (1, 1))
        write_request(request, manifest, CONFIG, "code", began)
        assert request.stat().st_mtime > 1
        contents.add(request.read_text())
        os.utime(request, (1, 1))
        write_request(request, manifest, CONFIG, "code", began)
        assert request.stat().st_mtime == 1
    assert len(contents) == 3
    manifest.write_text(json.dumps({"provenance": {"config": CONFIG, "code": "code"}}))
    write_requests([(str(request), str(manifest), CONFIG, "code")], {})
    assert request.read_text() == plain
    assert request.stat().st_mtime < manifest.stat().st_mtime


def test_what_is_gone_is_told() -> None:
    assert gone_sentence([]) is None
    assert "had made these again: a. Where" in (gone_sentence(["a"]) or "")
    assert "had made these again: a and 2 more. Where" in (gone_sentence(["c", "a", "b"]) or "")


def test_notes_of_a_run_at_work_stay(tmp_path: Path, record: Path) -> None:
    first, second = manifests(tmp_path, "first", "second")
    note(record, [first])
    note(record, [second], alone=False)
    note(record, alone=False)
    assert set(json.loads(record.read_text())) == {first, second}
    Path(first).unlink()
    assert set(gone(record)) == {first}
    note(record)
    assert set(json.loads(record.read_text())) == {first}


@pytest.mark.parametrize("content", ["{", "[]", "7", "\xff"])
def test_a_damaged_record_is_one_sentence(record: Path, content: str) -> None:
    record.parent.mkdir()
    record.write_bytes(content.encode("latin-1"))
    for function in (gone, note):
        with pytest.raises(
            PipelineError, match=r"replaced.json cannot be read \(damaged\): delete"
        ):
            function(record)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise PermissionError(13, os.strerror(13), str(target))

    monkeypatch.setattr(interrupted.os, "replace", refused)
    with pytest.raises(
        PipelineError, match=r"replaced.json cannot be written \(Permission denied\)"
    ):
        note(record, manifests(tmp_path, "first"))
