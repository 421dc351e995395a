"""What fingerprints find in files, kept for the next process: parsing is most of the time they take, and each
job of a cluster asks for all of them. No more than a cache: it may be gone or damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
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
    """Write new entries beside those that are there, whole or not at all, where the folder can be written.

    Of two processes that write at the same moment one may lose its entries.
    """
    known = read(path)  # once more: other processes may have added theirs
    if new.keys() <= known.keys():
        return
    scans = known | new if len(known) + len(new) <= MOST else new
    text = json.dumps({"sha256": _sha256(scans), "scans": scans})
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        part.write_text(text, "utf-8")
        os.replace(part, path)


def _sha256(scans: Any) -> str:
    return hashlib.sha256(json.dumps(scans, sort_keys=True).encode()).hexdigest()
