"""Made-up images for tests and tours without a network: always named ``generated...``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.data.images import ImageDataset
from pipeline.errors import DataError
from pipeline.seeds import generator

CLASSES = 10
SIZE = 28
STROKE_WIDTH = 2.2  # pixels; correlation length of the class patterns
STROKE_THRESHOLD = 0.2  # standard deviations; sets the share of background
WARP_LENGTH = 6.0  # pixels; correlation length of the deformations
WARP_PIXELS = 1.5
SHIFT_PIXELS = 1.0
HARD_SHARE = 0.25  # of samples that are mixed with a class of the other parity
HARD_WEIGHTS = (0.2, 0.5)
EASY_WEIGHTS = (0.0, 0.1)
PIXEL_NOISE = 0.05
FAINTEST = 0.08  # darker pixels become background
COLOUR_SIZE = 32
COLOUR_LENGTH = 3.0  # pixels; correlation length of the colour patterns and of the backgrounds
COLOUR_CONTRAST = 20.0  # grey values; standard deviation of a class pattern
BACKGROUND = 32.0  # grey values; standard deviation of what differs from sample to sample
COLOUR_NOISE = 16.0  # grey values; standard deviation of a pixel's own noise
MOST_SHIFT = 3  # pixels, in each direction


def generated(
    root: Path, *, train_samples: int = 4096, test_samples: int = 1024, seed: int = 0
) -> ImageDataset:
    """Ten classes of blurred strokes, 28 x 28, deformed; a minority leans to the other parity.

    The sample of class c is a smooth random warp of (1 - w) A_c + w A_o, with A the class patterns,
    o a class of the other parity, and w small for most samples and 0.2 to 0.5 for the hard quarter.
    A small network learns the majority first, which is what gives the radii their minimum.
    The same arguments give the same images; the first n samples do not depend on how many follow.

    Arguments
    ---------
    root: not used (nothing is read or written).
    train_samples, test_samples: number of images.
    seed: of the patterns and the samples.

    Raises DataError for a number of samples below 1.
    """
    _require_counts("generated", train_samples, test_samples)
    patterns = _patterns(generator(seed, "generated", 0, "data"))
    train = _samples(patterns, train_samples, generator(seed, "generated", 1, "data"))
    test = _samples(patterns, test_samples, generator(seed, "generated", 2, "data"))
    provenance = _provenance(seed, train_samples, test_samples)
    return ImageDataset("generated", *train, *test, provenance)


def generated_colour(
    root: Path, *, train_samples: int = 512, test_samples: int = 256, seed: int = 0
) -> ImageDataset:
    """Ten classes of smooth colour patterns, 32 x 32 x 3, shifted, before smooth backgrounds.

    The sample of class c is the pattern A_c shifted by up to 3 pixels each way, plus a smooth field
    and pixel noise of its own: a small convolutional network learns the classes in a few epochs,
    and what is a sample's own suffices to memorise other labels.
    The same arguments give the same images; the first n samples do not depend on how many follow.

    Arguments and errors as of ``generated``.
    """
    _require_counts("generated_colour", train_samples, test_samples)
    random = generator(seed, "generated_colour", 0, "data")
    patterns = COLOUR_CONTRAST * _smooth(
        random.standard_normal((3 * CLASSES, COLOUR_SIZE, COLOUR_SIZE)), COLOUR_LENGTH
    ).reshape(CLASSES, 3, COLOUR_SIZE, COLOUR_SIZE)
    train, test = (
        _colour_samples(patterns, samples, generator(seed, "generated_colour", split, "data"))
        for split, samples in ((1, train_samples), (2, test_samples))
    )
    provenance = _provenance(seed, train_samples, test_samples)
    return ImageDataset("generated_colour", *train, *test, provenance)


def _require_counts(name: str, train_samples: object, test_samples: object) -> None:
    for key, value in (("train_samples", train_samples), ("test_samples", test_samples)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f"{name}: {key} is {value!r}; valid are whole numbers from 1 on.")


def _provenance(seed: int, train_samples: int, test_samples: int) -> dict[str, object]:
    return {
        "origin": "generated",
        "seed": seed,
        "train_samples": train_samples,
        "test_samples": test_samples,
    }


def _patterns(random: np.random.Generator) -> np.ndarray:
    """The class patterns (classes, rows, columns), 0 to 1, fading towards the margin."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    window = np.clip((12.5 - np.hypot(rows, columns)) / 4, 0, 1)
    field = _smooth(random.standard_normal((CLASSES, SIZE, SIZE)), STROKE_WIDTH)
    return np.clip((field - STROKE_THRESHOLD) / 1.2, 0, 1 / window.max()) * window


def _samples(
    patterns: np.ndarray, samples: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import map_coordinates

    grid = np.mgrid[:SIZE, :SIZE].astype(float)
    images = np.empty((samples, SIZE, SIZE), np.uint8)
    classes = np.empty(samples, np.int64)
    for sample in range(samples):
        own = int(random.integers(CLASSES))
        other = (own + 1 + 2 * int(random.integers(CLASSES // 2))) % CLASSES
        weight = random.uniform(*(HARD_WEIGHTS if random.random() < HARD_SHARE else EASY_WEIGHTS))
        image = (1 - weight) * patterns[own] + weight * patterns[other]
        warp = WARP_PIXELS * _smooth(random.standard_normal((2, SIZE, SIZE)), WARP_LENGTH)
        shift = SHIFT_PIXELS * random.standard_normal((2, 1, 1))
        image = map_coordinates(image, grid + warp + shift, order=1)
        image = image * (1 + PIXEL_NOISE * random.standard_normal((SIZE, SIZE)))
        image = np.where(image > FAINTEST, image, 0)
        images[sample] = np.clip(np.rint(255 * image), 0, 255)
        classes[sample] = own
    return images, classes


def _colour_samples(
    patterns: np.ndarray, samples: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Images (samples, rows, columns, channels) uint8 and their classes (samples,)."""
    images = np.empty((samples, COLOUR_SIZE, COLOUR_SIZE, 3), np.uint8)
    classes = np.empty(samples, np.int64)
    for sample in range(samples):
        own = int(random.integers(CLASSES))
        shift = tuple(random.integers(-MOST_SHIFT, MOST_SHIFT + 1, 2).tolist())
        noise = random.standard_normal((2, 3, COLOUR_SIZE, COLOUR_SIZE))
        image = 128 + np.roll(patterns[own], shift, axis=(1, 2)) + COLOUR_NOISE * noise[0]
        image += BACKGROUND * _smooth(noise[1], COLOUR_LENGTH)
        images[sample] = np.clip(np.rint(image), 0, 255).transpose(1, 2, 0)
        classes[sample] = own
    return images, classes


def _smooth(noise: np.ndarray, length: float) -> np.ndarray:
    """Noise (n, rows, columns) blurred over ``length`` pixels, each of unit variance."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(noise, (0, length, length))
    return field / field.std(axis=(-2, -1), keepdims=True)
