"""Augmentation of images on the device: random crops of the padded image, and mirror images."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.errors import TrainingError

PADDING = 4  # pixels of zeros (of standardised images: the mean) on each side


def crop_and_flip(images: Tensor, draws: Tensor, padding: int = PADDING) -> Tensor:
    """Each image shifted by -padding to padding pixels both ways, zeros coming in, and mirrored or not.

    Arguments
    ---------
    images: (samples, rows, columns, channels), as they are held. draws: (samples, 3) integers on the
        device: rows and columns of the shift, from 0 to 2 padding, and 0 or 1 for mirroring.
    """
    samples, rows, columns, channels = images.shape
    padded = images.new_zeros((samples, rows + 2 * padding, columns + 2 * padding, channels))
    padded[:, padding : padding + rows, padding : padding + columns] = images
    row = draws[:, 0, None] + torch.arange(rows, device=images.device)
    column = draws[:, 1, None] + torch.arange(columns, device=images.device)
    column = torch.where(draws[:, 2, None] == 1, column.flip(1), column)
    sample = torch.arange(samples, device=images.device)[:, None, None]
    return padded[sample, row[:, :, None], column[:, None, :]]


def draw(samples: int, random: torch.Generator, padding: int = PADDING) -> Tensor:
    """Draws (samples, 3) for ``crop_and_flip``, on the CPU."""
    shifts = torch.randint(0, 2 * padding + 1, (samples, 2), generator=random)
    mirrored = torch.randint(0, 2, (samples, 1), generator=random)
    return torch.cat([shifts, mirrored], dim=1)


def augmented(held: Tensor, name: str, seed: int) -> Tensor:
    """The training images of an epoch: as they are, or cropped and mirrored by draws of a seed."""
    if name == "none":
        return held
    random = torch.Generator().manual_seed(seed % 2**63)
    return crop_and_flip(held, draw(len(held), random).to(held.device))


AUGMENTATIONS = ("none", "crop_flip", "random_crop")


def check_augmentation(name: str, shape: tuple[int, ...]) -> None:
    """Raise TrainingError for an unknown augmentation, and for one of what are no images; ``random_crop``
    is for files of pictures, while they are decoded.
    """
    if name not in AUGMENTATIONS:
        raise TrainingError(f"augmentation is {name!r}; valid are: {', '.join(AUGMENTATIONS)}.")
    if name == "random_crop":
        raise TrainingError(
            "augmentation is random_crop, which is for files of pictures; images that are held take "
            "crop_flip."
        )
    if name != "none" and len(shape) != 3:
        raise TrainingError(
            f"augmentation is {name}, but inputs of shape {shape} are no images; set it to none."
        )
