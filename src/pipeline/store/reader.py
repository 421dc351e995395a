"""The one reader of stores: refuses what is incomplete, damaged or of another format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.store import manifest
from pipeline.store.variables import check_array, lookup

if TYPE_CHECKING:
    import xarray as xr


def open_store(
    folder: Path | str,
    variables: Iterable[str] | None = None,
    target: str | None = None,
    *,
    lazy: bool = True,
) -> xr.Dataset:
    """Open a store, checked and lazily: data variables are Dask arrays, coordinates are loaded.

    Arguments
    ---------
    folder: parent of ``store/`` and ``manifest.json``.
    variables: names wanted; all by default. Coordinates along their dimensions come with them. Only
        what is opened is verified against its SHA-256.
    target: the Snakemake target that rebuilds the store, for the error's sentence; the store's own
        manifest by default.
    lazy: False loads the variables at once and spares the import of Dask.

    Raises StoreError where folder or manifest are missing, the format version is another, chunks
    are missing or left over, a checksum differs, or a variable asked for is not in the store. A
    chunk that is damaged afterwards is a StoreError naming the array while computing.
    """
    import xarray as xr

    content, sources = _checked_arrays(folder, variables, target)
    data, labels = {}, {}
    for name, source in sources.items():
        entry = content["arrays"][name]
        attrs = dict(source.array.attrs)
        if entry["coordinate"]:
            labels[name] = xr.Variable(entry["dims"], np.asarray(source[...]), attrs)
        else:
            values = _lazy(source, name, entry) if lazy else np.asarray(source[...])
            data[name] = xr.Variable(entry["dims"], values, attrs)
    return xr.Dataset(data, coords=labels, attrs=content["attrs"])


def load_arrays(
    folder: Path | str, variables: Iterable[str], rows: int | None = None
) -> dict[str, np.ndarray]:
    """Plain arrays of a store by name, with the checks of ``open_store``; imports neither xarray nor
    Dask.

    Arguments
    ---------
    rows: how many entries of each array's first dimension to read; all by default.
    """
    _, sources = _checked_arrays(folder, variables, None)
    return {name: np.asarray(source[:rows]) for name, source in sources.items()}


def _checked_arrays(
    folder: Path | str, variables: Iterable[str] | None, target: str | None
) -> tuple[dict[str, Any], dict[str, _Checked]]:
    """The manifest and the arrays asked for, once everything about them has been checked."""
    import zarr

    content = manifest.read(folder, target)
    names = _wanted(folder, content["arrays"], variables)
    problems = manifest.check(folder, content, names)
    cure = manifest.remedy(folder, target)
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise StoreError(f"The store in {folder} is not whole: {problems[0]}{more}; {cure}.")
    group = zarr.open_group(
        manifest.zarr_path(folder), mode="r", zarr_format=3, use_consolidated=False
    )
    sources = {}
    for name in names:
        _check_registered(name, content["arrays"][name])
        where = f"{manifest.zarr_path(folder) / name}: {cure}."
        sources[name] = _Checked(group[name], name, where)
    return content, sources


def verify(folder: Path | str) -> list[str]:
    """All that is wrong with the store in ``folder``, one clause each; empty if it is whole."""
    try:
        content = manifest.read(folder)
    except StoreError as error:
        return [str(error)]
    return manifest.check(folder, content)


class _Checked:
    """A Zarr array whose failures to decode a chunk are StoreErrors naming it."""

    def __init__(self, array: Any, name: str, cure: str) -> None:
        self.array, self.name, self.cure = array, name, cure
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.array[key]
        except Exception as error:  # codecs raise ValueError, RuntimeError and their own
            raise StoreError(
                f"A chunk of the array {self.name!r} cannot be read ({error}) in {self.cure}"
            ) from error


def _lazy(source: _Checked, name: str, entry: dict[str, Any]) -> Any:
    import dask.array

    # named by content, so that equal graphs have equal keys in every process
    return dask.array.from_array(
        source, chunks=tuple(entry["chunks"]), name=f"{name}-{entry['sha256']}", inline_array=True
    )


def _wanted(
    folder: Path | str, arrays: dict[str, Any], variables: Iterable[str] | None
) -> list[str]:
    if variables is None:
        return sorted(arrays)
    chosen = [variables] if isinstance(variables, str) else list(variables)
    unknown = sorted(set(chosen) - set(arrays))
    if unknown:
        raise StoreError(f"The store in {folder} has no {unknown}; it has {sorted(arrays)}.")
    dims = {dim for name in chosen for dim in arrays[name]["dims"]}
    labels = {
        name for name in arrays if arrays[name]["coordinate"] and dims >= {*arrays[name]["dims"]}
    }
    return sorted(labels | set(chosen))


def _check_registered(name: str, entry: dict[str, Any]) -> None:
    try:
        lookup(name)
    except StoreError:
        return  # written with a variable registered elsewhere; its manifest vouches for it
    check_array(name, tuple(entry["dims"]), np.dtype(entry["dtype"]))
