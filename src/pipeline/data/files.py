"""Files of published data: checksums, and replacing a file only by a checked one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import DataError

STAGING_PREFIX = ".fetch-"


class Unavailable(DataError):
    """A source that does not have the data or does not answer: the next source is tried."""


class MissingEverywhere(DataError):
    """Data that no source has: what an optional data set may be stored without.

    ``name`` is the data set's; ``reason`` is one sentence that stays the same from try to try (the
    message also holds paths and what each source answered); ``substitute`` is the name of a data
    set that may stand in, or None.
    """

    def __init__(self, message: str, name: str, reason: str, substitute: str | None) -> None:
        super().__init__(message)
        self.name, self.reason, self.substitute = name, reason, substitute


class Altered(DataError):
    """A file that is not what was published; ``what`` is its message without the advice."""

    def __init__(self, path: Path, found: str) -> None:
        self.what = f"{path} is altered or truncated ({found})"
        super().__init__(
            f"{self.what}: delete it so that it is fetched again, "
            "or point data.root at a folder with a good copy."
        )


def md5_of_file(path: Path) -> str:
    """The md5 of a file (the only checksum that is published of the original files)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_array(array: np.ndarray) -> str:
    """The sha256 over an array's bytes in C order (shape and dtype are checked elsewhere)."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def require_md5(path: Path, expected: str) -> None:
    """Raise Altered unless the file's md5 is the published one."""
    found = md5_of_file(path)
    if found != expected:
        raise Altered(path, f"md5 {found} instead of the published {expected}")


def require_array(path: Path, array: np.ndarray, expected: str) -> None:
    """Raise Altered unless the array decoded from the file has the published bytes."""
    found = sha256_of_array(array)
    if found != expected:
        raise Altered(path, f"decoded sha256 {found} instead of {expected}")


@contextmanager
def refusing() -> Iterator[None]:
    """Turn an Altered file that was just fetched into Unavailable: the next source is tried."""
    try:
        yield
    except Altered as error:
        raise Unavailable(f"refused what was fetched: {error.what}") from error


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder`` (same file system, so that os.replace is atomic).

    Its path is absolute: pip and npm work in it and are told of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=folder.resolve()) as path:
        yield Path(path)


def install(staged: Path, target: Path) -> bool:
    """Move a checked file into place; one that is there already stays (reading it checks it)."""
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, target)
    return True
