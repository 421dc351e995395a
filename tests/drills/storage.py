"""Full disks, folders that cannot be written, flipped bits."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers_workflow import TRACEBACK, Said, copy_project, settings, snakemake

from drills.outcome import Impossible, Outcome, arrays_of

RESULTS = Path("results/smoke")
RUN = RESULTS / "runs/stragglers/main"
TARGET = str(RUN / "manifest.json")
DATA = str(RESULTS / "data/generated/manifest.json")  # of that run
# Long enough to fill a disk meanwhile; states are saved all the time.
LONG = (settings(main={"epochs": 200}), "compute={state_seconds: 0}")


@functools.cache
def uninterrupted() -> dict[str, dict[str, str]]:
    """Array -> SHA-256 of the run ``LONG`` that nothing interrupts and of its data, by target."""
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        whole = copy_project(Path(folder) / "whole")
        if (said := snakemake(whole, TARGET, config=LONG)).status:
            raise RuntimeError(said.text[-3000:])
        return {target: arrays_of(whole / target) for target in (DATA, TARGET)}


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Within: ``folder`` lies on a disk of its own of that size; raises Impossible where that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    _as_root(words)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _as_root(words: list[str]) -> None:
    if os.getuid() != 0:
        raise Impossible("mounting a disk needs root")
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    if said.returncode:
        raise Impossible(f"a disk cannot be mounted here ({said.stderr.strip()})")


def small_disk_drill(folder: Path) -> Outcome:
    """A disk that is too small from the start."""
    project = copy_project(folder / "small")
    with small_disk(project / "results", 3):
        said = snakemake(project, TARGET, config=LONG)
        refused = said.status == 1 and "free some space" in said.text
    return Outcome(
        *("disk too small for what is ahead", 1, int(refused and not _traceback(said.text)), 0),
        "refused before the first job, with what is needed and what is free",
    )


def full_disk_drill(folder: Path) -> Outcome:
    """A disk that fills while networks train."""
    project = copy_project(folder / "full")
    with small_disk(project / "results", 100):
        said = _filled_while_training(project)
        named = said.status == 1 and "No space left on device" in said.text
        accepted = (project / TARGET).exists()
        again = snakemake(project, TARGET, config=LONG)
        same = again.status == 0 and arrays_of(project / TARGET) == uninterrupted()[TARGET]
    return Outcome(
        *("disk full while networks train", 1, int(named and not _traceback(said.text))),
        int(accepted or not same),
        "the job fails with one sentence; with room again the same command ends with the same bits",
    )


def _filled_while_training(project: Path) -> Said:
    """Fill the disk once a state was saved; take the filling away when Snakemake has ended."""
    state = project / RESULTS / "state/stragglers/main"
    filler = project / "results/filler"
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(snakemake, project, TARGET, config=LONG)
        while not running.done() and not any(state.glob("*.pt")):
            time.sleep(0.02)
        with contextlib.suppress(OSError), open(filler, "wb") as file:
            while True:
                file.write(bytes(1 << 16))
        said = running.result()
    filler.unlink()
    return said


def unwritable_drill(folder: Path) -> Outcome:
    """Results in a folder that cannot be written."""
    project = copy_project(folder / "readonly")
    results = project / "results"
    with small_disk(results, 100):
        _as_root(["mount", "-o", "remount,ro", str(results)])
        said = snakemake(project, DATA)
        reason = r"^results/\S+ cannot be written \(Read-only file system\): results need a folder"
        named = said.status == 1 and re.search(reason, said.text, re.MULTILINE) is not None
        _as_root(["mount", "-o", "remount,rw", str(results)])
        again = snakemake(project, DATA)
    return Outcome(
        *("folder of results cannot be written", 1, int(named and not _traceback(said.text))),
        int(again.status != 0),
        "one sentence that names it; once it can, the same command works",
    )


def _traceback(text: str) -> bool:
    return any(word in text for word in TRACEBACK)


def flipped_bits_drill(folder: Path, results: Path, flips: int, seed: int) -> list[Outcome]:
    """Single bits flipped in files of finished stores: whoever reads the store must refuse it.

    results: results/<scale> of a finished run; stores are copied from it one at a time.
    """
    from pipeline.errors import StoreError
    from pipeline.store.reader import open_store, verify

    generator = random.Random(seed)  # noqa: S311
    stores = sorted(path.parent for path in results.rglob("manifest.json"))
    tried: Counter[str] = Counter()
    found: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for number in range(flips):
        source = generator.choice(stores)
        copy = folder / "store"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy, symlinks=False)
        manifests = [copy / "manifest.json"]
        files = [path for path in (copy / "store/data.zarr").rglob("*") if path.is_file()]
        kinds = {
            "a chunk": [path for path in files if path.name != "zarr.json"],
            "a store's metadata": [path for path in files if path.name == "zarr.json"],
            "a manifest": manifests,
        }
        kind = list(kinds)[number % len(kinds)]
        candidates = [path for path in kinds[kind] if path.stat().st_size]
        if not candidates:
            continue
        path = generator.choice(candidates)
        content = bytearray(path.read_bytes())
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        tried[kind] += 1
        found[kind] += _named(verify(copy), copy, path)
        try:
            open_store(copy).load()
        except StoreError:
            continue
        accepted[kind] += 1
    return [
        Outcome(
            *(f"a bit flipped in {kind}", tried[kind], found[kind], accepted[kind]),
            "`verify` names the store and the file or array; reading it is refused",
        )
        for kind in tried
    ]


def _named(problems: list[str], store: Path, path: Path) -> bool:
    """Whether what ``verify`` says names a damaged file of a store, or the array that the file is of."""
    if path == store / "manifest.json":
        return any(problem.startswith(f"{path} ") for problem in problems)
    root = store / "store/data.zarr"
    array = path.relative_to(root).parts[0]
    if array == "zarr.json":  # of the group
        return any(problem.startswith(f"{path} ") for problem in problems)
    return any(f"the array {array!r} in {root / array} " in problem for problem in problems)


def flipped_state_drill(folder: Path, flips: int, seed: int) -> Outcome:
    """Single bits flipped in the saved state of a training job: it must not be gone on from."""
    import torch

    from pipeline.training.resume import StateFile

    generator = random.Random(seed)  # noqa: S311
    path = folder / "state.pt"
    state = {"epoch": 3, "weights": torch.arange(1000.0)}
    StateFile(path, "key").save(state)
    whole = path.read_bytes()
    refused = 0
    for _ in range(flips):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        refused += StateFile(path, "key").load() is None
    return Outcome(
        *("a bit flipped in a saved state", flips, refused, flips - refused),
        "a line in the log; that training starts afresh",
    )
