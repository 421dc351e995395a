"""A folder of this user's for what may be made again: compiled kernels, parsed files."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

NAME = "manifold-trajectories"


def user_cache(name: str) -> Path | None:
    """The folder ``name`` of the user's cache, else of the user's own part of the temporary folder.

    It is made where it is missing; None where neither can be written. A folder in the temporary folder that
    belongs to somebody else, or that others may write to, is passed over, as what lies in it is trusted.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # as its specification says
        home = os.path.join(os.path.expanduser("~"), ".cache")
    with contextlib.suppress(OSError):
        return _writable(Path(home) / NAME / name)
    with contextlib.suppress(OSError):
        own = _writable(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}")
        if _ones_own(own.lstat()):
            return _writable(own / name)
    return None


def _ones_own(status: os.stat_result) -> bool:
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not others


def _writable(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder
