"""Tiny ImageNet from a folder: order, classes, grey pictures, faults and absence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import datasets
from pipeline.data.local import local_files
from pipeline.data.tiny_imagenet import tiny_imagenet
from pipeline.errors import DataError

CLASSES = ("n03", "n01", "n02")  # in no alphabetical order, as in wnids.txt
TRAIN, TEST = 12, 6
ENTRY = {
    "loader": "pipeline.data.tiny_imagenet:tiny_imagenet",
    "optional": True,
    "samples": {"train": 3 * TRAIN, "test": TEST},
    "shape": [64, 64, 3],
    "classes": 3,
}


def save(path: Path, grey: int, mode: str = "RGB", size: int = 64) -> None:
    """A picture of one grey value, which JPEG keeps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size, 3), grey, np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, "jpeg", quality=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures whose grey value tells class number and index: 60 * class + index."""
    folder = tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(CLASSES):
        for at in range(TRAIN):
            mode = "L" if at % 2 else "RGB"
            save(folder / "train" / name / "images" / f"{name}_{at}.JPEG", 60 * number + at, mode)
        (folder / "train" / name / f"{name}_boxes.txt").write_text("not read\n")
    lines = []
    for at in range(TEST):
        save(folder / "val" / "images" / f"val_{at}.JPEG", 60 * (at % 3) + 40 + at)
        lines.append(f"val_{at}.JPEG\t{CLASSES[at % 3]}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    save(folder / "test" / "images" / "test_0.JPEG", 0)
    return folder


def test_reads_the_folder(folder: Path) -> None:
    found = tiny_imagenet(folder.parent)
    assert found.name == "tiny_imagenet"
    assert found.train_images.shape == (3 * TRAIN, 64, 64, 3)
    values = found.train_images[:, 0, 0, 0]
    np.testing.assert_array_equal(
        found.train_images, np.broadcast_to(values[:, None, None, None], (36, 64, 64, 3))
    )
    np.testing.assert_array_equal(values // 60, found.train_labels)
    expected = [60 * number + at for number in range(3) for at in range(TRAIN)]
    assert sorted(values.tolist()) == expected
    assert found.test_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.test_images[:, 5, 5, 1].tolist() == [40, 101, 162, 43, 104, 165]
    assert str(folder.parent) not in str(found.provenance)


def test_training_order_is_a_seeded_shuffle(folder: Path) -> None:
    first, again = tiny_imagenet(folder.parent), tiny_imagenet(folder.parent)
    np.testing.assert_array_equal(first.train_images, again.train_images)
    assert len(set(first.train_labels[:TRAIN].tolist())) == 3
    other = tiny_imagenet(folder.parent, seed=1)
    assert not np.array_equal(first.train_labels, other.train_labels)
    np.testing.assert_array_equal(first.test_images, other.test_images)
    for seed in (-1, 0.5, True):
        with pytest.raises(DataError, match=r"tiny_imagenet: seed is .*; valid are whole numbers"):
            tiny_imagenet(folder.parent, seed=seed)  # type: ignore[arg-type]


def test_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / folder.name).symlink_to(folder)
    assert len(tiny_imagenet(tmp_path / "other").train_labels) == 3 * TRAIN


# --- faults -------------------------------------------------------------------------------------


def fewer(folder: Path) -> None:
    (folder / "train/n01/images/n01_3.JPEG").unlink()


def no_class_folder(folder: Path) -> None:
    shutil.rmtree(folder / "train/n02")


def linked_picture(folder: Path) -> None:
    path = folder / "train/n01/images/n01_3.JPEG"
    path.rename(folder.parent / "outside.JPEG")
    path.symlink_to(folder.parent / "outside.JPEG")


def linked_folder(folder: Path) -> None:
    (folder / "train").rename(folder.parent / "outside")
    (folder / "train").symlink_to(folder.parent / "outside")


def linked_list(folder: Path) -> None:
    (folder / "wnids.txt").rename(folder.parent / "outside")
    (folder / "wnids.txt").symlink_to(folder.parent / "outside")


def path_as_class(folder: Path) -> None:
    (folder / "wnids.txt").write_text("n03\n../../n01\n")


def class_twice(folder: Path) -> None:
    (folder / "wnids.txt").write_text("n03\nn01\nn03\n")


def no_class(folder: Path) -> None:
    (folder / "wnids.txt").write_text("")


def binary_list(folder: Path) -> None:
    (folder / "wnids.txt").write_bytes(b"\xff\xfe\x00")


def annotations(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = folder / "val/val_annotations.txt"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def unknown_class(folder: Path) -> None:
    annotations(folder, lambda lines: [lines[0].replace("n03", "n09"), *lines[1:]])


def outside_picture(folder: Path) -> None:
    annotations(folder, lambda lines: ["../../train/n01/images/n01_0.JPEG\tn01\n", *lines[1:]])


def annotated_twice(folder: Path) -> None:
    annotations(folder, lambda lines: [*lines, lines[0]])


def no_tab(folder: Path) -> None:
    annotations(folder, lambda lines: ["val_0.JPEG n03\n", *lines[1:]])


def cut_short(folder: Path) -> None:
    annotations(folder, lambda lines: lines[:-2])


def nothing_annotated(folder: Path) -> None:
    annotations(folder, lambda lines: [])
    for picture in (folder / "val/images").iterdir():
        picture.unlink()


def damaged(folder: Path) -> None:
    path = folder / "val/images/val_1.JPEG"
    path.write_bytes(path.read_bytes()[:200])


def other_format(folder: Path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "val/images/val_1.JPEG", "png")


def other_size(folder: Path) -> None:
    save(folder / "val/images/val_1.JPEG", 0, size=32)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (fewer, r"train/n01/images holds 11 pictures .* up to 12"),
        (no_class_folder, r"train/n02 is no folder, or a link to one"),
        (linked_picture, r"n01_3\.JPEG is a link or no file"),
        (linked_folder, r"train is no folder, or a link to one"),
        (linked_list, r"wnids\.txt is a link or no file"),
        (path_as_class, r"wnids\.txt names the class '\.\./\.\./n01'"),
        (class_twice, r"wnids\.txt names a class twice"),
        (no_class, r"wnids\.txt names no class"),
        (binary_list, r"wnids\.txt is no text"),
        (unknown_class, r"line 1 of .*val_annotations\.txt gives .*'val_0\.JPEG' the class 'n09'"),
        (outside_picture, r"line 1 of .* gives the picture '\.\./\.\./train"),
        (annotated_twice, r"line 7 of .*val_0\.JPEG"),
        (no_tab, r"line 1 of .*'val_0\.JPEG n03' the class ''"),
        (cut_short, r"gives no class to val_4\.JPEG"),
        (nothing_annotated, r"gives no class to any picture"),
        (damaged, r"val_1\.JPEG cannot be read as a JPEG"),
        (other_format, r"val_1\.JPEG cannot be read as a JPEG"),
        (other_size, r"val_1\.JPEG has 32 x 32 pixels; valid are 64 x 64"),
    ],
)
def test_faults_are_named(folder: Path, fault: Callable[[Path], None], reason: str) -> None:
    fault(folder)
    with pytest.raises(DataError, match=reason) as caught:
        tiny_imagenet(folder.parent)
    assert "\n" not in str(caught.value)


# --- absence ------------------------------------------------------------------------------------


def test_complete_and_unavailable(folder: Path, tmp_path: Path) -> None:
    found = datasets.prepare(ENTRY, folder.parent)
    assert found.attrs["status"] == "complete"
    assert found["images"].shape == (3 * TRAIN + TEST, 64, 64, 3)
    missing = datasets.prepare(ENTRY, tmp_path / "nowhere")
    assert missing.attrs["status"] == "unavailable"
    assert missing.attrs["reason"] == (
        "tiny_imagenet was not found in any source (tried: folder, mirror, registry): put its files "
        "into tiny-imagenet-200 below data.root and run again."
    )


@pytest.mark.parametrize("part", ["wnids.txt", "val/val_annotations.txt", "train", "val/images"])
def test_incomplete_folder_is_missing(folder: Path, tmp_path: Path, part: str) -> None:
    (folder / part).rename(tmp_path / "away")
    with pytest.raises(DataError, match=rf"tiny-imagenet-200 lacks {part}.*put its files into"):
        tiny_imagenet(folder.parent)


def test_local_files(folder: Path) -> None:
    assert local_files(ENTRY, folder.parent / "nowhere") == []
    assert local_files(ENTRY, folder.parent) == ["wnids.txt", "val/val_annotations.txt"]
