"""What fingerprints find in files is kept for other processes, and for them alone who may use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import fingerprint, scan_cache


def test_processes_add_to_what_others_kept(tmp_path: Path) -> None:
    file = tmp_path / "scans.json"
    scan_cache.add(file, {"a": ["1", []]})
    scan_cache.add(file, {"b": ["2", []]})
    assert scan_cache.read(file) == {"a": ["1", []], "b": ["2", []]}
    scan_cache.add(file, {})
    assert sorted(scan_cache.read(file)) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["scans.json"]


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_cache, "MOST", 2)
    file = tmp_path / "scans.json"
    scan_cache.add(file, {"a": 1, "b": 2})
    scan_cache.add(file, {"c": 3})
    assert scan_cache.read(file) == {"c": 3}


def test_altered_entries_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "scans.json"
    scan_cache.add(file, {"a": ["1", []]})
    kept = json.loads(file.read_text())
    kept["scans"]["a"][0] = "2"
    file.write_text(json.dumps(kept))
    assert scan_cache.read(file) == {}


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    scan_cache.add(tmp_path / "missing" / "scans.json", {"a": 1})
    assert scan_cache.read(tmp_path / "missing" / "scans.json") == {}


def test_another_version_of_the_module_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = fingerprint._scans_file()
    changed = tmp_path / "fingerprint.py"
    changed.write_text(Path(fingerprint.__file__).read_text() + "\n")
    monkeypatch.setattr(fingerprint, "__file__", str(changed))
    after = fingerprint._scans_file()
    assert before is not None
    assert after is not None
    assert before.parent == after.parent
    assert before != after


def test_what_a_process_parsed_is_there_for_the_next(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline import fingerprint\n"
        "fingerprint.code_fingerprint(Path(sys.argv[1]))\n"
        "print(len(fingerprint._new_scans))\n"
    )
    script = Path(fingerprint.__file__).parent / "store" / "writer.py"
    parsed = [
        subprocess.run(
            [sys.executable, "-c", program, str(script)],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    ]
    assert int(parsed[0]) > 5
    assert int(parsed[1]) == 0
