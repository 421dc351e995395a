"""How much memory jobs on this machine may have."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

GROUPS = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")


def memory_limit(groups: Path = GROUPS, mounted: Path = MOUNTED) -> int:
    """Bytes of memory that processes here may have together.

    That is the machine's, or less where a container or a job of SLURM is limited: by its own control group,
    or by one that this one is part of (cgroup v1 and v2 of Linux).

    Arguments
    ---------
    groups: file with the control groups of this process. mounted: folder of all groups.
    """
    return min([psutil.virtual_memory().total, *_limits(groups, mounted)])


def _limits(groups: Path, mounted: Path) -> list[int]:
    found = []
    lines = groups.read_text("utf-8").splitlines() if groups.is_file() else []
    for line in lines:
        number, kinds, group = line.split(":", 2)
        if number == "0" and not kinds:
            root, name = mounted, "memory.max"
        elif "memory" in kinds.split(","):
            root, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / group.strip("/")
        for folder in (own, *own.parents):
            with contextlib.suppress(OSError, ValueError):  # no such file; "max" is no number
                found.append(int((folder / name).read_text("ascii")))
            if folder == root:
                break
    return found
