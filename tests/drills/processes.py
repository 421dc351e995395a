"""Two runs in one folder, locks that were left, jobs that would need more memory than there is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from helpers_workflow import TRACEBACK, copy_project, snakemake, start_snakemake

from drills.kills import children_of, kill_all, scripts_of
from drills.outcome import Outcome, arrays_of
from drills.storage import DATA, LONG, TARGET, uninterrupted


def two_runs_drill(folder: Path) -> Outcome:
    """A second Snakemake in a folder where one works, and one that is to delete results there."""
    project = copy_project(folder / "project")
    main = _started(project)
    # Paused, so that it does not end before the others have tried, however slow they are.
    with _paused([main, *children_of(main)]):
        snakemake(project, "disk_use")  # which unlocks nothing of the first
        locked = any((project / ".snakemake/locks").glob("*.lock"))
        second = snakemake(project, TARGET, config=LONG)
        deleting = snakemake(project, "clean_stragglers")
    told = "nothing is deleted meanwhile" in deleting.text
    both = (second, deleting)
    named = told and all(one.status == 1 and f"process {main.pid}" in one.text for one in both)
    clean = not any(word in one.text for one in both for word in TRACEBACK)
    status = main.wait(timeout=300)
    same = status == 0 and arrays_of(project / TARGET) == uninterrupted()[TARGET]
    return Outcome(
        *("two Snakemakes in one folder", 1, int(named and clean and locked), int(not same)),
        "the second, and `clean_stragglers`, are refused and told the first's process; that ends as if alone",
    )


@contextlib.contextmanager
def _paused(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it may have ended
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.resume()


def left_lock_drill(folder: Path, short: bool = False) -> Outcome:
    """A Snakemake in a folder where one was killed while it trained; ``short``: while it prepared data."""
    target, script = (DATA, "prepare_data") if short else (TARGET, "train_run")
    stale = copy_project(folder / "stale")
    main = _started(stale, target, script)
    kill_all(main)
    locked = snakemake(stale, target, config=LONG)
    explained = locked.status == 1 and "left by a run that was killed" in locked.text
    snakemake(stale, options=("--unlock",))
    again = snakemake(stale, target, config=LONG)
    same = again.status == 0 and arrays_of(stale / target) == uninterrupted()[target]
    return Outcome(
        *("a lock that a killed run left", 1, int(explained), int(not same)),
        "explained as left behind; `snakemake --unlock`, then the same command",
    )


def _started(project: Path, target: str = TARGET, script: str = "train_run") -> psutil.Popen:
    """Snakemake in the background, while it runs a script."""
    main = start_snakemake(project, [target], LONG, ["--cores", "1"])
    until = time.monotonic() + 120
    while script not in scripts_of(main):
        if main.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the first run did not come to {script}")
        time.sleep(0.02)
    return main


def memory_drill(folder: Path) -> Outcome:
    """Jobs that need more memory than they may have, in each trainer: refused before anything starts."""
    project = copy_project(folder / "memory")
    targets = (
        "fig_stragglers_1b",
        "fig_memorization_3A",
        "fig_prediction_space_2a",
    )
    detected = 0
    for target in targets:
        said = snakemake(project, target, config=("compute={memory_mb: 100}",))
        named = "MB of memory" in said.text and "compute.memory_mb = 100" in said.text
        lower = "or lower" in said.text
        clean = not any(word in said.text for word in TRACEBACK)
        started = any((project / "results").rglob("*.zarr"))
        detected += said.status == 1 and named and lower and clean and not started
    wide = ("compute={memory_mb: 1000000000}", "memorization={runs: {vgg16: {width: 60}}}")
    said = snakemake(project, targets[1], config=wide)
    named = "MB of memory, but there are" in said.text and "lower the run's size" in said.text
    started = any((project / "results").rglob("*.zarr"))
    detected += said.status == 1 and named and not started
    return Outcome(
        *(
            "a job that needs more memory than it may have, or there is",
            len(targets) + 1,
            detected,
            0,
        ),
        "refused before it starts, with the numbers and the keys to lower",
    )
