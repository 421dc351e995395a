"""Copies of the workflow to run in, and what Snakemake says about its jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import yaml
from helpers_fork import run_snakemake

ROOT = Path(__file__).resolve().parents[1]
# What is compiled in __pycache__ comes along: compiling all of it takes longer than a test.
PARTS = ("Snakefile", "config", "profiles", "slurm", "src", "workflow", "pyproject.toml")
# What a run makes; it is copied by cp, where it is not there yet.
MADE_PARTS = ("results", ".snakemake")
SMOKE = "scale=smoke"
SNAKEMAKE = (sys.executable, "-m", "snakemake")
SECONDS = 3000  # that a run may take
TRACEBACK = ("Traceback", 'File "')
NAMES = "paper|run|group|analysis|dataset|figure"  # wildcards; the last names what a job makes


@dataclass(frozen=True)
class Said:
    """What a Snakemake run printed (stdout and stderr), its exit status and seconds."""

    status: int
    text: str
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Number of jobs by rule, from the table of job statistics; empty if there are none."""
        table = re.search(r"^Job stats:\n.*\n[- ]+\n((?:\S+ +\d+\n)+)", self.text, re.MULTILINE)
        rows = re.findall(r"^(\S+) +(\d+)$", table[1], re.MULTILINE) if table else []
        return {rule: int(number) for rule, number in rows if rule != "total"}

    @property
    def jobs(self) -> set[str]:
        """Jobs that a dry run lists, as ``rule`` or ``rule/name`` (of a run, a group, ...)."""
        found = set()
        for block in re.split(r"^\[.*\]\n", self.text, flags=re.MULTILINE)[1:]:
            rule = re.match(r"(?:local)?rule (\w+):", block)
            name = re.search(rf"^    wildcards: .*\b(?:{NAMES})=(\S+)", block, re.MULTILINE)
            if rule:
                found.add(f"{rule[1]}/{name[1]}" if name else rule[1])
        return found


def copy_project(target: Path, source: Path = ROOT, parts: Sequence[str] = PARTS) -> Path:
    """The workflow below ``source`` copied to ``target``, times of change included."""
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        path = source / part
        if part in MADE_PARTS:  # thousands of files, to which nothing is written meanwhile
            subprocess.run(["cp", "-a", path, target / part], check=True)
        elif path.is_symlink():
            (target / part).symlink_to(os.readlink(path))
        elif path.is_dir():
            ignored = shutil.ignore_patterns("*.tmp.*", "*.pyc.*")
            shutil.copytree(path, target / part, symlinks=True, ignore=ignored)
        elif path.exists():
            shutil.copy2(path, target / part)
    return target


def command(targets: Sequence[str], config: Sequence[str], options: Sequence[str]) -> list[str]:
    """The command line of a Snakemake run at scale smoke on two cores."""
    base = [*SNAKEMAKE, *options]
    if "--cores" not in options:
        base += ["--cores", "2"]
    return [*base, "--config", SMOKE, *config, "--", *targets]


def environment() -> dict[str, str]:
    """The environment of a user's shell, which names neither a library nor a profile."""
    dropped = ("PYTHONPATH", "SNAKEMAKE_PROFILE")
    return {key: value for key, value in os.environ.items() if key not in dropped}


def start_snakemake(
    project: Path,
    targets: Sequence[str],
    config: Sequence[str] = (),
    options: Sequence[str] = (),
    output: int | IO[bytes] = subprocess.DEVNULL,
) -> psutil.Popen:
    """Snakemake in the background, in a session of its own; ``output``: where it says what it says."""
    return psutil.Popen(
        command(targets, config, options),
        cwd=project,
        env=environment(),
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def snakemake(
    project: Path, *targets: str, config: Sequence[str] = (), options: Sequence[str] = ()
) -> Said:
    """Run Snakemake in ``project``."""
    start = time.monotonic()
    arguments = command(targets, config, options)[len(SNAKEMAKE) :]
    status, text = run_snakemake(arguments, project, environment(), SECONDS)
    return Said(status, text, time.monotonic() - start)


def snakemake_by_command(project: Path, *targets: str, options: Sequence[str] = ()) -> Said:
    """The same as a user starts it, in a process of its own."""
    start = time.monotonic()
    done = subprocess.run(
        command(targets, (), options),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return Said(done.returncode, done.stdout, time.monotonic() - start)


def dry_run(
    project: Path, *targets: str, config: Sequence[str] = (), options: Sequence[str] = ()
) -> Said:
    """What Snakemake would run."""
    return snakemake(project, *targets, config=config, options=("-n", *options))


def settings(**runs: Mapping[str, Any]) -> str:
    """Value of ``--config`` that changes settings of runs."""
    given = {name: dict(values) for name, values in runs.items()}
    written = yaml.safe_dump({"runs": given}, default_flow_style=True, width=10**6, sort_keys=False)
    return f"stragglers={written.strip()}"


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace a text in a file for a while (an empty ``old``: append ``new``); then put it back."""
    content, status = path.read_text(), path.stat()
    if old not in content:
        raise ValueError(f"{path} does not hold {old!r}")
    try:
        path.write_text(content.replace(old, new, 1) if old else content + new)
        yield
    finally:
        path.write_text(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flip_bit(path: Path, position: int = -20) -> None:
    """Damage a file by one bit."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def chunk(folder: Path, name: str) -> Path:
    """A chunk file of an array of the store in ``folder``."""
    array = folder / "store" / "data.zarr" / name
    return next(
        path for path in sorted(array.rglob("*")) if path.is_file() and path.parent != array
    )
