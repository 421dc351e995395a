"""What a SLURM cluster is like: accounts, how long it remembers jobs, and what its partitions allow."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any, NamedTuple

from pipeline.errors import PipelineError

# Seconds between two questions for the state of jobs, at most (180 in Snakemake's executor), and a margin: an
# ended job that squeue has forgotten by then is waited for without end.
REMEMBERED_SECONDS = 240


class Partition(NamedTuple):
    """What jobs of a partition may have."""

    minutes: int | None  # a job's time limit; None: none, or not known
    generic: frozenset[str]  # names of its generic resources: gpu, shard, ...


def partition(name: str = "") -> Partition:
    """What SLURM says of a partition, or of several with commas between; ``""`` is the default one.

    Where there is no default, all count. Without SLURM nothing is known.
    """
    wanted = set(name.split(",")) - {""}
    rows = _partitions()
    chosen = [row for row in rows if row[0].rstrip("*") in wanted] if wanted else []
    if not wanted:
        chosen = [row for row in rows if row[0].endswith("*")] or rows
    limits = [minutes for _, limit, _ in chosen if (minutes := _minutes(limit)) is not None]
    words = ",".join(generic for _, _, generic in chosen).split(",")
    names = {word.partition(":")[0].partition("(")[0] for word in words}
    return Partition(min(limits, default=None), frozenset(names - {""}))


def _partitions() -> list[tuple[str, str, str]]:
    """(name, time limit, generic resources) of kinds of nodes; the default partition's name ends with *."""
    if shutil.which("sinfo") is None:
        return []
    command = ["sinfo", "--noheader", "--format=%P|%l|%G"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return []
    rows = [line.strip().split("|") for line in said.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _minutes(limit: str) -> int | None:
    """Minutes of a limit as SLURM writes it, [[days-]hours:]minutes:seconds; None where there is none."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):\d+", limit)
    if found is None:  # infinite
        return None
    days, hours, minutes = (int(number or 0) for number in found.groups())
    return days * 1440 + hours * 60 + minutes


def accounting_works() -> bool:
    """Whether ``sacct`` answers; without an accounting database it fails, or is not there."""
    if shutil.which("sacct") is None:
        return False
    command = ["sacct", "--noheader", "--allocations", "--starttime=now-1minutes"]
    try:
        said = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return False
    return said.returncode == 0


def remembered_seconds() -> int | None:
    """How long SLURM knows an ended job (MinJobAge of slurm.conf); None where it does not say."""
    from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age

    found: int | None = get_min_job_age()
    return found


def choose_status_command(settings: Any) -> tuple[str | None, bool]:
    """Let the executor ask for the state of jobs where SLURM answers, and rightly.

    Asking a ``sacct`` without its database loses jobs, and the workflow waits for them for ever; of the tasks
    of an array the executor asks sacct for numbers that are those of other tasks; and ``squeue`` knows ended
    jobs for a while only.

    settings: of Snakemake's SLURM executor; status_command is changed.
    Returns a sentence on what was changed, None where nothing was, and whether jobs may go out as arrays.
    Raises PipelineError where neither command will do.
    """
    works, arrays = accounting_works(), bool(getattr(settings, "array_jobs", None))
    if works and not arrays:
        return None, False
    seconds = remembered_seconds()
    known = "" if seconds is None else f" {seconds} s"
    # With fewer than three times its first wait the executor goes back from squeue to sacct by itself.
    first = getattr(settings, "init_seconds_before_status_checks", None) or 0
    needed = max(REMEMBERED_SECONDS, 3 * int(first))
    if seconds is not None and seconds >= needed:
        reason = (
            "Training jobs are sent as arrays"
            if works
            else "SLURM keeps no accounts here (sacct fails)"
        )
        settings.status_command = "squeue"
        return f"{reason}: the state of jobs comes from squeue.", arrays
    if works:
        settings.status_command = "sacct"
        return (
            f"SLURM forgets ended jobs too soon here (MinJobAge{known}, {needed} are needed): "
            "training jobs are sent one by one, not as arrays, and their state comes from sacct."
        ), False
    raise PipelineError(
        "SLURM keeps no accounts here (sacct fails) and forgets ended jobs too soon "
        f"(MinJobAge{known}), so that a workflow would wait for them for ever: ask for a MinJobAge of at "
        f"least {needed} s in slurm.conf (SLURM's default is 300), or for an accounting database."
    )
