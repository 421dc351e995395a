"""What a result was made with: configuration, seeds, versions, code, and the circumstances."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.store.manifest import plain

PACKAGES = ("numpy", "torch", "zarr", "xarray", "dask", "numba", "scipy")

CIRCUMSTANCES = ("commit", "dirty", "platform", "origin")
"""Keys that may differ between runs with identical results; they stay out of the manifest."""

_SIMD = (
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni"),
    *("amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "sve2", "bf16"),
)


def provenance(
    *,
    config: Mapping[str, Any],
    seeds: Mapping[str, Any] | None = None,
    code: str = "",
    device: str = "cpu",
    threads: int | None = None,
    extra: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The provenance of one result, in JSON's own types and with sorted keys.

    Arguments
    ---------
    config: the merged configuration that the result depends on, and no more: whatever else is in it
        changes the manifest and with it all that is computed from the result.
    seeds: names and numbers of the random streams used.
    code: ``pipeline.fingerprint.code_fingerprint`` of the rule's script.
    device: device that computed, such as ``cpu`` or the GPU's name.
    threads: compute threads; None where they do not matter.
    extra: anything else that the result depends on, such as whether training was compiled.

    origin: where the same content came from this time, such as the mirror of a data set.

    Returns config, seeds, versions, code, device, threads, extra, and the ``CIRCUMSTANCES``: commit
    and dirty (of the repository that holds this package), platform and origin.

    Raises StoreError for values that JSON cannot hold.
    """
    record = {
        "config": dict(config),
        "seeds": dict(seeds or {}),
        "versions": versions(),
        "code": code,
        "device": device,
        "threads": threads,
        "extra": dict(extra or {}),
        "platform": machine(),
        "origin": dict(origin or {}),
        **commit(Path(__file__)),
    }
    return plain(record, "provenance")


def split(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what identical results share, the circumstances) of a provenance record."""
    lasting = {key: value for key, value in record.items() if key not in CIRCUMSTANCES}
    return lasting, {key: record[key] for key in CIRCUMSTANCES if key in record}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute or store, without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Architecture, system, CPU model and SIMD extensions of this machine; not its name."""
    model, flags = _cpu()
    return {
        "architecture": platform.machine(),
        "system": platform.system(),
        "cpu": model,
        "simd": [flag for flag in _SIMD if flag in flags],
    }


def commit(file: Path) -> dict[str, Any]:
    """Commit of the git repository that tracks ``file``, and whether tracked files changed since.

    ``{"commit": "unknown", "dirty": False}`` without git, repository or commit.
    """
    try:
        # an installed copy may lie within some other project's repository, which does not track it
        _git(file, "ls-files", "--error-unmatch", file.name)
        head = _git(file, "rev-parse", "--verify", "HEAD")
        changed = _git(file, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {"commit": "unknown", "dirty": False}
    return {"commit": head.strip(), "dirty": bool(changed.strip())}


def _git(file: Path, *arguments: str) -> str:
    # variables such as GIT_DIR, set while a hook runs, would point to another repository
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(file.resolve().parent), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=30, env=environment
    )
    return done.stdout


def _cpu(path: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """Model name and feature flags; the flags are empty where the system has no /proc/cpuinfo."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown", set()
    entries: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    flags = entries.get("flags") or entries.get("Features") or ""
    return entries.get("model name") or platform.processor() or "unknown", set(flags.split())
