"""SIGKILL at random moments of a run, and what the same command makes of it afterwards."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from helpers_workflow import command, copy_project, environment, snakemake

from drills.outcome import Outcome, differing, digests

RESULTS = Path("results/smoke")
# Training of all kinds, pruned runs, distances as tiles, embeddings, capacity, pictures.
TARGETS = ("fig_stragglers_2a", "fig_memorization_3A", "fig_prediction_space_S15")
START_SECONDS = 120
# What is caught in the act, and what is made again so that it happens.
STAGES = {
    "training": "runs/stragglers/main",
    "a store": "runs/memorization/vgg16",
    "tiles": "analyses/prediction_space/distances_sloppy_train",
    "a figure": "figures/prediction_space/figS15",
}


def scripts_of(process: psutil.Process) -> list[str]:
    """Names of the rule scripts that run below Snakemake."""
    found = []
    for child in process.children(recursive=True):
        try:
            words = child.cmdline()[1:2]
        except psutil.Error:
            continue
        found += [Path(word).name.split(".")[1] for word in words if ".snakemake/scripts/" in word]
    return found


def unfinished_stores(project: Path) -> list[str]:
    """Stores that are being written: there, but without a manifest."""
    stores = (project / RESULTS).rglob("store/data.zarr")
    folders = [path.parents[1] for path in stores]
    return [
        folder.relative_to(project / RESULTS).as_posix()
        for folder in folders
        if not (folder / "manifest.json").exists()
    ]


def reached(stage: str, project: Path, scripts: list[str]) -> bool:
    """Whether a run is in the stage that a kill waits for."""
    if stage == "training":
        return "train_run" in scripts
    if stage == "a figure":
        return "plot_figure" in scripts
    kind = {"a store": "runs/", "tiles": "analyses/prediction_space/distances"}[stage]
    return any(name.startswith(kind) for name in unfinished_stores(project))


def kill_all(main: psutil.Process) -> None:
    """SIGKILL to Snakemake and all that it started, at once."""
    processes = [main, *main.children(recursive=True)]
    for one in processes:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=30)


def killed_once(
    project: Path,
    targets: tuple[str, ...],
    options: tuple[str, ...],
    moment: Callable[[psutil.Process, float], bool],
) -> tuple[str, bool]:
    """Start a run and kill it at a moment; returns what ran then, and whether it was killed at all."""
    main = psutil.Popen(
        command(targets, (), ["--cores", "2", *options]),
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    started = time.monotonic()
    while main.poll() is None:
        if moment(main, time.monotonic() - started):
            found = sorted(set(scripts_of(main)))
            writing = bool(unfinished_stores(project))
            kill_all(main)
            what = " and ".join(found) or "Snakemake alone"
            return what + (", a store half written" if writing else ""), True
        time.sleep(0.005)
    return "the end", False


def moment_of(
    stage: str | None, delay: float, project: Path
) -> Callable[[psutil.Process, float], bool]:
    """Whether it is time to kill: so many seconds after the start, or after a stage was reached."""
    ready: list[float] = []

    def moment(main: psutil.Process, seconds: float) -> bool:
        if stage is None:
            return seconds > delay
        if not ready and reached(stage, project, scripts_of(main)):
            ready.append(seconds)
        return bool(ready) and seconds > ready[0] + delay

    return moment


def kill_drill(
    folder: Path, kills: int, seed: int, reference: dict[str, str] | None = None
) -> Outcome:
    """Kill a run of ``TARGETS`` again and again, let it end, and compare it with one that was not killed.

    Half of the kills come at random moments of its normal course; the others wait for a stage (training,
    a store that is written, tiles, a figure) and come at a random moment of it.

    reference: results by ``outcome.digests`` of an uninterrupted run; made here where there is none.
    """
    generator = random.Random(seed)  # noqa: S311
    if reference is None:
        whole = copy_project(folder / "whole")
        said = snakemake(whole, *TARGETS)
        if said.status:
            raise RuntimeError(said.text[-3000:])
        reference = digests(whole / RESULTS)
    project = copy_project(folder / "killed")
    caught: Counter[str] = Counter()
    locked = ""
    for number in range(kills):
        stage = None if number < kills - kills // 2 else list(STAGES)[number % len(STAGES)]
        options: tuple[str, ...] = ()
        if stage and not (what := _manifest_or_picture(project, stage)).is_dir():
            options = ("--forcerun", str(what.relative_to(project))) if what.exists() else ()
        delay = generator.uniform(4.0, 14.0) if stage is None else generator.uniform(0.0, 0.8)
        moment = moment_of(stage, delay, project)
        what_ran, killed = killed_once(project, TARGETS, options, moment)
        if not killed:
            continue
        caught[what_ran] += 1
        if any((project / ".snakemake/locks").glob("*")):
            if not locked:  # once is enough: it takes as long as a start
                locked = snakemake(project, *TARGETS).text
            if snakemake(project, options=("--unlock",)).status:
                raise RuntimeError("the lock of a killed run could not be removed")
    said = snakemake(project, *TARGETS)
    checked = snakemake(project, "verify")
    lost = differing(digests(project / RESULTS), reference)
    if said.status or checked.status:
        raise RuntimeError((said.text + checked.text)[-3000:])
    if locked and "left by a run that was killed" not in locked:
        raise RuntimeError(f"the lock of a killed run is not explained: {locked[-1000:]}")
    count = sum(caught.values())
    moments = "; ".join(f"{what} {times}" for what, times in caught.most_common())
    return Outcome(
        "SIGKILL of Snakemake and its jobs",
        count,
        count,
        len(lost),
        f"after `--unlock` the same command ends with the same bits. Killed during: {moments}",
    )


def _manifest_or_picture(project: Path, stage: str) -> Path:
    """What is made again for a stage."""
    path = project / RESULTS / STAGES[stage]
    return path.with_suffix(".png") if stage == "a figure" else path / "manifest.json"
