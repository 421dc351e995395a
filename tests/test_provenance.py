"""What a result was made with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from pipeline import provenance as module
from pipeline.errors import StoreError
from pipeline.provenance import CIRCUMSTANCES, commit, machine, provenance, split, versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


def test_record_is_deterministic_and_json() -> None:
    arguments = {"config": {"width": np.int64(20), "b": (1, 2)}, "code": "12ab", "threads": 2}
    record = provenance(**arguments, seeds={3: 1}, extra={"compiled": False})
    assert record == provenance(**arguments, seeds={3: 1}, extra={"compiled": False})
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["config"] == {"b": [1, 2], "width": 20}
    assert record["seeds"] == {"3": 1}
    assert record["extra"] == {"compiled": False}
    assert (record["code"], record["device"], record["threads"]) == ("12ab", "cpu", 2)
    assert platform.node() not in json.dumps(record) or not platform.node()


def test_record_does_not_follow_later_changes() -> None:
    config = {"runs": {"a": [1]}}
    record = provenance(config=config)
    config["runs"]["a"].append(2)
    assert record["config"] == {"runs": {"a": [1]}}


def test_values_that_json_lacks_are_refused() -> None:
    with pytest.raises(StoreError, match=r"provenance.config.rate is nan"):
        provenance(config={"rate": float("nan")})
    with pytest.raises(StoreError, match=r"provenance.extra.f is a function"):
        provenance(config={}, extra={"f": lambda: None})


def test_split_takes_the_circumstances_out() -> None:
    record = provenance(config={"a": 1})
    lasting, circumstances = split(record)
    assert set(circumstances) == set(CIRCUMSTANCES)
    assert lasting | circumstances == record
    assert not set(lasting) & set(circumstances)


def test_versions_without_imports() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["torch"] == version("torch")
    code = (
        "import sys, pipeline.provenance as module; module.provenance(config={});"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package"))
    assert versions()["no-such-package"] == "not installed"


def test_machine(tmp_path: Path) -> None:
    assert machine()["architecture"] == platform.machine()
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu avx2 fma amx_bf16\n\n"
        "processor\t: 1\nmodel name\t: another\nflags\t\t: fpu\n"
    )
    assert module._cpu(cpuinfo) == ("A CPU @ 2 GHz", {"fpu", "avx2", "fma", "amx_bf16"})
    cpuinfo.write_text("Features\t: fp asimd sve\n")
    assert module._cpu(cpuinfo)[1] == {"fp", "asimd", "sve"}
    assert module._cpu(tmp_path / "missing")[1] == set()


def test_commit_and_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "module.py"
    file.write_text("a = 1\n")
    unknown = {"commit": "unknown", "dirty": False}
    assert commit(file) == unknown  # no repository
    git(tmp_path, "init", "-q")
    assert commit(file) == unknown  # not tracked
    git(tmp_path, "add", "module.py")
    assert commit(file) == unknown  # no commit
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit(file) == {"commit": head, "dirty": False}
    (tmp_path / "untracked.py").write_text("")
    assert commit(file) == {"commit": head, "dirty": False}
    file.write_text("a = 2\n")
    assert commit(file) == {"commit": head, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert commit(file) == unknown  # no git
