"""Snakemake's lock of a folder is explained; a job runs in one process only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from helpers_programs import program
from helpers_scripts import logging_restored
from snakemake.persistence.file import FilePersistence

from pipeline import scripting
from pipeline.errors import PipelineError
from pipeline.execution import locks
from pipeline.execution.locks import (
    check_not_running,
    check_unused,
    lock_sentence,
    locks_of_others,
    release_own_locks,
    slurm_jobs_of,
)
from pipeline.scripting import only_process, running_file

SOURCES = Path(scripting.__file__).parents[1]
# A rule's script that ends once there is a file "end"; "child": meanwhile it has a forked child.
SCRIPT = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from pipeline.scripting import run

def main(snakemake):
    import logging
    if "child" in sys.argv and os.fork() == 0:
        os.close(2)  # whose end the test waits for
        Path("child").write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    logging.info("at work")
    while not Path("end").exists():
        time.sleep(0.01)
    logging.info("done")

run(SimpleNamespace(rule="train_run", log=["logs/one.log"]), main)
"""


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A folder with a lock of Snakemake's."""
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.output.lock").touch()
    return tmp_path


def wait_for(happened: Callable[[], object], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


@contextmanager
def other_snakemake(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of that name that runs in the folder."""
    script = folder / "snakemake"
    script.write_text("import time\ntime.sleep(60)\n")
    other = subprocess.Popen([sys.executable, str(script)], cwd=folder)
    try:
        yield other
    finally:
        other.kill()
        other.wait()


def test_a_lock_is_explained(tmp_path: Path) -> None:
    assert lock_sentence(tmp_path) is None
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    assert lock_sentence(tmp_path) is None
    (locks / "0.output.lock").touch()
    said = lock_sentence(tmp_path)
    assert said is not None
    assert "left by a run that was killed" in said
    assert "snakemake --unlock" in said
    with other_snakemake(tmp_path) as other:
        wait_for(lambda: f"process {other.pid}" in (lock_sentence(tmp_path) or ""))


def test_a_snakemake_of_another_user_is_not_taken_for_none(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: psutil.Process) -> str:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "cwd", denied)
    with other_snakemake(locked) as other:
        wait_for(lambda: str(other.pid) in (lock_sentence(locked) or ""))
        said = lock_sentence(locked) or ""
    assert "could not be seen" in said
    assert "no snakemake of this machine" not in said
    assert "snakemake --unlock" in said


def test_jobs_that_slurm_still_has_are_told_of(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = locked / ".snakemake/log"
    logs.mkdir()
    texts = {
        "a": "SLURM run ID: older-1\n",
        "b": "Using shell: bash\nSLURM run ID: mine_5d-7\nmore\n",
        "c": "Building DAG of jobs...\n",
    }
    for number, (name, text) in enumerate(texts.items()):
        path = logs / f"{name}.snakemake.log"
        path.write_text(text)
        os.utime(path, (number, number))
    tools = locked / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    assert slurm_jobs_of(locked) == {}  # no squeue
    program(tools, "squeue", 'echo "$@" > "$0.said"; echo mine_5d-7; echo mine_5d-7; echo older-1')
    assert slurm_jobs_of(locked) == {"mine_5d-7": 2, "older-1": 1}
    assert " --name older-1,mine_5d-7 " in (tools / "squeue.said").read_text()
    said = lock_sentence(locked) or ""
    assert "SLURM still has 3 job(s)" in said
    assert "`scancel --name mine_5d-7` and `scancel --name older-1`" in said
    # also where the run that is to delete results has just named jobs of its own
    (logs / "d.snakemake.log").write_text("SLURM run ID: newest-9\n")
    with pytest.raises(PipelineError, match=r"Nothing is deleted: SLURM still has 3 job\(s\)"):
        check_unused(locked, locked / "logs", False)
    for body in ("exit 0", "echo 17; exit 1"):  # none is left, no answer
        program(tools, "squeue", body)
        assert "scancel" not in (lock_sentence(locked) or "")


@contextmanager
def job(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The script above in a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def test_a_job_that_still_runs_refuses_a_second_one(tmp_path: Path) -> None:
    log = tmp_path / "logs/one.log"

    def text() -> str:
        return log.read_text() if log.exists() else ""

    with job(tmp_path, "child") as first:
        wait_for(lambda: "at work" in text() and (tmp_path / "child").exists())
        before = text()
        for _ in range(2):  # the refused one leaves the lock where it is
            with job(tmp_path) as second:
                said = second.communicate(timeout=60)[1]
            assert second.returncode == 1
            assert len(said.splitlines()) == 1
            assert said.startswith(f"train_run: process {first.pid} on ")
            assert "wait until it has ended, or stop it, then run the same command again." in said
        assert text() == before
        with pytest.raises(
            PipelineError, match=rf"process {first.pid} on \S+ still works on .*\.$"
        ):
            check_not_running([tmp_path / "other.log", log])
        with pytest.raises(PipelineError, match=r"again\. So it is with 1 more\.$"):
            check_not_running([log, log])
        first.kill()
        first.wait()
    child = psutil.Process(int((tmp_path / "child").read_text()))
    assert running_file(log).exists()
    check_not_running([log])
    try:
        (tmp_path / "end").touch()
        with job(tmp_path) as third:
            assert third.communicate(timeout=60)[1] == ""
        assert child.is_running()  # which does not hold what its parent had locked
    finally:
        child.send_signal(signal.SIGKILL)
    assert third.returncode == 0
    assert text().splitlines()[-1].endswith("done")
    assert not running_file(log).exists()


def test_a_lock_is_given_back_however_a_script_ends(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    for error in (None, PipelineError("no"), ValueError("no"), KeyboardInterrupt()):

        def main(snakemake: Any, error: BaseException | None = error) -> None:
            assert running_file(log).read_text().startswith(f"process {os.getpid()} on ")
            if error is not None:
                raise error

        try:
            with logging_restored():
                scripting.run(SimpleNamespace(rule="r", log=[str(log)]), main)
        except (SystemExit, KeyboardInterrupt):
            assert error is not None
        assert not running_file(log).exists()


def test_a_file_that_its_holder_removes_meanwhile_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "one.log"
    locking, opened = scripting.fcntl.flock, []

    def removed_first(file: Any, kind: int) -> None:
        if not opened:
            running_file(log).unlink()
        opened.append(file)
        locking(file, kind)

    monkeypatch.setattr(scripting.fcntl, "flock", removed_first)
    with only_process(log):
        assert len(opened) == 2
        assert os.path.samestat(running_file(log).stat(), os.fstat(opened[1].fileno()))


@pytest.mark.parametrize("number", sorted(scripting.LOCKLESS))
def test_without_locks_a_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(file: Any, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(scripting.fcntl, "flock", none)
    log = tmp_path / "one.log"
    with only_process(log), only_process(log):
        check_not_running([log])
    assert not running_file(log).exists()


def test_a_job_that_slurm_began_again_takes_the_lock_of_its_lost_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "train_run.log"
    with only_process(log):
        with pytest.raises(PipelineError, match="still works on this job"), only_process(log):
            pytest.fail("there are two")
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        # On the same machine the other process is alive.
        with pytest.raises(PipelineError, match="still works on this job"), only_process(log):
            pytest.fail("there are two")
        monkeypatch.setattr(scripting.socket, "gethostname", lambda: "another")
        with only_process(log):
            monkeypatch.delenv("SLURM_RESTART_COUNT")
            taken = running_file(log).stat().st_ino
            with pytest.raises(PipelineError, match="still works on this job"), only_process(log):
                pytest.fail("there are two")
            assert running_file(log).stat().st_ino == taken
    assert not running_file(log).exists()


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        (["/env/bin/python3.11", "/env/bin/snakemake", "--cores", "2"], True),
        (["python", "-m", "snakemake"], True),
        (["/usr/bin/python3", "-u", "-m", "snakemake"], True),
        (["snakemake", "-n"], True),
        (["tee", "snakemake.log"], False),
        (["vim", "snakemake"], False),
        (["python", ".snakemake/scripts/tmp1.train_run.py"], False),
        ([], False),
    ],
)
def test_which_processes_are_snakemakes(words: list[str], is_one: bool) -> None:
    assert locks._is_snakemake(words) == is_one


def test_nothing_is_deleted_while_somebody_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"
    check_unused(tmp_path, logs, False)
    (logs / "train_run").mkdir(parents=True)
    with only_process(logs / "train_run/one.log"):
        words = f"Nothing is deleted: process {os.getpid()} on .* still works on this job"
        with pytest.raises(PipelineError, match=words):
            check_unused(tmp_path, logs, False)
    check_unused(tmp_path, logs, False)
    monkeypatch.setattr(locks, "workers_in", lambda folder: ([17], []))
    with pytest.raises(PipelineError, match=r"Another snakemake \(process 17\) works in .*deleted"):
        check_unused(tmp_path, logs, False)
    monkeypatch.undo()
    with pytest.raises(
        PipelineError, match=r"Nothing is deleted: .* is locked by a run on another"
    ):
        check_unused(tmp_path, logs, True)


def test_a_run_that_ends_releases_its_own_lock_only(tmp_path: Path) -> None:
    """As rules/common.smk has it; with ``cleanup_locks``, which --unlock calls, all go."""
    folder = tmp_path / "locks"
    folder.mkdir()
    runs = [FilePersistence.__new__(FilePersistence) for _ in range(3)]
    for one, made in zip(runs, (["a"], ["b", "c"], []), strict=True):
        one._lockdir, one._lockfile = str(folder), {}
        one._write_locks("output", made)
    release_own_locks(runs[2])  # which makes nothing, and so locked nothing
    assert len(list(folder.iterdir())) == 2
    assert [len(locks_of_others(one)) for one in runs] == [1, 1, 2]
    release_own_locks(runs[1])
    assert [path.read_text() for path in folder.iterdir()] == ["a\n"]
    release_own_locks(runs[0])
    release_own_locks(runs[0])
    assert list(folder.iterdir()) == []
