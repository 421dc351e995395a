"""The idx format, and the checksums that torchvision publishes."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import idx, published
from pipeline.data.mirrors import torchvision_attribute
from pipeline.data.published import FASHION_MNIST, KMNIST, MNIST
from pipeline.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


# --- the idx format -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (3, 2), (2, 3, 4)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / f"made-up{suffix}"
    path.write_bytes(packed(idx_bytes(array)) if suffix else idx_bytes(array))
    found = idx.read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.uint8
    assert found.flags.writeable


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD[:-1], "23 bytes of data where its header states"),
        (GOOD + b"\0", "25 bytes of data"),
        (b"", "no idx file"),
        (GOOD[:3], "no idx file"),
        (GOOD[:10], "header is cut short"),
        (bytes([0, 0, 8, 0]), "header is cut short"),
        (b"\x01" + GOOD[1:], "no idx file"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "no idx file"),
        (b"<html>404</html>", "no idx file"),
    ],
)
def test_idx_faults_name_the_file(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "faulty-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        idx.read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "body", "not gzip"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    whole = bytearray(packed(idx_bytes(np.arange(200, dtype=np.uint8))))
    if damage == "body":
        whole[40] ^= 0xFF
    content = {"cut": whole[:-12], "body": whole, "not gzip": b"plain text"}[damage]
    path = tmp_path / "faulty.gz"
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="not a whole gzip file"):
        idx.read_idx(path)


# --- what is published --------------------------------------------------------------------------


def test_md5_sums_are_torchvisions() -> None:
    for known in (MNIST, FASHION_MNIST, KMNIST):
        resources = torchvision_attribute("mnist", known.torchvision_class, "resources")
        assert isinstance(resources, list)
        assert {name.removesuffix(".gz"): md5 for name, md5 in resources} == known.md5


def test_cifar_md5_sums_are_torchvisions() -> None:
    train = torchvision_attribute("cifar", "CIFAR10", "train_list")
    test = torchvision_attribute("cifar", "CIFAR10", "test_list")
    assert isinstance(train, list)
    assert isinstance(test, list)
    for name, md5 in train + test:
        assert published.CIFAR10_MD5[name] == md5
    assert torchvision_attribute("cifar", "CIFAR10", "tgz_md5") == published.CIFAR10_ARCHIVE_MD5
