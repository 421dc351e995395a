"""Who works on a folder of results: a sentence in the place of Snakemake's guess about its lock."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import PipelineError
from pipeline.scripting import running_file, still_running

SLURM_RUN = re.compile(r"SLURM run ID: ([\w.-]+)")  # as the executor says it in Snakemake's log
SQUEUE_SECONDS = 30
SLURM_RUNS = 100  # the last ones, by name, that squeue is asked for


def workers_in(folder: Path) -> tuple[list[int], list[int]]:
    """Process numbers of other Snakemake runs on this machine whose working folder is ``folder``.

    With them those of which it cannot be seen where they work, as they are another user's.
    """
    found, unseen = [], []
    mine = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["pid", "cmdline"]):
        if not _is_snakemake(process.info["cmdline"] or []) or process.info["pid"] in mine:
            continue
        try:
            if Path(process.cwd()) == folder.resolve():
                found.append(process.info["pid"])
        except psutil.AccessDenied:
            unseen.append(process.info["pid"])
        except (psutil.Error, OSError):
            continue
    return found, unseen


def _is_snakemake(words: list[str]) -> bool:
    """Whether a command line is Snakemake's: its script, or Python with that or its module."""
    program, *more = [Path(word).name for word in words[:4]] or [""]
    if program == "snakemake":
        return True
    return program.startswith("python") and "snakemake" in more


def slurm_jobs_of(folder: Path) -> dict[str, int]:
    """Names of the jobs that runs in ``folder`` sent to SLURM and that it still has, and how many of each.

    Empty where there are none, or SLURM does not answer.
    """
    if shutil.which("squeue") is None:
        return {}
    logs = sorted((folder / ".snakemake" / "log").glob("*.snakemake.log"), key=_age)
    found = [SLURM_RUN.search(log.read_text("utf-8", errors="replace")) for log in logs]
    names = list(dict.fromkeys(one[1] for one in found if one))[-SLURM_RUNS:]
    if not names:
        return {}
    command = ["squeue", "--noheader", "--array", "--name", ",".join(names), "--format", "%j"]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=SQUEUE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(Counter(said.stdout.split()))


def _age(log: Path) -> float:
    return log.stat().st_mtime


def _slurm_sentence(folder: Path) -> str | None:
    """On jobs that SLURM still has; None where there are none."""
    jobs = slurm_jobs_of(folder)
    if not jobs:
        return None
    stop = " and ".join(f"`scancel --name {name}`" for name in jobs)
    return (
        f"SLURM still has {sum(jobs.values())} job(s) of earlier runs here, which write results: first wait "
        f"until they have ended, or stop them with {stop}."
    )


def lock_sentence(folder: Path) -> str | None:
    """Why a run cannot start in ``folder``, where it is locked; None where it is not.

    Tells a run that is alive from a lock that a killed one left, and of the latter's jobs that SLURM still
    has. Runs on other machines that share the folder cannot be seen; the sentence says so.
    """
    locks = folder / ".snakemake" / "locks"
    if not locks.is_dir() or not any(locks.iterdir()):
        return None
    workers, unseen = workers_in(folder)
    if workers:
        return (
            f"Another snakemake ({_processes(workers)}) works in {folder}. This one is refused where both "
            "make the same files: wait until the other ends, or work in another folder (--directory)."
        )
    if unseen:
        who = (
            f"{folder} is locked. Where the snakemake of another user ({_processes(unseen)}) works could not "
            "be seen; if it is elsewhere, the lock was left by a run that was killed."
        )
    else:
        who = (
            f"{folder} is locked, but no snakemake of this machine works in it: the lock was left by a run "
            "that was killed."
        )
    jobs = _slurm_sentence(folder)
    alive = f" {jobs}" if jobs else ""
    other = "that one works here or one" if unseen else "one"
    return (
        f"{who}{alive} Unless {other} runs on another machine, say `snakemake --unlock` and then the same "
        "command again; what was finished is kept, and training goes on from its last state."
    )


def check_not_running(logs: Iterable[Path]) -> None:
    """Refuse jobs that still run, as the Snakemake that started them was killed.

    Each would refuse itself, see ``scripting.only_process``; but before that Snakemake deletes what it is to
    make, also where another process is writing it.

    Arguments
    ---------
    logs: of the jobs that are about to start.

    Raises PipelineError that names the process of the first one, and how many more there are.
    """
    found = [sentence for log in logs if (sentence := _running(running_file(log)))]
    if found:
        more = f" So it is with {len(found) - 1} more." if len(found) > 1 else ""
        raise PipelineError(found[0] + more)


def release_own_locks(persistence: Any) -> None:
    """End the lock of one run: in place of Snakemake's own way, which ends those of all runs in the folder.

    Else a run that makes nothing (``snakemake disk_use``) would unlock the folder under one that is at work.
    """
    for path in persistence._lockfile.values():
        Path(path).unlink(missing_ok=True)
    persistence._lockfile.clear()


def locks_of_others(persistence: Any) -> list[Path]:
    """Lock files in the folder that are not this run's; none where Snakemake keeps them in a database."""
    lockfiles = getattr(persistence, "_lockfile", None)
    if lockfiles is None:
        return []
    own = {Path(path).name for path in lockfiles.values()}
    return [path for path in Path(persistence._lockdir).glob("*.lock") if path.name not in own]


def check_unused(folder: Path, logs: Path, locked: bool) -> None:
    """Refuse to delete results below ``folder`` while a run works there, or jobs that one left.

    Snakemake's own lock keeps runs apart that make the same files, and deleting makes none.

    Arguments
    ---------
    logs: the folder of all jobs' logs. locked: whether another run has the folder locked.

    Raises PipelineError that names the processes, the lock or SLURM's jobs.
    """
    workers, _ = workers_in(folder)
    if workers:
        raise PipelineError(
            f"Another snakemake ({_processes(workers)}) works in {folder}: nothing is deleted meanwhile. "
            "Wait until it has ended, or stop it, then run the same command again."
        )
    for path in sorted(logs.rglob("*.running")):
        if sentence := _running(path):
            raise PipelineError(f"Nothing is deleted: {sentence}")
    if locked:
        raise PipelineError(
            f"Nothing is deleted: {folder} is locked by a run on another machine or of another user, or by "
            "one that was killed. Unless one is at work, say `snakemake --unlock` and then the same command "
            "again."
        )
    if sentence := _slurm_sentence(folder):
        raise PipelineError(f"Nothing is deleted: {sentence}")


def _running(path: Path) -> str | None:
    """The sentence on the process that has this file locked; None where there is no such process."""
    try:
        with open(path, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return still_running(file)
    except OSError:  # no such file, or a file system without locks
        return None
    return None


def _processes(numbers: list[int]) -> str:
    return f"process {', '.join(map(str, numbers))}"
