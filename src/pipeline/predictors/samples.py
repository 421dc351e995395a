"""Training and test samples as networks are trained and recorded on them, all of them on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.classifiers.arrays import ClassArrays
from pipeline.classifiers.batches import held, inputs
from pipeline.classifiers.evaluate import BATCH, batches
from pipeline.predictors.augmentation import augmented, check_augmentation
from pipeline.predictors.settings import Settings
from pipeline.seeds import generator

CPU_BATCH = 200  # samples evaluated at a time on a CPU

Batches = Iterator[tuple[Tensor, Tensor]]


class Samples(Protocol):
    """What a network is trained on, wherever it is."""

    @property
    def size(self) -> int:
        """Number of training samples."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        ...

    @property
    def outputs(self) -> int:
        """Number of classes."""
        ...

    @property
    def device(self) -> str:
        """cpu or cuda."""
        ...

    def epoch(
        self, order: NDArray[np.int64], settings: Settings, seed: int, epoch: int, noise: int
    ) -> Batches:
        """Minibatches (inputs, labels that are learnt) of an epoch.

        Arguments
        ---------
        order: (samples,) permutation; noise: seed of what is augmented.
        """
        ...

    def recorded(self, split: str, settings: Settings, noise: int) -> Batches:
        """Batches (inputs, true classes) of the samples whose predictions are recorded."""
        ...

    def recorded_classes(self, split: str, settings: Settings) -> NDArray[np.int64]:
        """Their true classes (samples,)."""
        ...

    def first(self, count: int) -> Tensor:
        """Inputs of the first training samples."""
        ...


def learnt_labels(
    classes: NDArray[np.int64], class_count: int, labelling: int | None, root_seed: int
) -> NDArray[np.int64]:
    """The labels that are learnt: the true ones, or a random labelling, uniform over all classes, which
    all runs with its number share.

    Arguments
    ---------
    classes: (samples,) true classes of the training samples. labelling: number of the random one; None:
    the true one.
    """
    if labelling is None:
        return classes
    draws = generator(root_seed, "labelling", labelling, "labels")
    return draws.integers(0, class_count, classes.size)


@dataclass(frozen=True)
class DeviceData:
    """Samples that the device holds; images with their channels last.

    train, test: inputs as held; labels: (samples,) that are learnt; classes, test_classes: true ones;
    outputs: number of classes.
    """

    train: Tensor
    test: Tensor
    labels: Tensor
    classes: Tensor
    test_classes: Tensor
    outputs: int

    @property
    def size(self) -> int:
        return len(self.train)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(inputs(self.train[:1]).shape[1:])

    @property
    def device(self) -> str:
        return self.train.device.type

    def epoch(
        self, order: NDArray[np.int64], settings: Settings, seed: int, epoch: int, noise: int
    ) -> Batches:
        images = augmented(self.train, settings.augmentation, noise)
        for rows in torch.from_numpy(order).to(self.train.device).split(settings.batch_size):
            yield inputs(images.index_select(0, rows)), self.labels.index_select(0, rows)

    def recorded(self, split: str, settings: Settings, noise: int) -> Batches:
        if split == "test":
            held, classes = self.test, self.test_classes
        else:
            count = settings.record_samples
            held, classes = self.train[:count], self.classes[:count]
            if settings.record_augmented:
                held = augmented(self.train, settings.augmentation, noise)[:count]
        # Activations of fewer images stay in a CPU's cache.
        for rows in batches(len(held), CPU_BATCH if self.device == "cpu" else BATCH):
            yield inputs(held[rows]), classes[rows]

    def recorded_classes(self, split: str, settings: Settings) -> NDArray[np.int64]:
        if split == "test":
            return self.test_classes.cpu().numpy()
        return self.classes[: settings.record_samples].cpu().numpy()

    def first(self, count: int) -> Tensor:
        return inputs(self.train[:count])


def device_data(arrays: ClassArrays, settings: Settings, device: str) -> DeviceData:
    """The arrays of a run on the device, with the labels that are learnt."""
    check_augmentation(settings.augmentation, arrays.shape)
    dtype = torch.float64 if settings.precision == "float64" else torch.float32
    named = settings.labelling, settings.root_seed
    learnt = learnt_labels(arrays.train_classes, arrays.class_count, *named)
    labels, classes, test_classes = (
        torch.from_numpy(one).to(device)
        for one in (learnt, arrays.train_classes, arrays.test_classes)
    )
    train, test = (held(one, device, dtype) for one in (arrays.train, arrays.test))
    return DeviceData(train, test, labels, classes, test_classes, arrays.class_count)
