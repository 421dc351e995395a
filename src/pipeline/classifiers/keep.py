"""Which weight sets of a network are kept: the first, evenly spaced ones, the best and the last.

How long training lasts is not known beforehand. Sets are kept every s epochs, s = 1 at first; where
they become too many, s doubles and those in between are dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.training.resume import PartFiles

ENDS = 2  # the best and the last set, which need not be among the evenly spaced ones


def spaced_epochs(kept: list[int], epoch: int, most: int) -> list[int]:
    """The evenly spaced epochs that are kept once ``epoch`` (the next one) is done.

    Arguments
    ---------
    kept: those kept so far, in order; most: how many sets are kept in all, with the best and last.
    """
    limit = most - ENDS
    spacing = kept[1] - kept[0] if len(kept) > 1 else 1
    while True:
        wanted = [*kept, epoch] if epoch % spacing == 0 else kept
        thinned = [one for one in wanted if one % spacing == 0]
        if len(thinned) <= limit:
            return thinned
        spacing *= 2


class KeptWeights:
    """The weight sets of one seed while it is trained, one file each.

    Arguments
    ---------
    folder: where the files are; key: what they belong to (see ``StateFile``).
    most: how many are kept at the end; 0: none are written.
    """

    def __init__(self, folder: Path, key: str, most: int) -> None:
        self._files, self.most = PartFiles(folder, "epoch", key), most
        self.epochs: list[int] = []

    def offer(self, epoch: int, weights: NDArray[np.float32]) -> None:
        """Keep the set of this epoch if it is one of the evenly spaced ones; drop those in between.

        The files of dropped sets stay until ``purge``: a job that is killed before it saves its state
        continues from an earlier one, which still has them.
        """
        if not self.most:
            return
        kept = spaced_epochs(self.epochs, epoch, self.most)
        if epoch in kept:
            self._write(epoch, weights)
        self.epochs = kept

    def add(self, epoch: int, weights: NDArray[np.float32]) -> None:
        """Keep the set of this epoch whatever its place."""
        if self.most and epoch not in self.epochs:
            self._write(epoch, weights)
            self.epochs = sorted([*self.epochs, epoch])

    def load(self, epoch: int) -> NDArray[np.float32]:
        """The set of one of the kept epochs; raises TrainingError where its file is gone or damaged."""
        weights: NDArray[np.float32] = self._files.read(epoch)["weights"].numpy()
        return weights

    def purge(self) -> None:
        """Remove the files of sets that are not kept."""
        self._files.purge(self.epochs)

    def sync(self) -> None:
        """See ``PartFiles``; to be called before a state that names the kept epochs is saved."""
        self._files.sync()

    def _write(self, epoch: int, weights: NDArray[np.float32]) -> None:
        self._files.write(epoch, {"weights": torch.from_numpy(weights)})

    def complete(self) -> bool:
        """Whether the files of all kept epochs are there."""
        return self._files.complete(self.epochs)
