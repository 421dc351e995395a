"""How far a training job is: one live line on a terminal, plain lines in the log."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

log = logging.getLogger(__name__)


class Progress:
    """Reports the epochs of a job that trains several groups of networks one after another.

    A terminal shows one line, rewritten at most five times a second; the log gets a line at the first
    and last epoch of a group and every ``seconds`` between.
    """

    def __init__(
        self,
        label: str,
        groups: int,
        epochs: int,
        terminal: TextIO | None = None,
        seconds: float = 15.0,
    ):
        self.label, self.groups, self.epochs, self.seconds = label, groups, epochs, seconds
        self.terminal = sys.stderr if terminal is None else terminal
        self.group = 0
        self._start: tuple[float, int] | None = None
        self._shown = self._logged = -1e9

    def __call__(self, epoch: int, train_error: float) -> None:
        """Epoch ``epoch`` of the present group was measured, with this mean training error."""
        now = time.monotonic()
        done = self.group * self.epochs + epoch
        self._start = self._start or (now, done)
        ends = epoch in (0, self.epochs)
        if ends or now - self._logged >= self.seconds:
            self._logged = now
            log.info("%s", self._line(epoch, done, now, train_error))
        if self.terminal.isatty() and (ends or now - self._shown >= 0.2):
            self._shown = now
            end = "\n" if done == self.groups * self.epochs else ""
            line = self._line(epoch, done, now, train_error)
            self.terminal.write(f"\r\x1b[K{line}{end}")
            self.terminal.flush()
        if epoch == self.epochs:
            self.group += 1

    def skip(self) -> None:
        """The present group was finished by an earlier job."""
        self.group += 1

    def _line(self, epoch: int, done: int, now: float, train_error: float) -> str:
        start, first = self._start or (now, done)
        left = ""
        if done > first:
            seconds = (self.groups * self.epochs - done) * (now - start) / (done - first)
            left = f", {seconds:.0f} s left"
        return (
            f"{self.label}: group {self.group + 1} of {self.groups}, epoch {epoch} of "
            f"{self.epochs}, training error {train_error:.4f}{left}"
        )
