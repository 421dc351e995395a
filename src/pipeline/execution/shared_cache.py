"""The folder in which Snakemake shares data and runs between folders (SNAKEMAKE_OUTPUT_CACHE)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path


def shared_folder() -> Path | None:
    """The folder that Snakemake is told to share with, or None."""
    named = os.environ.get("SNAKEMAKE_OUTPUT_CACHE")
    return Path(named) if named else None


def drop_half_entries(shared: Path) -> list[str]:
    """Remove stores of ours without a manifest; returns a sentence on each that cannot be removed.

    Snakemake moves an output to where its name is in that folder: a new store would end up inside the one
    that is there. It keeps the manifest first, as the rules name it first; so a store that is just being kept
    has one, and half an entry of the other kind is no obstacle.

    Arguments
    ---------
    shared: may be missing.
    """
    refused = []
    for store in sorted(shared.glob("*_store")):
        key = store.name.removesuffix("_store")  # a SHA-256
        ours = re.fullmatch(r"[0-9a-f]{64}", key) and (store / "data.zarr").is_dir()
        if not ours or (shared / f"{key}_manifest.json").exists():
            continue
        try:
            # whole or not at all, also where another run does the same
            store.rename(shared / f"half-{key}-{os.getpid()}")
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(
                f"{store} has no manifest and cannot be removed ({error.strerror}): until somebody removes "
                "it, what is made anew is not shared."
            )
    for aside in shared.glob("half-*"):  # also of a run that was killed here
        if re.fullmatch(r"half-[0-9a-f]{64}-[0-9]+", aside.name):
            shutil.rmtree(aside, ignore_errors=True)
    return refused
