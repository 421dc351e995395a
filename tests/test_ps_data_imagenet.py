"""ImageNet's folder: lists, crops by their definition, draws that depend on nothing else, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.imagenet import (
    MEAN,
    SD,
    Pictures,
    batches,
    central_crop,
    imagenet_lists,
    random_crop,
    standardised,
)
from pipeline.errors import DataError

SIZES = ((60, 48), (40, 90), (33, 33))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, names, count in (("train", ("n02", "n01", "n10"), 3), ("val", ("n10", "n01"), 2)):
        for name in names:
            place = folder / "imagenet" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                width, height = SIZES[number]
                pixels = random.integers(0, 256, (height, width, 3), np.uint8)
                mode = "L" if number == 2 else "RGB"
                picture = Image.fromarray(pixels).convert(mode)
                picture.save(place / f"{name}_{number}.JPEG", format="JPEG")
    return folder


def gradient(width: int, height: int) -> Image.Image:
    """A picture whose red is the column and whose green is the row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


def test_lists_follow_the_sorted_names(root: Path) -> None:
    train, val = imagenet_lists(root)
    assert train.names == val.names == ("n01", "n02", "n10")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert val.labels.tolist() == [0, 0, 2, 2]
    assert [file.name for file in val.files[:2]] == ["n01_0.JPEG", "n01_1.JPEG"]


def test_the_central_crop_is_central() -> None:
    found = central_crop(gradient(200, 128), 112).astype(float)
    assert found.shape == (112, 112, 3)
    np.testing.assert_array_equal(found[:, :, 0], np.broadcast_to(np.arange(44, 156), (112, 112)))
    np.testing.assert_array_equal(found[:, 0, 1], np.arange(8, 120))


def test_random_crops_are_parts_of_valid_area_and_ratio() -> None:
    picture, mirrored, areas, ratios = gradient(200, 160), 0, [], []
    for seed in range(300):
        part = random_crop(picture, 32, np.random.default_rng(seed)).astype(float)
        steps = part[16, -1, 0] - part[16, 0, 0], part[-1, 16, 1] - part[0, 16, 1]
        mirrored += steps[0] < 0
        w, h = (abs(step) * 32 / 31 for step in steps)
        areas.append(w * h / (200 * 160))
        ratios.append(w / h)
    assert 0.4 < mirrored / 300 < 0.6
    assert 0.06 < min(areas) < 0.15
    assert 0.8 < max(areas) < 1.03
    assert 0.7 < min(ratios) < 0.85
    assert 1.15 < max(ratios) < 1.4
    assert np.mean(areas) == pytest.approx(0.5, abs=0.07)


def test_a_picture_that_no_crop_fits_is_cut_in_its_middle() -> None:
    """8 % of a strip at a ratio up to 4/3 is higher than the strip: 5 x 4 pixels from column 122 on."""
    for seed in range(20):
        part = random_crop(gradient(250, 4), 8, np.random.default_rng(seed)).astype(float)
        assert part[:, :, 0].mean() == pytest.approx(124, abs=0.1)
        assert part[:, 0, 1].tolist() == sorted(part[:, 0, 1].tolist())
    part = random_crop(gradient(4, 250), 8, np.random.default_rng(1)).astype(float)
    assert part[:, :, 1].mean() == pytest.approx(124, abs=0.1)


def test_draws_depend_on_epoch_and_picture_alone(root: Path) -> None:
    train, _ = imagenet_lists(root)
    first = Pictures(train, 16, (0, "run", 1, 3))
    whole = {i: pixels for pixels, _, i in (first[k] for k in range(len(first)))}
    for pixels, labels, indices in batches(first, [8, 0, 4, 2], 3):
        for one, label, index in zip(pixels, labels, indices, strict=True):
            torch.testing.assert_close(one, whole[int(index)])
            assert label == train.labels[int(index)]
    assert not torch.equal(Pictures(train, 16, (0, "run", 1, 4))[0][0], whole[0])
    assert not torch.equal(Pictures(train, 16, (0, "run", 2, 3))[0][0], whole[0])


def test_workers_change_nothing(root: Path) -> None:
    _, val = imagenet_lists(root)
    pictures = Pictures(val, 24)
    alone, split = ([one[0] for one in batches(pictures, range(4), 2, n)] for n in (0, 1))
    torch.testing.assert_close(alone, split)
    assert alone[0].shape == (2, 24, 24, 3)
    assert alone[0].dtype == torch.uint8


def test_inputs_are_standardised() -> None:
    pixels = torch.tensor([255 * one for one in MEAN]).round().to(torch.uint8)
    found = standardised(pixels.expand(2, 5, 4, 3))
    assert found.shape == (2, 3, 5, 4)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.abs().max() < 0.01
    white = standardised(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).flatten()
    torch.testing.assert_close(white, (1 - torch.tensor(MEAN)) / torch.tensor(SD))


def test_what_is_no_such_folder_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train does not exist"):
        imagenet_lists(tmp_path)
    place = tmp_path / "imagenet"
    (place / "train" / "n01").mkdir(parents=True)
    (place / "val" / "n02").mkdir(parents=True)
    with pytest.raises(DataError, match="holds n02, which"):
        imagenet_lists(tmp_path)
    (place / "train" / "n02").mkdir()
    with pytest.raises(DataError, match=r"n01 holds no picture"):
        imagenet_lists(tmp_path)
    (place / "train" / "cats").mkdir()
    with pytest.raises(DataError, match="cats is no class"):
        imagenet_lists(tmp_path)


def test_a_damaged_picture_is_named(root: Path, tmp_path: Path) -> None:
    train, _ = imagenet_lists(root)
    broken = tmp_path / "n01_0.JPEG"
    broken.write_bytes(train.files[0].read_bytes()[:200])
    changed = type(train)((broken,), train.labels[:1], train.names)
    with pytest.raises(DataError, match=r"n01_0\.JPEG cannot be read as a JPEG"):
        Pictures(changed, 16)[0]
