"""Which files of a data set lie on this machine: asked at every start of the workflow, so cheap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.published import (
    CIFAR10_MD5,
    CIFAR100_MD5,
    FASHION_MNIST,
    KMNIST,
    MNIST,
    TEST,
    TINY_IMAGENET,
    TINY_IMAGENET_LISTS,
    TRAIN,
    missing_files,
)

# loader -> folder below the root of all data, names of its files there
PUBLISHED_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "pipeline.data.idx:mnist": (MNIST.place, TRAIN + TEST),
    "pipeline.data.idx:fashion_mnist": (FASHION_MNIST.place, TRAIN + TEST),
    "pipeline.data.idx:kmnist": (KMNIST.place, TRAIN + TEST),
    "pipeline.data.idx:kmnist_test_as_train": (KMNIST.place, TEST),
    "pipeline.data.cifar:cifar10": ("cifar-10-batches-py", tuple(CIFAR10_MD5)),
    "pipeline.data.cifar:cifar100": ("cifar-100-python", tuple(CIFAR100_MD5)),
    "pipeline.data.tiny_imagenet:tiny_imagenet": (TINY_IMAGENET, TINY_IMAGENET_LISTS),
    "pipeline.data.imagenet:imagenet": ("imagenet", ("train", "val")),
}


def local_files(entry: Mapping[str, Any], root: Path | str) -> list[str]:
    """Names of the data set's files that lie below the folder of all data, in a fixed order.

    A rule with this among its parameters runs again when files that were missing are put there. Files
    count once, plain or as .gz. Empty for a loader whose files are not published.
    """
    place, files = PUBLISHED_FILES.get(entry["loader"], ("", ()))
    missing = missing_files(Path(root) / place, files)
    return [file for file in files if file not in missing]
