"""What the workflow must know of SLURM: whether it keeps accounts, and why it ended a job."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

# The option by which the first task of an array of jobs hands the commands of the others on.
ARRAY_COMMANDS = "--slurm-jobstep-array-execs"
# What SLURM calls the end of a job that wanted more than it had asked for, and what it lacked.
LACKED = {"OUT_OF_MEMORY": "memory", "TIMEOUT": "time"}
SAID = {  # by slurmstepd in the job's output
    "OUT_OF_MEMORY": "exceeded (job|step) memory limit|oom[-_ ]kill",
    "TIMEOUT": "due to time limit",
}
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


def own_array_command(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """The command that a task of an array of jobs is to become; None in any other process.

    Snakemake's executor starts every task with the command of the array's first job and runs the task's own
    below it. Afterwards that first Snakemake looks for the outputs of the first job: a task that ends before
    it fails, and one that fails deletes what the first job made.

    Arguments
    ---------
    arguments: of this process, with the interpreter. environment: its variables.
    """
    task = environment.get("SLURM_ARRAY_TASK_ID")
    words = list(arguments)
    at = next((i for i, word in enumerate(words) if word.split("=")[0] == ARRAY_COMMANDS), None)
    if task is None or at is None:
        return None
    _, joined, given = words[at].partition("=")
    end = at + 1 if joined else at + 2
    try:
        payload = given if joined else words[at + 1]
        commands = json.loads(base64.b64decode(payload, validate=True))
        if task in commands:
            return ["/bin/sh", "-c", zlib.decompress(bytes.fromhex(commands[task])).decode()]
    except (IndexError, ValueError, TypeError, binascii.Error, zlib.error) as error:
        raise PipelineError(
            f"The commands of an array of jobs cannot be read from {ARRAY_COMMANDS} ({error}); this version "
            "of snakemake-executor-plugin-slurm writes them otherwise: install that of requirements.lock."
        ) from error
    return words[:at] + words[end:]


def most_tried_first(executor: type[Any]) -> None:
    """Let an array of jobs ask for what those of them ask for that were tried most often.

    The executor asks for what the first job of an array needs: one that ran out of memory and was sent again
    beside new ones would get no more than before.

    executor: class of Snakemake's SLURM executor; changed.
    """
    submit = executor.run_jobs

    def run_jobs(self: Any, jobs: Iterable[Any]) -> None:
        submit(self, sorted(jobs, key=lambda job: -job.attempt))

    executor.run_jobs = run_jobs


def check_quotes(settings: Any, arguments: Iterable[str]) -> None:
    """Raise PipelineError where a value of ``--config`` cannot reach the tasks of an array of jobs.

    The executor puts the command of an array between double quotes and leaves those within as they are.

    Arguments
    ---------
    settings: of Snakemake's executor. arguments: of --config, as they were written.
    """
    if not getattr(settings, "array_jobs", None):
        return
    for argument in arguments:
        if set(argument) & {"'", '"'}:
            raise PipelineError(
                f"--config {argument}: quotes within a value do not reach the jobs of an array on SLURM; "
                "leave them out, or write the values to a file and name it with --configfile."
            )


def choose_status_command(settings: Any) -> str | None:
    """Let the executor ask ``squeue`` for the state of jobs where ``sacct`` does not answer, or not rightly.

    settings: of Snakemake's SLURM executor, or of another one or None, which is left alone. Asking a
    ``sacct`` without its database loses jobs, and the workflow waits for them for ever; of the tasks of an
    array the executor asks sacct for numbers that are those of other tasks.
    Returns a sentence on what was changed; None where nothing was.
    """
    if getattr(settings, "status_command", None) != "sacct":
        return None
    if not accounting_works():
        reason = "SLURM keeps no accounts here (sacct fails)"
    elif getattr(settings, "array_jobs", None):
        reason = "Training jobs are sent as arrays"
    else:
        return None
    settings.status_command = "squeue"
    return (
        f"{reason}: the state of jobs comes from squeue, which needs a MinJobAge of some minutes in "
        "slurm.conf."
    )


def explained(log: str, logs: Path | None = None) -> list[str]:
    """One sentence for each job that SLURM stopped or refused for good, from the text of Snakemake's log.

    A job that was tried again appears once, with the number of its tries and what it had at the last; one
    that ended well at last does not appear. logs: folder of the jobs' own output, named by their numbers.
    """
    tries: dict[str, list[tuple[str, str]]] = {}
    numbers: dict[str, str] = {}
    asked: dict[str, str] = {}  # resources of each job's last submission
    head = r"^(Error in )?(?:local)?rule (\w+):?\n"
    parts = re.split(head, log, flags=re.MULTILINE)[1:]
    for failed, rule, block in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        number = _field(block, "jobid")
        if not failed:
            asked[number] = _field(block, "resources")
            continue
        if state := _state(block, logs):
            output = _field(block, "output").partition(",")[0]
            job = f"{rule} ({output})" if output else rule
            tries.setdefault(job, []).append((state, asked.get(number, "")))
            numbers[job] = number
    well = set(re.findall(r"^Finished jobid: (\d+)", log, re.MULTILINE))
    refused = re.findall(
        r"^SLURM sbatch failed\. The error message was '?(.*?)'?\.?$", log, re.MULTILINE
    )
    return [
        *(_sentence(job, states) for job, states in tries.items() if numbers[job] not in well),
        *(f"SLURM refused a job: {reason}." for reason in dict.fromkeys(refused)),
    ]


def _state(block: str, logs: Path | None) -> str | None:
    """How SLURM ended a job; without accounts it only says that it failed, and why in the job's output."""
    found = re.search(rf"SLURM status is: '({'|'.join(STATES)})", block)
    if found is None:
        return None
    if logs is not None and (number := _field(block, "external_jobid")):
        block += "".join(path.read_text() for path in sorted(logs.rglob(f"{number}.log")))
    for state, words in SAID.items():
        if re.search(words, block, re.IGNORECASE):
            return state
    return found[1]


def _field(block: str, name: str) -> str:
    """The value of a field of a job's block in the log; empty where there is none."""
    found = re.search(rf"^\s+{name}: (.*)$", block, re.MULTILINE)
    return found[1] if found else ""


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
    smaller = ""
    if rule.startswith("train_run") and key == "mem_mb":
        smaller = ", or train fewer networks at once (compute.ensemble_size)"
    return (
        f"{job}: SLURM stopped it {count} for want of {LACKED[state]}{last}; give it more with "
        f"--set-resources {rule}:{key}={more}{smaller}."
    )
