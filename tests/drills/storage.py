"""Full disks, folders that cannot be written, flipped bits."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from helpers_workflow import TRACEBACK, copy_project, settings, snakemake, start_snakemake

from drills.outcome import Impossible, Outcome, arrays_of

RESULTS = Path("results/smoke")
RUN = RESULTS / "runs/stragglers/main"
TARGET = str(RUN / "manifest.json")
# Long enough to fill a disk meanwhile; states are saved all the time.
LONG = (settings(main={"epochs": 200}), "compute={state_seconds: 0}")


@functools.cache
def uninterrupted() -> dict[str, str]:
    """Array -> SHA-256 of the run ``LONG`` that nothing interrupts."""
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        whole = copy_project(Path(folder) / "whole")
        if (said := snakemake(whole, TARGET, config=LONG)).status:
            raise RuntimeError(said.text[-3000:])
        return arrays_of(whole / TARGET)


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


def full_disk_drill(folder: Path) -> list[Outcome]:
    """A disk that is too small from the start, and one that fills while networks train."""
    project = copy_project(folder / "project")
    with small_disk(project / "results", 3):
        said = snakemake(project, TARGET, config=LONG)
        refused = said.status == 1 and "free some space" in said.text
        refused = refused and not _traceback(said.text)
    outcomes = [
        Outcome(
            *("disk too small for what is ahead", 1, int(refused), 0),
            "refused before the first job, with what is needed and what is free",
        )
    ]
    with small_disk(project / "results", 600):
        text, status = _filled_while_training(project)
        named = status == 1 and "No space left on device" in text and not _traceback(text)
        accepted = (project / TARGET).exists()
        said = snakemake(project, TARGET, config=LONG)
        same = said.status == 0 and arrays_of(project / TARGET) == uninterrupted()
    outcomes.append(
        Outcome(
            *("disk full while networks train", 1, int(named), int(accepted or not same)),
            "the job fails with one sentence; with room again the same command ends with the same bits",
        )
    )
    return outcomes


def _filled_while_training(project: Path) -> tuple[str, int]:
    """Fill the disk once a state was saved; take the filling away when Snakemake has ended."""
    log = project / "said.txt"
    with open(log, "wb") as output:
        main = start_snakemake(project, [TARGET], LONG, output=output)
        state = project / RESULTS / "state/stragglers/main"
        while main.poll() is None and not any(state.glob("*.pt")):
            time.sleep(0.02)
        filler = project / "results/filler"
        with contextlib.suppress(OSError), open(filler, "wb") as file:
            while True:
                file.write(bytes(1 << 16))
        status = main.wait(timeout=300)
    filler.unlink()
    return log.read_text(), status


def unwritable_drill(folder: Path) -> Outcome:
    """Results in a folder that cannot be written."""
    project = copy_project(folder / "readonly")
    results = project / "results"
    with small_disk(results, 600):
        _as_root(["mount", "-o", "remount,ro", str(results)])
        said = snakemake(project, TARGET)
        named = said.status == 1 and "results" in said.text and not _traceback(said.text)
        _as_root(["mount", "-o", "remount,rw", str(results)])
        again = snakemake(project, TARGET)
    return Outcome(
        *("folder of results cannot be written", 1, int(named), int(again.status != 0)),
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
        found[kind] += bool(verify(copy))
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
