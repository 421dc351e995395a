"""What the workflow must know of SLURM: whether it keeps accounts, and why it ended a job."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

# What SLURM calls the end of a job that wanted more than it had asked for, and what it lacked.
LACKED = {"OUT_OF_MEMORY": "memory", "TIMEOUT": "time"}
STATES = (
    *LACKED,
    *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "ERROR"),
)


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


def choose_status_command(settings: Any) -> str | None:
    """Let the executor ask ``squeue`` for the state of jobs where ``sacct`` does not answer.

    settings: of Snakemake's SLURM executor, or of another one or None, which is left alone. Asking a
    ``sacct`` without its database loses jobs, and the workflow waits for them for ever.
    Returns a sentence on what was changed; None where nothing was.
    """
    if getattr(settings, "status_command", None) != "sacct" or accounting_works():
        return None
    settings.status_command = "squeue"
    return (
        "SLURM keeps no accounts here (sacct fails): the state of jobs comes from squeue, which needs a "
        "MinJobAge of some minutes in slurm.conf."
    )


def explained(log: str) -> list[str]:
    """One sentence for each job that SLURM stopped, from the text of Snakemake's log.

    A job that was tried again appears once, with the number of its tries and what it had at the last.
    """
    tries: dict[str, list[tuple[str, str]]] = {}
    for rule, block in re.findall(r"^Error in rule (\w+):?\n((?:[ \t]+.*\n?)*)", log, re.MULTILINE):
        state = re.search(rf"SLURM status is: '({'|'.join(STATES)})", block)
        outputs = re.search(r"^\s+output: (\S+?),?(?:\s|$)", block, re.MULTILINE)
        if state:
            job = f"{rule} ({outputs[1]})" if outputs else rule
            asked = re.search(r"^\s+resources: (.*)$", block, re.MULTILINE)
            tries.setdefault(job, []).append((state[1], asked[1] if asked else ""))
    return [_sentence(job, states) for job, states in tries.items()]


def _sentence(job: str, states: list[tuple[str, str]]) -> str:
    """What happened to one job, and what to do."""
    state, asked = states[-1]
    count = f"{len(states)} time{'s' if len(states) > 1 else ''}"
    if state not in LACKED:
        return (
            f"{job}: SLURM ended it {count}, at last with {state}; its output is in "
            ".snakemake/slurm_logs/, and the same command tries it again."
        )
    key = {"memory": "mem_mb", "time": "runtime"}[LACKED[state]]
    had = re.search(rf"\b{key}=(\d+)", asked)
    unit = {"mem_mb": "MB", "runtime": "minutes"}[key]
    last = f", at last with {had[1]} {unit}" if had else ""
    rule = job.partition(" ")[0]
    more = 2 * int(had[1]) if had else "MORE"
    return (
        f"{job}: SLURM stopped it {count} for want of {LACKED[state]}{last}; give it more with "
        f"--set-resources {rule}:{key}={more}, or train fewer networks at once "
        "(compute.ensemble_size)."
    )
