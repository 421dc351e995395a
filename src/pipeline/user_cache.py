"""A folder of this user's for what may be made again: compiled kernels, parsed files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

NAME = "manifold-trajectories"


def user_cache(name: str) -> Path:
    """The folder ``name`` of the user's cache, else of the user's own part of the temporary folder.

    It is made where it is missing. One in the temporary folder that belongs to somebody else is passed over,
    as what lies in it is trusted. Where neither can be written, it is a new one each time.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    with contextlib.suppress(OSError):
        return _writable(Path(home) / NAME / name)
    with contextlib.suppress(OSError):
        own = _writable(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}")
        if own.stat().st_uid == os.getuid():
            return _writable(own / name)
    return Path(tempfile.mkdtemp())


def _writable(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder
