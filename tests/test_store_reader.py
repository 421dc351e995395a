"""Reading stores: laziness, and every fault refused with one sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StoreError
from pipeline.store import manifest, variables
from pipeline.store.reader import load_arrays, open_store, verify
from pipeline.store.writer import write_dataset


@pytest.fixture
def store(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    hidden = random.normal(size=(4, 2, 6, 3)).astype(np.float32)
    dataset = xr.Dataset(
        {
            "activations_1": (("checkpoint", "stored_seed", "sample", "unit_1"), hidden),
            "loss": (("seed", "epoch"), random.normal(size=(2, 9))),
        },
        coords={
            "checkpoint": np.arange(4),
            "checkpoint_epoch": ("checkpoint", np.array([0, 1, 3, 8])),
            "stored_seed": [0, 1],
            "seed": [0, 1],
        },
        attrs={"samples": 6},
    )
    folder = tmp_path / "run"
    write_dataset(dataset, folder, {"config": {"depth": 2}}, chunks={"checkpoint": 1})
    return folder


def flip(path: Path, position: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


# --- reading -------------------------------------------------------------------------------------


def test_data_are_lazy_and_coordinates_loaded(store: Path) -> None:
    opened = open_store(store)
    assert isinstance(opened.activations_1.data, dask.array.Array)
    assert opened.activations_1.chunksizes["checkpoint"] == (1, 1, 1, 1)
    assert all(array.chunks is None for array in opened.coords.values())
    assert opened.activations_1.sel(checkpoint=2, stored_seed=1).shape == (6, 3)
    assert opened.checkpoint_epoch.values.tolist() == [0, 1, 3, 8]


def test_only_what_is_asked_for_is_read(store: Path) -> None:
    flip(manifest.zarr_path(store) / "loss" / "c" / "0" / "0")
    opened = open_store(store, ["activations_1"])
    assert list(opened.data_vars) == ["activations_1"]
    assert set(opened.coords) == {"checkpoint", "checkpoint_epoch", "stored_seed"}
    assert opened.attrs == {"samples": 6}
    with pytest.raises(StoreError, match=r"'loss'.*are damaged"):
        open_store(store, "loss")
    with pytest.raises(StoreError, match=r"'loss'.*are damaged"):
        open_store(store)


def test_unknown_variable(store: Path) -> None:
    with pytest.raises(StoreError, match=r"has no \['phi'\]; it has \['activations_1'"):
        open_store(store, ["phi", "loss"])


def test_no_file_is_made_by_reading(store: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    open_store(store).compute()
    with pytest.raises(StoreError):
        open_store(tmp_path / "missing")
    assert sorted(tmp_path.rglob("*")) == before


def test_dask_keys_are_named_by_content(store: Path) -> None:
    first, second = open_store(store), open_store(store)
    assert first.loss.data.name == second.loss.data.name
    assert first.loss.data.name != first.activations_1.data.name


def test_reading_in_parallel_and_by_slices(store: Path) -> None:
    opened = open_store(store)
    whole = opened.activations_1.values
    part = opened.activations_1.isel(checkpoint=[3, 0], sample=slice(1, 5, 2), unit_1=-1)
    assert np.array_equal(part.values, whole[[3, 0]][:, :, 1:5:2, -1])
    with dask.config.set(scheduler="synchronous"):
        assert np.array_equal(opened.activations_1.values, whole)


# --- faults --------------------------------------------------------------------------------------


def delete_chunk(store: Path) -> None:
    (manifest.zarr_path(store) / "activations_1/c/2/0/0/0").unlink()


def add_chunk(store: Path) -> None:
    path = manifest.zarr_path(store) / "activations_1/c/3/0/0/0"
    (path.parent.parent.parent.parent / "4/0/0").mkdir(parents=True)
    (path.parent.parent.parent.parent / "4/0/0/0").write_bytes(path.read_bytes())


def swap_chunks(store: Path) -> None:
    first, second = (manifest.zarr_path(store) / f"activations_1/c/{i}/0/0/0" for i in (0, 1))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


def add_array(store: Path) -> None:
    (manifest.zarr_path(store) / "phi").mkdir()


def delete_array(store: Path) -> None:
    path = manifest.zarr_path(store) / "loss"
    path.rename(store / "elsewhere")


def remove_data(store: Path) -> None:
    manifest.zarr_path(store).rename(store / "elsewhere")


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (delete_chunk, r"'activations_1' lacks 1 of its 5 files, such as .*c/2/0/0/0"),
    (add_chunk, r"'activations_1' has 1 files too many, such as .*c/4/0/0/0"),
    (swap_chunks, r"'activations_1' in .* are damaged"),
    (add_array, r"phi is not listed in the manifest"),
    (delete_array, r"'loss' lacks 2 of its 2 files"),
    (remove_data, r"data.zarr does not exist"),
    (lambda s: flip(manifest.zarr_path(s) / "loss/c/0/0", 20), r"'loss' in .* are damaged"),
    (lambda s: flip(manifest.zarr_path(s) / "loss/zarr.json"), r"'loss' in .* are damaged"),
    (lambda s: flip(manifest.zarr_path(s) / "zarr.json"), r"zarr.json is missing or altered"),
    (lambda s: flip(manifest.zarr_path(s) / "seed/c/0"), r"'seed' in .* are damaged"),
    (lambda s: manifest.manifest_path(s).unlink(), r"never finished"),
    (lambda s: manifest.manifest_path(s).write_text("{"), r"cannot be read as a manifest"),
    (lambda s: manifest.manifest_path(s).write_text("[]"), r"format_version None"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_faults_are_refused(store: Path, fault: Callable[[Path], None], message: str) -> None:
    fault(store)
    with pytest.raises(StoreError, match=message) as caught:
        open_store(store)
    assert re.search(
        r"delete \S+ and run: snakemake --cores all \S+/manifest.json", str(caught.value)
    )
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=r"run: snakemake --cores all results/x/manifest.json\."):
        open_store(store, target="results/x/manifest.json")
    problems = verify(store)
    assert len(problems) == 1
    assert str(store) in problems[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"depth": 2', '"depth": 3'),
        ('"samples": 6', '"samples": 7'),
        ('"chunk_count": 4', '"chunk_count": 3'),
        ('"float32"', '"float64"'),
        ('"provenance": {', '"more": 1,\n  "provenance": {'),
    ],
)
def test_edited_manifest_is_refused(store: Path, old: str, new: str) -> None:
    path = manifest.manifest_path(store)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(StoreError, match="was altered after it was written"):
        open_store(store)


@pytest.mark.parametrize("version", [0, manifest.FORMAT_VERSION + 1, "1", None])
def test_other_format_version_names_the_target(store: Path, version: object) -> None:
    path = manifest.manifest_path(store)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    message = rf"format_version {version!r}; this version of the package reads 1: delete .*run and"
    with pytest.raises(StoreError, match=message + " run: snakemake --cores all fig_stragglers_1a"):
        open_store(store, target="fig_stragglers_1a")


def test_hidden_files_are_no_fault(store: Path) -> None:
    (store / "store" / ".snakemake_timestamp").touch()
    (manifest.zarr_path(store) / "loss" / ".DS_Store").touch()
    assert verify(store) == []
    assert open_store(store).loss.values.shape == (2, 9)


def test_damage_after_opening_names_the_array(store: Path) -> None:
    opened = open_store(store)
    flip(manifest.zarr_path(store) / "activations_1/c/1/0/0/0", 30)
    assert opened.activations_1.isel(checkpoint=0).values.shape == (2, 6, 3)
    with pytest.raises(StoreError, match="chunk of the array 'activations_1' cannot be read"):
        opened.activations_1.compute()


def test_registry_that_changed_is_noticed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = dict(variables.VARIABLES)
    del changed["loss"]
    monkeypatch.setattr(variables, "VARIABLES", changed)
    assert open_store(store).loss.values.shape == (2, 9)  # registered by someone else
    variables.register("loss", ("seed", "epoch"), "float32", "training loss")
    with pytest.raises(StoreError, match="'loss' has dtype float64; it must have float32"):
        open_store(store)


KILLED = """
import os, signal, sys
import numpy as np
from pipeline.store.writer import StoreWriter
writer = StoreWriter(sys.argv[1])
writer.create("loss", (2, 3), chunks=(1, 3))
writer.write("loss", np.zeros((1, 3)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_writer_leaves_a_store_that_is_refused(store: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False)
    assert done.returncode == -9
    assert (manifest.zarr_path(store) / "loss/c/0/0").is_file()
    with pytest.raises(StoreError, match="never finished"):
        open_store(store)


def test_loading_at_once_gives_the_same_values(store: Path) -> None:
    lazy, loaded = open_store(store), open_store(store, lazy=False)
    assert lazy.identical(loaded)
    assert all(isinstance(variable.data, np.ndarray) for variable in loaded.variables.values())


def test_plain_arrays_are_the_same_and_checked(store: Path) -> None:
    found = load_arrays(store, ["loss"])
    np.testing.assert_array_equal(found["loss"], open_store(store)["loss"].values)
    chunk = next(path for path in (store / "store/data.zarr/loss/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=r"'loss' in .* are damaged"):
        load_arrays(store, ["loss"])
