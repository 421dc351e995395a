"""All drills: ``make drills``, or from tests/: ``python -m drills.run [--short] [--write FILE]``.

Exits with status 1 where a fault went unnoticed or something was lost. Drills on SLURM are
`make test-slurm`.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers_workflow import copy_project, snakemake

from drills.configs import config_drill
from drills.data import flipped_data_drill, interrupted_download_drill, pickle_drill
from drills.kills import RESULTS, SHORT_TARGETS, TARGETS, kill_drill
from drills.outcome import Impossible, Outcome, digests, table
from drills.processes import left_lock_drill, memory_drill, two_runs_drill
from drills.storage import (
    flipped_bits_drill,
    flipped_state_drill,
    full_disk_drill,
    small_disk_drill,
    unwritable_drill,
)

BEGIN, END = "<!-- drills:begin -->", "<!-- drills:end -->"
Result = Outcome | tuple[str, Impossible]


def drills(folder: Path, seed: int, short: bool) -> Iterator[Result]:
    """Carry out all drills, one after another."""
    targets = SHORT_TARGETS if short else TARGETS
    whole = copy_project(folder / "whole")
    if (said := snakemake(whole, *targets)).status:
        raise RuntimeError(said.text[-3000:])
    results = whole / RESULTS
    kills, flips, configs = (3, 60, 500) if short else (20, 600, 10_000)
    todo: list[tuple[str, Callable[[Path], Outcome | list[Outcome]]]] = [
        ("kills", lambda path: kill_drill(path, kills, seed, digests(results), targets)),
        ("a disk that is too small", small_disk_drill),
        ("a disk that fills", full_disk_drill),
        ("unwritable folder", unwritable_drill),
        ("flipped bits", lambda path: flipped_bits_drill(path, results, flips, seed)),
        ("a flipped bit in a saved state", lambda path: flipped_state_drill(path, flips, seed)),
        ("a flipped bit in data", lambda path: flipped_data_drill(path, flips, seed)),
        (
            "an interrupted download",
            lambda path: interrupted_download_drill(path, flips // 10, seed),
        ),
        ("pickles", pickle_drill),
        ("two runs", two_runs_drill),
        ("a lock left behind", left_lock_drill),
        ("memory", memory_drill),
        ("configurations", lambda path: config_drill(configs, seed)),
    ]
    for name, drill in todo:
        path = folder / name.replace(" ", "_")
        path.mkdir()
        started = time.monotonic()
        try:
            found = drill(path)
        except Impossible as reason:
            yield name, reason
            continue
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        yield from [found] if isinstance(found, Outcome) else found


def write_table(path: Path, text: str) -> None:
    """Put the table between its marks in a page."""
    page = path.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few kills and configurations")
    parser.add_argument("--write", type=Path, help="the page whose table is written")
    parser.add_argument("--seed", type=int, default=2303)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # one for each of hundreds of flipped bits
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        found = list(drills(Path(folder), given.seed, given.short))
    minutes = (time.monotonic() - started) / 60
    text = (
        f"`{'python -m drills.run --short' if given.short else 'make drills'}`, seed {given.seed}, "
        f"{minutes:.0f} minutes, {platform.system()} {platform.machine()}.\n\n{table(found)}"
    )
    print(text)
    if given.write:
        write_table(given.write, text)
    return 0 if all(one.passed for one in found if isinstance(one, Outcome)) else 1


if __name__ == "__main__":
    sys.exit(main())
