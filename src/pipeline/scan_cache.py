"""What fingerprints find in files, kept for the next process: parsing is most of the time they take, and each
job of a cluster asks for all of them. No more than a cache: it may be gone or damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

MOST = 4000  # entries; beyond it, those of the last process alone are kept


def read(path: Path) -> dict[str, Any]:
    """What earlier processes kept in a file: SHA-256 of a source file -> what was found in it."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text("utf-8"))
        if kept["sha256"] == _sha256(kept["scans"]):
            return dict(kept["scans"])
    return {}


def add(path: Path, new: dict[str, Any]) -> None:
    """Write new entries beside those that are there, whole or not at all, where the folder can be written."""
    if not new:
        return
    known = read(path)  # once more: other processes may have added theirs
    scans = known | new if len(known) + len(new) <= MOST else new
    part = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps({"sha256": _sha256(scans), "scans": scans}), "utf-8")
        os.replace(part, path)


def _sha256(scans: Any) -> str:
    return hashlib.sha256(json.dumps(scans, sort_keys=True).encode()).hexdigest()
