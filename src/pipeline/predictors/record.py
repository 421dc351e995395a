"""Predictions of one network along training, one file per record until the store is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.classifiers.evaluate import predict
from pipeline.errors import TrainingError
from pipeline.hardware import kept_denormals
from pipeline.training.resume import StateFile

Record = Mapping[str, Tensor]


def predictions(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str
) -> tuple[Tensor, Tensor]:
    """Root probabilities (samples, classes) and log-probabilities of the true class (samples,), on the
    CPU, float32, in eval mode.

    Both come from logits: log-probabilities are exact where probabilities underflow.

    Arguments
    ---------
    batches: (inputs, true classes) of some samples at a time.
    """
    roots, told = [], []
    for x, classes in batches:
        logits = predict(network, x, precision=precision)
        with kept_denormals():
            logs = torch.log_softmax(logits.double(), dim=1)
            told.append(logs.gather(1, classes[:, None])[:, 0].float().cpu())
            roots.append((logs / 2).exp().float().cpu())
    return torch.cat(roots), torch.cat(told)


class Records:
    """The records of one seed on disk.

    Arguments
    ---------
    folder: where the files are; key: what they belong to (see ``StateFile``).
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key

    def write(self, update: int, record: Record) -> None:
        """Keep a record."""
        self._file(update).save({name: value.contiguous() for name, value in record.items()})

    def read(self, update: int) -> Record:
        """A kept record; raises TrainingError where its file is gone or damaged."""
        found = self._file(update).load()
        if found is None:
            raise TrainingError(
                f"The record of update {update} in {self.folder} is gone or damaged; delete this folder "
                "and run the workflow again."
            )
        return found

    def complete(self, updates: list[int]) -> bool:
        """Whether the files of these updates are there."""
        return all(self._file(update).path.is_file() for update in updates)

    def _file(self, update: int) -> StateFile:
        return StateFile(self.folder / f"record_{update}.pt", self.key)
