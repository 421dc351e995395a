"""The manifest beside a store: what the store holds, byte for byte, and what it was made with.

``<folder>/manifest.json`` is deterministic: identical results give identical bytes on every branch
and at every time, so that a workflow can compare it. It lists per array the number of chunks and a
SHA-256 of its files, because Zarr reads a missing chunk as the fill value.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreError

FORMAT_VERSION = 1
"""Version of the layout of stores and manifests; raised with every change that old readers miss."""

BLOCK = 1 << 20  # bytes read at a time while hashing

_KEYS = ("arrays", "attrs", "format_version", "group_sha256", "provenance", "sha256")


def zarr_path(folder: Path | str) -> Path:
    """The Zarr group of the store in ``folder``."""
    # one level below the tracked directory, into which Snakemake puts a timestamp file
    return Path(folder) / "store" / "data.zarr"


def manifest_path(folder: Path | str) -> Path:
    """The manifest of the store in ``folder``."""
    return Path(folder) / "manifest.json"


def remedy(folder: Path | str, target: str | None = None) -> str:
    """What to do about a store that is refused."""
    return f"delete {folder} and run: snakemake --cores all {target or manifest_path(folder)}"


def plain(value: Any, where: str) -> Any:
    """``value`` in JSON's own types, keys sorted; StoreError naming ``where`` if it has none."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        entries = {str(key): entry for key, entry in value.items()}
        return {key: plain(entries[key], f"{where}.{key}") for key in sorted(entries)}
    if isinstance(value, list | tuple):
        return [plain(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise StoreError(
            f"{where} is {value}, which JSON cannot hold: store it as an array instead."
        )
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise StoreError(
        f"{where} is a {type(value).__name__}; only text, numbers, booleans, lists and "
        "dictionaries of them can be stored outside of arrays."
    )


def encode(content: dict[str, Any]) -> str:
    """The text of a JSON file: sorted keys, two spaces, a final newline."""
    return json.dumps(content, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def chunk_keys(shape: Iterable[int], chunks: Iterable[int]) -> list[str]:
    """The keys of all chunks of a Zarr 3 array, relative to its folder."""
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    return ["/".join(["c", *map(str, index)]) for index in itertools.product(*map(range, counts))]


def array_digest(folder: Path) -> str:
    """SHA-256 over key, size and bytes of all files of one array, in the order of their keys."""
    digest = hashlib.sha256()
    for key in sorted(_files(folder)):
        _update(digest, key, folder / key)
    return digest.hexdigest()


def build(
    folder: Path | str,
    arrays: dict[str, dict[str, Any]],
    attrs: dict[str, Any],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """The manifest of a finished store.

    Arguments
    ---------
    arrays: name -> {shape, dtype, dims, chunks}; the chunk count and the SHA-256 are added here.
    attrs, provenance: in JSON's own types.

    Raises StoreError where chunks are missing or files were left over.
    """
    root = zarr_path(folder)
    described = {}
    for name, entry in arrays.items():
        problem = _chunk_problem(root / name, name, entry)
        if problem:
            raise StoreError(
                f"The store in {folder} cannot be closed: {problem}; write the array whole."
            )
        count = len(chunk_keys(entry["shape"], entry["chunks"]))
        described[name] = entry | {"chunk_count": count, "sha256": array_digest(root / name)}
    content = {
        "format_version": FORMAT_VERSION,
        "arrays": described,
        "attrs": attrs,
        "provenance": provenance,
        "group_sha256": _group_digest(root),
    }
    return content | {"sha256": _self_digest(content)}


def write(folder: Path | str, content: dict[str, Any]) -> None:
    """Write the manifest in one step: it is there whole or not at all."""
    path = manifest_path(folder)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(encode(content), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(folder: Path | str, target: str | None = None) -> dict[str, Any]:
    """The manifest of the store in ``folder``, checked in itself.

    Raises StoreError, with ``target`` as what rebuilds the store, where it is missing, is no
    manifest, is of another format version or was edited.
    """
    path = manifest_path(folder)
    cure = remedy(folder, target)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"{path} does not exist, so the store was never finished or lies elsewhere: {cure}."
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as a manifest ({error}): {cure}.") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{path} has format_version {version!r}; this version of the package reads "
            f"{FORMAT_VERSION}: {cure}."
        )
    body = {key: value for key, value in content.items() if key != "sha256"}
    if sorted(content) != sorted(_KEYS) or content["sha256"] != _self_digest(body):
        raise StoreError(
            f"{path} was altered after it was written (its own sha256 differs): {cure}."
        )
    return content


def check(
    folder: Path | str, content: dict[str, Any], names: Iterable[str] | None = None
) -> list[str]:
    """What is wrong with the files of a store, one clause per problem; empty if it is whole.

    Arguments
    ---------
    content: the manifest, as ``read`` returns it.
    names: the arrays whose chunks and checksums are looked at; all of them by default.
    """
    root = zarr_path(folder)
    arrays = content["arrays"]
    if not root.is_dir():
        return [f"{root} does not exist"]
    problems = []
    if _group_digest(root) != content["group_sha256"]:
        problems.append(f"{root / 'zarr.json'} is missing or altered (its sha256 differs)")
    for entry in sorted(root.iterdir()):
        if entry.name not in {*arrays, "zarr.json"} and not entry.name.startswith("."):
            problems.append(f"{entry} is not listed in the manifest")
    for name in sorted(arrays) if names is None else names:
        problem = _chunk_problem(root / name, name, arrays[name])
        if not problem and array_digest(root / name) != arrays[name]["sha256"]:
            problem = (
                f"the files of the array {name!r} in {root / name} are damaged (sha256 differs)"
            )
        if problem:
            problems.append(problem)
    return problems


def _chunk_problem(folder: Path, name: str, entry: dict[str, Any]) -> str | None:
    expected = {"zarr.json", *chunk_keys(entry["shape"], entry["chunks"])}
    present = set(_files(folder))
    missing, extra = sorted(expected - present), sorted(present - expected)
    if missing:
        return (
            f"the array {name!r} lacks {len(missing)} of its {len(expected)} files, "
            f"such as {folder / missing[0]}"
        )
    if extra:
        return f"the array {name!r} has {len(extra)} files too many, such as {folder / extra[0]}"
    return None


def _files(folder: Path, prefix: str = "") -> Iterator[str]:
    """Keys of all files below ``folder``, without the hidden ones that file managers leave."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(folder / entry.name, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def _update(digest: Any, key: str, path: Path) -> None:
    digest.update(f"{key}\0{path.stat().st_size}\0".encode())
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)


def _group_digest(root: Path) -> str:
    path = root / "zarr.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _self_digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(encode(body).encode()).hexdigest()
