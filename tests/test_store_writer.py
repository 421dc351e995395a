"""Writing stores: round trips, determinism, refusals."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline.analysis.inversion  # noqa: F401 - registers inverts
from pipeline.errors import StoreError
from pipeline.store import manifest
from pipeline.store.reader import open_store, verify
from pipeline.store.usage import table_of_stores
from pipeline.store.writer import StoreWriter, write_dataset

ORIGIN = {"config": {"depth": 2}, "seeds": {"root": 1}, "commit": "abc", "dirty": False}


def trajectories(seeds: int = 3, epochs: int = 5, seed: int = 0) -> xr.Dataset:
    random = np.random.default_rng(seed)
    loss = random.normal(size=(seeds, epochs))
    loss.flat[0] = np.nan
    return xr.Dataset(
        {
            "loss": (("seed", "epoch"), loss),
            "radius_plus": (("seed", "epoch", "layer"), random.normal(size=(seeds, epochs, 1))),
            "failed_epoch": (("seed",), np.full(seeds, -1)),
            "misclassified": (
                ("seed", "epoch", "sample_byte"),
                random.integers(0, 256, (seeds, epochs, 7), dtype=np.uint8),
            ),
            "inverts": (("run", "seed"), random.random((1, seeds)) < 0.5),
        },
        coords={"seed": np.arange(seeds), "epoch": np.arange(epochs), "layer": [1], "run": [0]},
        attrs={"samples": 51, "failed_seeds": [], "networks": {"width": 20}},
    )


def checkpoints(count: int = 4) -> xr.Dataset:
    random = np.random.default_rng(1)
    hidden = random.normal(size=(count, 2, 6, 3)).astype(np.float32)
    return xr.Dataset(
        {
            "activations_1": (("checkpoint", "stored_seed", "sample", "unit_1"), hidden),
            "activations_2": (("checkpoint", "stored_seed", "sample", "unit_2"), 2 * hidden),
        },
        coords={
            "checkpoint": np.arange(count),
            "checkpoint_epoch": ("checkpoint", 10 * np.arange(count)),
            "stored_seed": [0, 7],
        },
    )


def files_of(folder: Path) -> dict[str, bytes]:
    root = manifest.zarr_path(folder)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", [trajectories(), checkpoints()], ids=["trajectories", "hidden"])
def test_round_trip(tmp_path: Path, dataset: xr.Dataset) -> None:
    write_dataset(dataset, tmp_path, ORIGIN)
    read = open_store(tmp_path)
    xr.testing.assert_equal(read, dataset)
    assert set(read.coords) == set(dataset.coords)
    assert read.attrs == dataset.attrs
    for name in dataset.variables:
        assert read[name].dtype == dataset[name].dtype
        assert read[name].dims == dataset[name].dims
    assert verify(tmp_path) == []


CASES = st.sampled_from(
    [
        ("loss", "float64", 2),
        ("activations_3", "float32", 4),
        ("images", "uint8", 3),
        ("images", "uint8", 4),
        ("labels", "int64", 1),
        ("binary_labels", "int8", 1),
        ("inverts", "bool", 2),
    ]
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=CASES, data=st.data())
def test_bits_survive_any_shape_and_chunks(
    tmp_path: Path, case: tuple[str, str, int], data: st.DataObject
) -> None:
    name, dtype, ndim = case
    shape = tuple(data.draw(st.integers(0, 5)) for _ in range(ndim))
    chunks = tuple(data.draw(st.integers(1, 6)) for _ in range(ndim))
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.frombuffer(data.draw(st.binary(min_size=count, max_size=count)), dtype=np.uint8)
    raw = raw & 1 if dtype == "bool" else raw
    array = raw.view(dtype).reshape(shape)
    writer = StoreWriter(tmp_path / "case")
    writer.create(name, shape, chunks=chunks)
    writer.write(name, array)
    writer.close({})
    read = open_store(tmp_path / "case")[name].values
    assert read.shape == shape
    assert read.tobytes() == array.tobytes()


def test_nan_and_infinity_survive(tmp_path: Path) -> None:
    values = np.array([[np.nan, np.inf, -np.inf, -0.0, 5e-324]])
    write_dataset(xr.Dataset({"loss": (("seed", "epoch"), values)}), tmp_path, ORIGIN)
    assert open_store(tmp_path).loss.values.tobytes() == values.tobytes()


def test_dask_input_equals_numpy_input(tmp_path: Path) -> None:
    dataset = checkpoints()
    lazy = dataset.chunk({"checkpoint": 3, "sample": 4})
    plain = write_dataset(dataset, tmp_path / "plain", ORIGIN, chunks={"checkpoint": 2})
    assert plain["arrays"]["activations_1"]["chunk_count"] == 2
    assert plain["arrays"]["checkpoint_epoch"]["chunk_count"] == 1
    assert write_dataset(lazy, tmp_path / "lazy", ORIGIN, chunks={"checkpoint": 2}) == plain
    assert files_of(tmp_path / "lazy") == files_of(tmp_path / "plain")
    # what was read can be written again
    assert write_dataset(open_store(tmp_path / "lazy"), tmp_path / "again", ORIGIN)["attrs"] == {}


def test_xarray_alone_opens_the_store(tmp_path: Path) -> None:
    for name, dataset in {"a": trajectories(), "b": checkpoints()}.items():
        write_dataset(dataset, tmp_path / name, ORIGIN)
        path = manifest.zarr_path(tmp_path / name)
        with xr.open_zarr(path, consolidated=False, chunks=None) as read:
            xr.testing.assert_equal(read.load(), dataset)
            assert read.attrs["format_version"] == manifest.FORMAT_VERSION
            assert set(read.coords) == set(dataset.coords)


def test_block_by_block(tmp_path: Path) -> None:
    dataset = checkpoints()
    writer = StoreWriter(tmp_path, {"samples": np.int64(6)})
    for name in ("checkpoint", "checkpoint_epoch", "stored_seed"):
        writer.create(name, dataset[name].shape)
        writer.write(name, dataset[name].values)
    shape = dataset.activations_1.shape
    assert writer.create("activations_1", shape, chunks={"checkpoint": 1}) == (1, *shape[1:])
    for index in (2, 0, 3, 1):  # in any order
        block = dataset.activations_1.values[index : index + 1]
        writer.write("activations_1", block, start=(index, 0, 0, 0))
    content = writer.close(ORIGIN)
    assert content["arrays"]["activations_1"]["chunk_count"] == 4
    read = open_store(tmp_path)
    xr.testing.assert_equal(read, dataset.drop_vars("activations_2"))
    assert read.activations_1.attrs["long_name"].startswith("output of the hidden layer")
    assert read.attrs == {"samples": 6}


# --- determinism ---------------------------------------------------------------------------------


def test_identical_input_gives_identical_bytes(tmp_path: Path) -> None:
    first = write_dataset(trajectories(), tmp_path / "a", ORIGIN)
    later = ORIGIN | {"commit": "def", "dirty": True, "platform": {"cpu": "another"}}
    reordered = trajectories()[["misclassified", "inverts", "loss", "failed_epoch", "radius_plus"]]
    second = write_dataset(reordered, tmp_path / "b", later)
    assert first == second
    texts = [manifest.manifest_path(tmp_path / name).read_bytes() for name in "ab"]
    assert texts[0] == texts[1]
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    other = write_dataset(trajectories(seed=1), tmp_path / "c", ORIGIN)
    assert other["arrays"]["loss"]["sha256"] != first["arrays"]["loss"]["sha256"]
    assert other["arrays"]["epoch"] == first["arrays"]["epoch"]


def test_circumstances_stay_out_of_the_manifest(tmp_path: Path) -> None:
    content = write_dataset(trajectories(), tmp_path, ORIGIN | {"platform": {"cpu": "x"}})
    assert content["provenance"] == {"config": {"depth": 2}, "seeds": {"root": 1}}
    origin = json.loads((tmp_path / "store" / "provenance.json").read_text())
    assert origin["commit"] == "abc"
    assert origin["platform"] == {"cpu": "x"}
    assert origin["config"] == {"depth": 2}
    assert origin["written_utc"].endswith("+00:00")
    assert str(tmp_path) not in manifest.manifest_path(tmp_path).read_text()


def test_every_array_has_checksums_and_empty_chunks(tmp_path: Path) -> None:
    zeros = xr.Dataset({"loss": (("seed", "epoch"), np.zeros((4, 6)))})
    nans = xr.full_like(zeros, np.nan)  # all equal to the fill value
    for name, dataset in {"zeros": zeros, "nans": nans}.items():
        content = write_dataset(dataset, tmp_path / name, ORIGIN, chunks={"seed": 1, "epoch": 3})
        assert content["arrays"]["loss"]["chunk_count"] == 8
        described = json.loads((manifest.zarr_path(tmp_path / name) / "loss/zarr.json").read_text())
        assert [codec["name"] for codec in described["codecs"]] == ["bytes", "zstd", "crc32c"]
        assert described["dimension_names"] == ["seed", "epoch"]


# --- refusals ------------------------------------------------------------------------------------


def test_misaligned_writes_are_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    writer.create("loss", (5, 6), chunks=(2, 3))
    for shape, start in [
        ((2, 2), (0, 0)),  # ends within a chunk
        ((2, 3), (1, 0)),  # starts within a chunk
        ((2, 3), (4, 0)),  # reaches beyond the array
        ((2, 3), (-2, 0)),
    ]:
        with pytest.raises(StoreError, match=r"'loss'.*does not cover whole chunks"):
            writer.write("loss", np.zeros(shape), start)
    with pytest.raises(StoreError, match=r"start \(0,\)"):
        writer.write("loss", np.zeros((2, 3)), (0,))
    with pytest.raises(StoreError, match="has shape"):
        writer.write("loss", np.zeros(6))
    writer.write("loss", np.ones((1, 6)), (4, 0))  # the last, smaller chunk row
    writer.write("loss", np.ones((4, 6)))
    writer.close({})
    assert open_store(tmp_path).loss.values.tolist() == np.ones((5, 6)).tolist()


def test_wrong_arrays_are_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    with pytest.raises(StoreError, match="'nonsense' is not a registered"):
        writer.create("nonsense", (3,))
    with pytest.raises(StoreError, match="'loss' has dimensions"):
        writer.create("loss", (3, 4), dims=("epoch", "seed"))
    with pytest.raises(StoreError, match="'loss' has dtype float32"):
        writer.create("loss", (3, 4), dtype="float32")
    with pytest.raises(StoreError, match="its shape is"):
        writer.create("loss", (3, 4, 5))
    with pytest.raises(StoreError, match="'images' has dimensions"):
        writer.create("images", (3, 4))
    writer.create("loss", (3, 4))
    with pytest.raises(StoreError, match="'loss' cannot be created"):
        writer.create("loss", (3, 4))
    with pytest.raises(StoreError, match="dtype float32; it must have float64"):
        writer.write("loss", np.zeros((3, 4), np.float32))
    with pytest.raises(StoreError, match=r"'test_error' cannot be written.*\['loss'\]"):
        writer.write("test_error", np.zeros((3, 4)))


def test_dataset_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    write_dataset(trajectories(), tmp_path, ORIGIN)
    with pytest.raises(StoreError, match="'mystery' is not a registered"):
        write_dataset(trajectories().rename(loss="mystery"), tmp_path, ORIGIN)
    with pytest.raises(StoreError, match=r"\['unit'\].*dimensions are \['epoch'"):
        write_dataset(trajectories(), tmp_path, ORIGIN, chunks={"unit": 1})
    assert verify(tmp_path) == []


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"mean": float("nan")}, "an attribute of the store.mean is nan"),
        ({"nested": {"values": [1, {1, 2}]}}, r"nested.values\[1\] is a set"),
    ],
)
def test_attributes_that_json_lacks(tmp_path: Path, attrs: dict, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        write_dataset(trajectories().assign_attrs(attrs), tmp_path, ORIGIN)
    assert not manifest.manifest_path(tmp_path).exists()


def test_unwritten_chunks_and_second_close(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    writer.create("loss", (4, 3), chunks=(2, 3))
    writer.write("loss", np.zeros((2, 3)))
    with pytest.raises(StoreError, match=r"'loss' lacks 1 of its 3 files.*c/1/0"):
        writer.close({})
    assert not manifest.manifest_path(tmp_path).exists()
    writer.write("loss", np.zeros((2, 3)), (2, 0))
    writer.close({})
    with pytest.raises(StoreError, match="already closed"):
        writer.close({})
    with pytest.raises(StoreError, match="cannot be written"):
        writer.write("loss", np.zeros((2, 3)))


def test_new_writer_removes_what_was_there(tmp_path: Path) -> None:
    write_dataset(checkpoints(), tmp_path, ORIGIN)
    (tmp_path / "store" / ".snakemake_timestamp").touch()
    StoreWriter(tmp_path).create("loss", (2, 2))  # and is killed
    assert not manifest.manifest_path(tmp_path).exists()
    assert not (tmp_path / "store" / "provenance.json").exists()
    with pytest.raises(StoreError, match=r"manifest.json does not exist"):
        open_store(tmp_path)
    write_dataset(trajectories(), tmp_path, ORIGIN)
    assert verify(tmp_path) == []
    assert not (manifest.zarr_path(tmp_path) / "activations_1").exists()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(trajectories(), tmp_path, ORIGIN)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(StoreError, match=r"disk is full.*data.zarr/.*free some space"):
            write_dataset(trajectories(), tmp_path, ORIGIN)
    assert not manifest.manifest_path(tmp_path).exists()
    with monkeypatch.context() as patch:
        patch.setattr(manifest.os, "replace", full)  # full while the manifest is written
        with pytest.raises(StoreError, match="disk is full"):
            write_dataset(trajectories(), tmp_path, ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    with pytest.raises(StoreError, match="never finished"):
        open_store(tmp_path)


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        StoreWriter(tmp_path / "file")


def test_lazy_writing_computes_each_block_once(tmp_path: Path) -> None:
    calls = []

    def block(block_info: dict) -> np.ndarray:
        calls.append(block_info[None]["chunk-location"])
        return np.full(block_info[None]["chunk-shape"], 1.0)

    values = dask.array.map_blocks(block, chunks=((2, 2), (3,)), dtype="float64", meta=np.empty(0))
    dataset = xr.Dataset(
        {"loss": (("seed", "epoch"), values), "train_error": (("seed", "epoch"), values + 1)}
    )
    calls.clear()
    write_dataset(dataset, tmp_path, ORIGIN, chunks={"seed": 2})
    assert sorted(calls) == [(0, 0), (1, 0)]
    assert open_store(tmp_path).train_error.values.tolist() == np.full((4, 3), 2.0).tolist()


def test_table_of_stores(tmp_path: Path) -> None:
    write_dataset(trajectories(), tmp_path / "runs" / "b", ORIGIN)
    StoreWriter(tmp_path / "data" / "a")
    (tmp_path / "figures").mkdir()
    rows = table_of_stores(tmp_path)
    assert [row[0] for row in rows] == [tmp_path / "data" / "a", tmp_path / "runs" / "b"]
    assert rows[0][1:] == (
        (manifest.zarr_path(tmp_path / "data/a") / "zarr.json").stat().st_size,
        1,
    )
    files = [path for path in (tmp_path / "runs" / "b").rglob("*") if path.is_file()]
    assert rows[1][1:] == (sum(path.stat().st_size for path in files), len(files))


@pytest.mark.parametrize("linked", ["store", "store/data.zarr"])
def test_what_a_store_is_linked_to_is_let_alone(tmp_path: Path, linked: str) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "run" / linked
    (elsewhere / "data.zarr").mkdir(parents=True)
    (elsewhere / "data.zarr/kept").touch()
    (elsewhere / "provenance.json").touch()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere if linked == "store" else elsewhere / "data.zarr")
    StoreWriter(tmp_path / "run")
    assert not link.is_symlink()
    assert [path.name for path in (elsewhere / "data.zarr").iterdir()] == ["kept"]
    assert (elsewhere / "provenance.json").exists()
    assert (tmp_path / "run/store/data.zarr").is_dir()
