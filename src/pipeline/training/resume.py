"""The saved state of a training job that was interrupted.

A state is written atomically, carries a checksum (torch reads a flipped bit as another number), a key
(what is being trained, by which code) and a format, and is read without unpickling anything but tensors
and plain values. A state that does not fit is ignored, with a line in the log: the job then starts afresh.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import pickle
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import TrainingError

FORMAT = 2
DIGEST = hashlib.sha256
SIZE = DIGEST().digest_size  # bytes before the state itself
log = logging.getLogger(__name__)


class StateFile:
    """Where one job keeps its state, and how often it saves it."""

    def __init__(self, path: Path, key: str, seconds: float = 60.0):
        self.path, self.key, self.seconds = Path(path), key, seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether ``seconds`` have passed since the last save."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, state: dict[str, Any], on_disk: bool = True) -> None:
        """Replace the saved state; a kill at any moment leaves the old one or the new one.

        on_disk: wait until it is there, so that it outlasts a failure of the machine as well.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        content = io.BytesIO()
        torch.save({"format": FORMAT, "key": self.key, "state": state}, content)
        try:
            with open(temporary, "wb") as file:
                file.write(DIGEST(content.getbuffer()).digest())
                file.write(content.getbuffer())
                file.flush()
                if on_disk:
                    os.fsync(file.fileno())
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state if it belongs to this job, else None."""
        if not self.path.is_file():
            return None
        try:
            content = self.path.read_bytes()
            if DIGEST(memoryview(content)[SIZE:]).digest() != content[:SIZE]:
                raise ValueError("its sha256 differs")
            saved = torch.load(io.BytesIO(content[SIZE:]), weights_only=True, map_location="cpu")
            fits = saved["format"] == FORMAT and saved["key"] == self.key
        except Exception as error:  # a damaged file may fail in any way; it is only a cache
            reason = str(error).partition("\n")[0]
            if isinstance(error, pickle.UnpicklingError):
                # torch's own words say how to load it all the same
                reason = "it holds more than tensors and plain values"
            log.warning("the saved state %s is unreadable (%s); starting afresh", self.path, reason)
            return None
        if not fits:
            log.warning("the saved state %s belongs to another job; starting afresh", self.path)
            return None
        return saved["state"]

    def remove(self) -> None:
        """Forget the state."""
        self.path.unlink(missing_ok=True)


class PartFiles:
    """Numbered files that a state refers to, such as records.

    They outlast a kill as soon as they are written. ``sync``, to be called before a state that refers to
    them is saved, makes them outlast a failure of the machine too: a job need not wait for a slow disk at
    each of them.

    Arguments
    ---------
    folder: where the files are; name: what they are called; key: what they belong to (see ``StateFile``).
    """

    def __init__(self, folder: Path, name: str, key: str) -> None:
        self.folder, self.name, self.key = folder, name, key
        self._not_on_disk: set[int] = set()

    def write(self, number: int, content: dict[str, Any]) -> None:
        """Keep a file."""
        self._file(number).save(content, on_disk=False)
        self._not_on_disk.add(number)

    def read(self, number: int) -> dict[str, Any]:
        """What a file holds; raises TrainingError where it is gone or damaged."""
        found = self._file(number).load()
        if found is None:
            raise TrainingError(
                f"{self._file(number).path} is gone or damaged; delete the folder {self.folder} and run "
                "the workflow again."
            )
        return found

    def complete(self, numbers: Iterable[int]) -> bool:
        """Whether the files of these numbers are there."""
        return all(self._file(number).path.is_file() for number in numbers)

    def sync(self) -> None:
        """Wait until all that was written and is still there is on the disk."""
        for number in sorted(self._not_on_disk):
            with contextlib.suppress(FileNotFoundError):
                file = os.open(self._file(number).path, os.O_RDONLY)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
        self._not_on_disk.clear()

    def purge(self, numbers: Iterable[int]) -> None:
        """Remove all files but those of these numbers."""
        names = {self._file(number).path.name for number in numbers}
        for path in self.folder.glob(f"{self.name}_*.pt"):
            if path.name not in names:
                path.unlink()

    def _file(self, number: int) -> StateFile:
        return StateFile(self.folder / f"{self.name}_{number}.pt", self.key)
