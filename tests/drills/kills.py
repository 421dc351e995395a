"""SIGKILL at random moments of a run, and what the same command makes of it afterwards."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
from helpers_workflow import copy_project, snakemake, start_snakemake

from drills.outcome import Outcome, differing, digests, folders_with

RESULTS = Path("results/smoke")
# In a few jobs: training, tiles, a picture.
SHORT_TARGETS = (
    "fig_stragglers_1b",
    str(RESULTS / "analyses/prediction_space/distances_sloppy_train/manifest.json"),
)
# What is caught in the act, and what is made again so that it happens.
STAGES = {
    "training": "runs/stragglers/main",
    "a store": "runs/memorization/vgg16",
    "tiles": "analyses/prediction_space/distances_sloppy_train",
    "a figure": "figures/prediction_space/figS15",
}


def made_in(stage: str) -> Path:
    """The file that is there, relative to a project, when a stage is through."""
    path = RESULTS / STAGES[stage]
    return path.with_suffix(".png") if stage == "a figure" else path / "manifest.json"


# Training of all kinds, pruned runs, distances as tiles, embeddings, capacity, pictures.
TARGETS = ("fig_stragglers_2a", "fig_memorization_3A", "fig_prediction_space_S15")


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """All that a process started and that still runs; nothing once the process itself is gone."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def scripts_of(process: psutil.Process) -> list[str]:
    """Names of the rule scripts that run below Snakemake."""
    found = []
    for child in children_of(process):
        try:
            words = child.cmdline()[1:2]
        except psutil.Error:
            continue
        found += [Path(word).name.split(".")[1] for word in words if ".snakemake/scripts/" in word]
    return found


def unfinished_stores(project: Path) -> set[str]:
    """Stores that are there, but without a manifest."""
    folders = [path.parent for path in folders_with("data.zarr", project / RESULTS)]
    return {
        folder.relative_to(project / RESULTS).as_posix()
        for folder in folders
        if not (folder / "manifest.json").exists()
    }


def unsound_stores(project: Path) -> list[str]:
    """What is wrong with stores that count as finished, because their manifest is there."""
    from pipeline.store.reader import verify

    stores = folders_with("manifest.json", project / RESULTS)
    return [f"{store}: {one}" for store in stores for one in verify(store)]


def reached(stage: str, written: set[str], scripts: list[str]) -> bool:
    """Whether a run is in the stage that a kill waits for; written: stores that are being written."""
    if stage == "training":
        return "train_run" in scripts
    if stage == "a figure":
        return "plot_figure" in scripts
    kind = {"a store": "runs/", "tiles": "analyses/prediction_space/distances"}[stage]
    return any(name.startswith(kind) for name in written)


def kill_all(main: psutil.Process) -> None:
    """SIGKILL to Snakemake and all that it started, at once."""
    processes = [main, *children_of(main)]
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
    stage: str | None,
    delay: float,
) -> str | None:
    """Start a run and kill it; returns what it did then, None where it ended before.

    stage: what the kill waits for; None: nothing. delay: seconds after that, or after the start.
    """
    before = unfinished_stores(project)  # what an earlier kill left is not being written
    main = start_snakemake(project, targets, options=options)
    try:
        due = time.monotonic() + delay if stage is None else float("inf")
        while main.poll() is None:
            if due == float("inf"):
                written = unfinished_stores(project) - before
                if stage and reached(stage, written, scripts_of(main)):
                    due = time.monotonic() + delay
            if time.monotonic() > due:
                running = " and ".join(sorted(set(scripts_of(main)))) or "Snakemake alone"
                written = unfinished_stores(project) - before
                kill_all(main)
                return running + (", a store half written" if written else "")
            time.sleep(0.005)
    finally:
        kill_all(main)
    return None


def kill_drill(
    folder: Path,
    kills: int,
    seed: int,
    reference: dict[str, str],
    targets: tuple[str, ...] = TARGETS,
    *,
    exact: bool = True,
) -> Outcome:
    """Kill a run again and again, let it end, and compare it with one that was not killed.

    Half of the kills come at random moments of its normal course; the others wait for a stage (training,
    a store that is written, tiles, a figure) and come at a random moment of it. A kill counts as noticed
    where no store that is damaged or incomplete counts as finished afterwards.

    reference: results by ``outcome.digests`` of an uninterrupted run of the targets; not ``exact``: of more,
        and then what was there after a kill must be there in the end.
    """
    generator = random.Random(seed)  # noqa: S311
    project = copy_project(folder / "killed")
    caught: Counter[str] = Counter()
    sound = attempts = 0
    ended = False
    seen: set[str] = set()
    explained: str | None = None
    while caught.total() < kills:
        attempts += 1
        if attempts > 3 * kills:
            raise RuntimeError(f"only {caught.total()} of {kills} kills came before the run's end")
        number = caught.total()
        stage = None if number < kills - kills // 2 else list(STAGES)[number % len(STAGES)]
        again = made_in(stage or "training")
        forced = (stage or ended) and (project / again).is_file()
        options = ("--forcerun", str(again)) if forced else ()
        delay = generator.uniform(3.0, 12.0) if stage is None else generator.uniform(0.0, 0.5)
        what = killed_once(project, targets, options, stage, delay)
        ended = what is None  # then from the training on
        if ended:
            continue
        caught[what] += 1
        sound += not unsound_stores(project)
        seen |= digests(project / RESULTS).keys()
        if any((project / ".snakemake/locks").glob("*")):
            if explained is None:  # once is enough: it takes as long as a start
                explained = snakemake(project, *targets).text
            if snakemake(project, options=("--unlock",)).status:
                raise RuntimeError("the lock of a killed run could not be removed")
    if explained is None or "left by a run that was killed" not in explained:
        raise RuntimeError(f"the lock of a killed run is not explained: {explained}")
    said = snakemake(project, *targets)
    if said.status:
        raise RuntimeError(said.text[-3000:])
    made = digests(project / RESULTS)
    if not exact:
        known = (seen | made.keys()) & reference.keys()
        reference = {name: reference[name] for name in known}
    lost = differing(made, reference) + unsound_stores(project)
    moments = "; ".join(f"{what} {times}" for what, times in caught.most_common())
    return Outcome(
        *("SIGKILL of Snakemake and its jobs", caught.total(), sound),
        len(lost),
        f"after `--unlock` the same command ends with the same bits. Killed, of a run of three figures, "
        f"during: {moments}" + (f". Lost: {', '.join(lost)}" if lost else ""),
    )
