"""Who works on a folder of results: a sentence in the place of Snakemake's guess about its lock."""

from __future__ import annotations

from pathlib import Path

import psutil


def workers_in(folder: Path) -> list[int]:
    """Process numbers of other Snakemake runs on this machine whose working folder is ``folder``."""
    found = []
    mine = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        named = any(Path(word).name.startswith("snakemake") for word in words[:4])
        if not named or process.info["pid"] in mine:
            continue
        try:
            if Path(process.cwd()) == folder.resolve():
                found.append(process.info["pid"])
        except (psutil.Error, OSError):
            continue
    return found


def lock_sentence(folder: Path) -> str | None:
    """Why a run cannot start in ``folder``, where it is locked; None where it is not.

    Tells a run that is alive from a lock that a killed one left. Runs on other machines that share the
    folder cannot be seen; the sentence says so.
    """
    locks = folder / ".snakemake" / "locks"
    if not locks.is_dir() or not any(locks.iterdir()):
        return None
    if workers := workers_in(folder):
        numbers = ", ".join(map(str, workers))
        return (
            f"Another snakemake (process {numbers}) works in {folder}. This one is refused where both make "
            "the same files: wait until the other ends, or work in another folder (--directory)."
        )
    return (
        f"{folder} is locked, but no snakemake of this machine works in it: the lock was left by a run that "
        "was killed. Unless one runs on another machine, say `snakemake --unlock` and then the same "
        "command again; what was finished is kept, and training goes on from its last state."
    )
