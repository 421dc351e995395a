"""From stored images to the arrays that networks are trained on: blocks, grey, standardisation."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.labels import binary_labels
from pipeline.errors import DataError
from pipeline.seeds import generator, stream_name
from pipeline.store import manifest
from pipeline.store.reader import load_arrays

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import DTypeLike

STATISTICS = ("own", "train")
GREY = ("mean", "sum_after")


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation (features,) float64 of every pixel; std 0: it never changes."""

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class TrainingArrays:
    """What a network is trained and tested on.

    Attributes
    ----------
    train_images, test_images: standardised, (samples, features), in the dtype asked for.
    train_labels, test_labels: int8 in {-1, +1}, (samples,).
    train_classes, test_classes: int64, (samples,), the original class numbers.
    train_pixels, test_pixels: uint8, (samples, features), where images are grey uint8; else None.
    train_mean, train_std, test_mean, test_std: float64, (features,), such that, before rounding to
        the dtype, images == where(std > 0, (pixels - mean) / std, 0); None where pixels are None.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    train_classes: np.ndarray
    test_classes: np.ndarray
    train_pixels: np.ndarray | None = None
    test_pixels: np.ndarray | None = None
    train_mean: np.ndarray | None = None
    train_std: np.ndarray | None = None
    test_mean: np.ndarray | None = None
    test_std: np.ndarray | None = None


def pixel_statistics(images: np.ndarray) -> Statistics:
    """Mean and standard deviation of each pixel (column) over the samples, in float64.

    A pixel that never changes gets exactly 0, whatever rounding does to its variance.
    """
    mean = images.mean(axis=0, dtype=np.float64)
    std = images.std(axis=0, dtype=np.float64)
    std[images.min(axis=0) == images.max(axis=0)] = 0.0
    return Statistics(mean, std)


def standardise(
    images: np.ndarray, statistics: Statistics | None = None
) -> tuple[np.ndarray, Statistics]:
    """Every pixel as (x - mean) / std (arXiv:2303.05161v2, Methods), in float64.

    Arguments
    ---------
    images: (samples, features), any real dtype.
    statistics: to be used instead of the images' own, such as those of the training set.

    Returns the standardised images and the statistics used. A pixel with std 0 becomes 0, never a
    quotient by some tiny number: it may be constant in training and not so in the test set.

    Raises DataError for images of another shape, or with values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim != 2 or images.shape[0] == 0:
        raise DataError(f"images have the shape {images.shape}; valid is (samples, features).")
    if not np.issubdtype(images.dtype, np.integer) and not np.isfinite(images).all():
        raise DataError("images hold values that are not finite: replace them first.")
    used = pixel_statistics(images) if statistics is None else statistics
    if used.mean.shape != images.shape[1:] or used.std.shape != images.shape[1:]:
        raise DataError(
            f"statistics are of {used.mean.size} pixels, but the images have {images.shape[1]}."
        )
    varies = used.std > 0
    result = np.subtract(images, used.mean, dtype=np.float64)
    result /= np.where(varies, used.std, 1.0)
    result[:, ~varies] = 0.0
    return result, used


def training_arrays(
    dataset: xr.Dataset | Mapping[str, np.ndarray],
    *,
    samples: int,
    block: int = 0,
    statistics: str = "own",
    grey: str | None = None,
    labels: str = "parity",
    label_generator: np.random.Generator | None = None,
    dtype: DTypeLike = np.float32,
) -> TrainingArrays:
    """Block ``block`` of ``samples`` training elements and the full test set, ready for training.

    Arguments
    ---------
    dataset: as in a data store, or its arrays by name: images, labels, split (0 training, 1 test).
    samples: P, the number of training elements.
    block: k takes the k-th run of P consecutive training elements, from 0 on.
    statistics: the test set is standardised by its ``own`` statistics (the paper's rule) or by
        those of the training block (``train``).
    grey: for images with channels: ``mean`` averages them, then standardises; ``sum_after``
        standardises each, then sums (inputs 3 times larger); None keeps every channel as features.
        Images without channels are grey already.
    labels: a key of ``labels.label_variants``; ``random`` takes ``label_generator``.
    dtype: of the standardised images.

    Raises DataError for vectors instead of images, for a block beyond the set or a grey or
    statistics rule that does not exist.
    """
    _require_images(dataset)
    for key, value, valid in (
        ("statistics", statistics, STATISTICS),
        ("grey", grey, (*GREY, None)),
    ):
        if value not in valid:
            raise DataError(f"{key} is {value!r}; valid are: {', '.join(map(str, valid))}.")
    train, test = _split_rows(dataset, samples, block)
    train_pixels, test_pixels = (_read(dataset, "images", rows) for rows in (train, test))
    train_classes, test_classes = (_read(dataset, "labels", rows) for rows in (train, test))
    raw: dict[str, np.ndarray] = {}
    if train_pixels.ndim == 4:
        train_images, test_images = _colour(train_pixels, test_pixels, grey, statistics)
    else:
        train_images, test_images, raw = _single_channel(train_pixels, test_pixels, statistics)
    return TrainingArrays(
        train_images=train_images.astype(dtype),
        train_labels=binary_labels(labels, train_classes, generator=label_generator),
        test_images=test_images.astype(dtype),
        test_labels=binary_labels(labels, test_classes, split="test", generator=label_generator),
        train_classes=train_classes,
        test_classes=test_classes,
        **raw,
    )


