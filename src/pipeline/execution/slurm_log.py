"""Why SLURM ended or refused jobs, in one sentence each, from Snakemake's log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

# What SLURM calls the end of a job that wanted more than it had asked for, and what it lacked.
LACKED = {"OUT_OF_MEMORY": "memory", "TIMEOUT": "time"}
SAID = {  # by slurmstepd in the job's output
    "OUT_OF_MEMORY": "exceeded (job|step) memory limit|oom[-_ ]kill",
    "TIMEOUT": "due to time limit",
}
OF_ITSELF = "FAILED"  # a job that ended with an error of its own, which it tells itself
STATES = (*LACKED, "BOOT_FAIL", "CANCELLED", "DEADLINE", OF_ITSELF, "NODE_FAIL", "ERROR")
# How the executor tells that sbatch refused a job, or an array of them.
REFUSED = re.compile(
    r"SLURM sbatch failed(?: for array job submission \(tasks [^)]*\))?\. "
    r"The error message was '(.*?)'\.?$",
    re.MULTILINE | re.DOTALL,
)


def explained(
    log: str,
    logs: Path | None = None,
    allowed: Callable[[str], int | None] = lambda rule: None,
) -> list[str]:
    """One sentence for each job that SLURM stopped or refused for good, from the text of Snakemake's log.

    A job that was tried again appears once, with the number of its tries and what it had at the last; one
    that ended well at last does not appear.

    Arguments
    ---------
    logs: folder of the jobs' own output, named by their numbers.
    allowed: minutes that a job of a rule may take in the partition; None: any, or not known.
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
    refused = dict.fromkeys(" ".join(reason.split()) for reason in REFUSED.findall(log))
    return [
        *(
            _sentence(job, states, allowed)
            for job, states in tries.items()
            if numbers[job] not in well
        ),
        *(f"SLURM refused a job: {reason.rstrip('.')}." for reason in refused),
    ]


def _state(block: str, logs: Path | None) -> str | None:
    """How SLURM ended a job, None where the job failed by itself.

    Without accounts SLURM only says that it failed, and why in the job's output.
    """
    found = re.search(rf"SLURM status is: '({'|'.join(STATES)})", block)
    if found is None:
        return None
    if logs is not None and (number := _field(block, "external_jobid")):
        paths = sorted(logs.rglob(f"{number}.log"))
        block += "".join(path.read_text(errors="replace") for path in paths)
    for state, words in SAID.items():
        if re.search(words, block, re.IGNORECASE):
            return state
    return None if found[1] == OF_ITSELF else found[1]


def _field(block: str, name: str) -> str:
    """The value of a field of a job's block in the log; empty where there is none."""
    found = re.search(rf"^\s+{name}: (.*)$", block, re.MULTILINE)
    return found[1] if found else ""


def _sentence(
    job: str, states: list[tuple[str, str]], allowed_minutes: Callable[[str], int | None]
) -> str:
    """What happened to one job, and what to do."""
    state, asked = states[-1]
    count = f"{len(states)} time{'s' if len(states) > 1 else ''}"
    if state not in LACKED:
        return (
            f"{job}: SLURM ended it {count}, at last with {state}; its output is in "
            ".snakemake/slurm_logs/, and the same command tries it again."
        )
    key = {"memory": "mem_mb", "time": "runtime"}[LACKED[state]]
    found = re.search(rf"\b{key}=(\d+)", asked)
    had = int(found[1]) if found else None
    unit = {"mem_mb": "MB", "runtime": "minutes"}[key]
    last = f", at last with {had} {unit}" if had else ""
    rule = job.partition(" ")[0]
    give = f"give it more with --set-resources {rule}:{key}={2 * had if had else 'MORE'}"
    allowed = allowed_minutes(rule) if key == "runtime" else None
    if had and allowed is not None and 2 * had > allowed:
        # SLURM takes a job that asks for more, and never starts it.
        give = f"the partition allows {allowed} minutes"
        if had < allowed:
            give += f": give it these with --set-resources {rule}:{key}={allowed}"
        else:
            give += "; name one that allows more (slurm_partition in the profile)"
    if rule == "train_run":
        same = "the same command goes on from the state that was saved last"
        fewer = ", or train fewer networks at once (compute.ensemble_size)"
        give = f"{same}; or {give}" if key == "runtime" else give + fewer
    return f"{job}: SLURM stopped it {count} for want of {LACKED[state]}{last}; {give}."
