"""What training jobs ask SLURM for, and how they are sent: as arrays of jobs that ask for the same.

Snakemake's executor (snakemake-executor-plugin-slurm 2.8) sends what it is given of a rule as one array,
which asks for what its first job asks for and starts every task with the first job's command.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import PipelineError
from pipeline.estimate import Estimate

# The option by which the first task of an array of jobs hands the commands of the others on.
ARRAY_COMMANDS = "--slurm-jobstep-array-execs"
ARGUMENT_BYTES = 131_072  # of one argument of a command, on Linux
TASK_BYTES = 3000  # of one task's command in that option, without --config; measured: 2600
UNSENT = "'\"`$\\"  # what a shell would not leave as it is between double quotes


def training_request(cost: Estimate, speedup: float = 1.0) -> tuple[int, int]:
    """Memory (MB) and time (minutes) that the first try of a training job asks for.

    Both are rounded up to powers of two, so that jobs of about the same size ask for the same and go out
    as one array.

    Arguments
    ---------
    cost: as estimated for the CPU. speedup: of a GPU over that, where the job asks for one.
    """
    minutes = cost._replace(seconds=cost.seconds / speedup).minutes
    return _power_of_two(cost.memory_mb), _power_of_two(minutes)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def by_request(jobs: Iterable[Any]) -> list[list[Any]]:
    """Jobs that may go out together: of one rule, asking for the same. Groups of jobs stay alone.

    jobs: of Snakemake, with rule, resources, is_group.
    """
    found: dict[Any, list[Any]] = {}
    for number, job in enumerate(jobs):
        key: Any = number
        if not job.is_group():
            asked = {name: str(value) for name, value in job.resources.items() if name != "tmpdir"}
            key = (job.rule.name, *sorted(asked.items()))
        found.setdefault(key, []).append(job)
    return list(found.values())


def send_by_request(plugin: Any, arrays: bool) -> None:
    """Let the executor send arrays of jobs that ask for the same, and every job as soon as it may start.

    By itself it lets a job that is tried again with more memory have what a new one asks for. And where
    Snakemake limits how many jobs start at a time, it puts jobs back until further ones are there, which
    never come.

    Arguments
    ---------
    plugin: the module of the executor; changed. arrays: whether arrays may be sent at all.
    Raises PipelineError where the executor is another one than known here.
    """
    if not hasattr(plugin, "pending_jobs_for_rule"):
        raise PipelineError(
            "This version of snakemake-executor-plugin-slurm sends jobs in a way that is not known here: "
            "install that of requirements.lock."
        )
    plugin.pending_jobs_for_rule = lambda dag, rule: 0  # none to wait for
    send = plugin.Executor.run_jobs

    def run_jobs(self: Any, jobs: Iterable[Any]) -> None:
        if not arrays:
            self.array_jobs = set()
        for alike in by_request(jobs):
            send(self, alike)

    plugin.Executor.run_jobs = run_jobs


def own_array_command(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """The command that a task of an array of jobs is to become; None in any other process.

    The executor runs the task's own command below that of the first job. Afterwards that first Snakemake
    looks for the outputs of the first job: a task that ends before it fails, and one that fails deletes what
    the first job made.

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


def check_values(settings: Any, arguments: Sequence[str]) -> None:
    """Raise PipelineError where ``--config`` cannot reach the tasks of an array of jobs.

    The executor puts the command of an array between double quotes and leaves what is within as it is, and
    all tasks' commands, compressed one by one, into one argument.

    Arguments
    ---------
    settings: of Snakemake's executor. arguments: of --config, as they were written.
    """
    if not getattr(settings, "array_jobs", None):
        return
    for argument in arguments:
        if found := [sign for sign in UNSENT if sign in argument]:
            raise PipelineError(
                f"--config {argument}: {' '.join(found)} within a value does not reach the jobs of an array "
                "on SLURM; leave it out, or write the values to a file and name it with --configfile."
            )
    # hexadecimal digits of each, and these once more in base 64
    each = 2 * 4 / 3 * len(zlib.compress(" ".join(arguments).encode(), level=9))
    tasks = int(settings.array_limit)
    if tasks * (TASK_BYTES + each) > ARGUMENT_BYTES:
        raise PipelineError(
            f"--config has too much in it for the commands of {tasks} jobs of an array on SLURM: write the "
            "values to a file and name it with --configfile, or lower slurm-array-limit in the profile."
        )