def run_arrays(run: Mapping[str, Any], folder: Path | str, root: int) -> TrainingArrays:
    """What the networks of one run are trained and tested on, from the store of its data set.

    One draw of random labels serves all seeds of a run: they share their inputs and labels. Images are
    float64 for a run of that precision, float32 for any other.

    Arguments
    ---------
    run: its resolved configuration. folder: of the data set's store.
    root: the workflow's root seed, of random labels.

    Raises DataError as ``training_arrays`` does, StoreError as ``load_arrays``.
    """
    _require_images(manifest.read(folder)["arrays"])
    return training_arrays(
        load_arrays(folder, ("images", "labels", "split")),
        samples=run["samples"],
        block=run["block"],
        statistics=run["statistics"],
        grey=run["grey"],
        labels=run["labels"],
        label_generator=generator(root, stream_name(run), 0, "labels"),
        dtype=np.float64 if run["precision"] == "float64" else np.float32,
    )


def _require_images(variables: Iterable[Hashable]) -> None:
    if "points" in variables:
        raise DataError(
            "the data set holds vectors, which have no pixels to be made grey and standardised: "
            "choose a data set of images, or a run whose trainer takes vectors."
        )


def _split_rows(
    dataset: xr.Dataset | Mapping[str, np.ndarray], samples: int, block: int
) -> tuple[Any, Any]:
    """The rows of one training block and of the test set."""
    split = np.asarray(dataset["split"])
    train, test = np.flatnonzero(split == 0), np.flatnonzero(split == 1)
    name = getattr(dataset, "attrs", {}).get("name", "the data set")
    if samples < 1 or block < 0:
        raise DataError(f"samples is {samples} and block {block}; valid are from 1 and from 0 on.")
    if (block + 1) * samples > len(train):
        blocks = len(train) // samples
        valid = f"blocks 0 to {blocks - 1}" if blocks else "no block of this size"
        raise DataError(
            f"block {block} of {samples} samples needs training elements {block * samples} to "
            f"{(block + 1) * samples - 1}, but {name} holds {len(train)}: it has {valid}."
        )
    if len(test) == 0:
        raise DataError(f"{name} holds no test elements.")
    return _as_slice(train[block * samples : (block + 1) * samples]), _as_slice(test)


def _as_slice(rows: np.ndarray) -> Any:
    """Consecutive rows as a slice, which lazy arrays read without shuffling chunks."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _read(dataset: xr.Dataset | Mapping[str, np.ndarray], variable: str, rows: Any) -> np.ndarray:
    return np.asarray(dataset[variable][rows])


def _both(
    train: np.ndarray, test: np.ndarray, rule: str
) -> tuple[tuple[np.ndarray, Statistics], tuple[np.ndarray, Statistics]]:
    """Both sets standardised, the test set by the given rule, each with the statistics used."""
    done = standardise(train)
    return done, standardise(test, done[1] if rule == "train" else None)


def _single_channel(
    train: np.ndarray, test: np.ndarray, rule: str
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    train, test = _flat(train), _flat(test)
    (train_images, of_train), (test_images, of_test) = _both(train, test, rule)
    raw = {}
    if train.dtype == np.uint8:
        raw = {
            "train_pixels": train,
            "test_pixels": test,
            "train_mean": of_train.mean,
            "train_std": of_train.std,
            "test_mean": of_test.mean,
            "test_std": of_test.std,
        }
    return train_images, test_images, raw


def _colour(
    train: np.ndarray, test: np.ndarray, grey: str | None, rule: str
) -> tuple[np.ndarray, np.ndarray]:
    """Images (samples, rows, columns, channels) as standardised features, by the rule ``grey``."""
    if grey == "sum_after":
        totals = tuple(np.zeros((len(images), images[0, ..., 0].size)) for images in (train, test))
        for channel in range(train.shape[3]):
            done = _both(_flat(train[..., channel]), _flat(test[..., channel]), rule)
            for total, (images, _) in zip(totals, done, strict=True):
                total += images
        return totals[0], totals[1]
    if grey == "mean":
        train, test = train.mean(axis=3, dtype=np.float64), test.mean(axis=3, dtype=np.float64)
    (train_images, _), (test_images, _) = _both(_flat(train), _flat(test), rule)
    return train_images, test_images


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)
