"""Annealing, the record schedule and augmentation of prediction space's networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.errors import TrainingError
from pipeline.predictors.augmentation import PADDING, check_augmentation, crop_and_flip, draw
from pipeline.predictors.schedules import annealing, record_updates, thinned


def test_records_of_the_paper() -> None:
    """67 models of a run with batches of 200: 250 updates an epoch, 200 epochs."""
    found = record_updates(200, 250)
    assert len(found) == 67
    assert found[:6] == [0, 1, 63, 125, 187, 249]
    assert found[-1] == 200 * 250
    epochs = [update // 250 for update in found if update % 250 == 0 and update]
    # the ends of epochs, counted from 0: 5 to 25, then 28, 32, ..., 64, then 75, 90, ..., 195, 199
    assert epochs == [*range(6, 27), *range(29, 66, 4), *range(76, 197, 15), 200]


@pytest.mark.parametrize(("epochs", "batches"), [(1, 1), (3, 2), (7, 5), (70, 1), (200, 100)])
def test_records_are_in_order_and_within_the_training(epochs: int, batches: int) -> None:
    found = record_updates(epochs, batches)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, epochs * batches)


def test_annealing() -> None:
    cosine, linear = annealing("cosine"), annealing("linear")
    assert [cosine(u, 4) for u in (0, 2)] == pytest.approx([1, 0.5])
    assert cosine(999, 1000) < 1e-5
    assert [linear(u, 4) for u in range(4)] == [1, 0.75, 0.5, 0.25]
    assert annealing("none")(7, 8) == 1
    with pytest.raises(TrainingError, match="valid are: none, cosine, linear"):
        annealing("step")


def test_crops_against_plain_slices() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(50, 8, 8, 3)
    draws = draw(50, random)
    assert draws.min() == 0
    assert draws[:, :2].max() == 2 * PADDING
    found = crop_and_flip(images, draws)
    padded = np.pad(images.numpy(), ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    for k, (row, column, mirrored) in enumerate(draws.tolist()):
        plain = padded[k, row : row + 8, column : column + 8]
        plain = plain[:, ::-1] if mirrored else plain
        np.testing.assert_array_equal(found[k].numpy(), plain)
    assert 10 < int(draws[:, 2].sum()) < 40


def test_no_shift_is_the_image() -> None:
    images = torch.randn(4, 6, 6, 1)
    same = crop_and_flip(images, torch.tensor([[PADDING, PADDING, 0]] * 4))
    torch.testing.assert_close(same, images, rtol=0, atol=0)


def test_augmentation_is_of_images() -> None:
    check_augmentation("crop_flip", (3, 32, 32))
    check_augmentation("none", (200,))
    with pytest.raises(TrainingError, match="are no images"):
        check_augmentation("crop_flip", (200,))
    with pytest.raises(TrainingError, match="valid are: none, crop_flip"):
        check_augmentation("cutout", (3, 32, 32))


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_fewer_records_are_some_of_all_with_the_first_and_the_last(every: int) -> None:
    everything = record_updates(40, 10)
    found = thinned(everything, every)
    assert (len(everything), found[0], found[-1]) == (51, 0, 400)
    assert found == [*everything[:-1:every], 400]
