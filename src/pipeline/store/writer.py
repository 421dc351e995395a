"""The one writer of stores: whole chunks only, checksummed, the manifest last.

A store is complete if and only if its manifest exists; a killed writer leaves none.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import provenance as origin
from pipeline.errors import StoreError
from pipeline.store import manifest
from pipeline.store.chunks import ChunkRequest, choose_chunks
from pipeline.store.variables import check_array, lookup, validate

if TYPE_CHECKING:
    import xarray as xr
    import zarr


class StoreWriter:
    """Writes one store into ``<folder>/store/data.zarr`` and, on ``close``, its manifest.

    Whatever was left there by an earlier writer is removed first, the manifest before the data.

    Arguments
    ---------
    folder: parent of ``store/`` and ``manifest.json``; made where missing.
    attrs: attributes of the whole store; ``writer.attrs`` may be changed until ``close``.
    """

    def __init__(self, folder: Path | str, attrs: Mapping[str, Any] | None = None) -> None:
        import zarr

        self.folder = Path(folder)
        self.attrs: dict[str, Any] = dict(attrs or {})
        self.path = manifest.zarr_path(self.folder)
        self._arrays: dict[str, zarr.Array] = {}
        self._coordinates: set[str] = set()
        self._closed = False
        with self._disk(self.folder):
            manifest.manifest_path(self.folder).unlink(missing_ok=True)
            links = [path for path in (self.path.parent, self.path) if path.is_symlink()]
            if links:  # what they lead to is another's, or shared between folders
                links[0].unlink()
            elif self.path.exists():
                shutil.rmtree(self.path)
            origin_path(self.folder).unlink(missing_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._group = zarr.open_group(self.path, mode="w-", zarr_format=3)

    def create(
        self,
        name: str,
        shape: Sequence[int],
        dims: Sequence[str] | None = None,
        chunks: ChunkRequest = None,
        dtype: np.dtype | str | None = None,
        *,
        attrs: Mapping[str, Any] | None = None,
        coordinate: bool | None = None,
    ) -> tuple[int, ...]:
        """Create the array of a registered variable; returns its chunk shape.

        Arguments
        ---------
        dims, dtype, coordinate: the registered ones by default (``dims`` with as many of the
            optional ones as ``shape`` has).
        chunks: as in ``choose_chunks``.
        attrs: of the array, beside the registered ``long_name`` and ``units``.

        Raises StoreError where the name is not registered, taken, or has other dimensions or dtype.
        """
        from zarr.codecs import Crc32cCodec, ZstdCodec

        variable = lookup(name)
        names = variable.allowed_dims()[-1][: len(shape)] if dims is None else tuple(dims)
        kind = np.dtype(variable.dtype if dtype is None else dtype)
        check_array(name, names, kind)
        if len(names) != len(shape):
            raise StoreError(f"{name!r} has dimensions {names}, but its shape is {tuple(shape)}.")
        if name in self._arrays or self._closed:
            raise StoreError(
                f"{name!r} cannot be created in {self.path}: it exists or all is closed."
            )
        sizes = choose_chunks(shape, kind, names, chunks)
        with self._disk(self.path / name):
            self._arrays[name] = self._group.create_array(
                name,
                shape=tuple(int(size) for size in shape),
                chunks=sizes,
                dtype=kind,
                compressors=[ZstdCodec(level=1), Crc32cCodec()],
                # whoever bypasses the reader must meet NaN, not 0, where a chunk is missing
                fill_value=np.nan if kind.kind == "f" else kind.type(0).item(),
                dimension_names=names,
                attributes=plain_attrs(name, variable.attrs() | dict(attrs or {})),
                config={"write_empty_chunks": True},
            )
        if variable.coordinate if coordinate is None else coordinate:
            self._coordinates.add(name)
        return sizes

    def write(self, name: str, array: Any, start: Sequence[int] | None = None) -> None:
        """Write whole chunks of an array.

        Arguments
        ---------
        array: of the array's dtype; anything that NumPy takes.
        start: index of its first element in the stored array; all 0 by default.

        Raises StoreError for an unknown name, another dtype, a block that splits a chunk or reaches
        beyond the array, and a disk that is full.
        """
        if name not in self._arrays or self._closed:
            raise StoreError(
                f"{name!r} cannot be written to {self.path}: created and open are "
                f"{[] if self._closed else sorted(self._arrays)}."
            )
        stored, block = self._arrays[name], np.asarray(array)
        if block.dtype != stored.dtype:
            raise StoreError(
                f"A block of {name!r} has dtype {block.dtype}; it must have {stored.dtype}."
            )
        region = _whole_chunks(name, stored, block.shape, start)
        with self._disk(self.path / name):
            stored[region] = block

    def close(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Check and hash what was written, then write the manifest; returns it.

        What differs between identical runs (commit, machine, time) is in ``store/provenance.json``.

        Arguments
        ---------
        provenance: as ``pipeline.provenance.provenance`` returns it.

        Raises StoreError where chunks are missing.
        """
        if self._closed:
            raise StoreError(f"The store {self.path} is already closed.")
        attrs = plain_attrs("the store", self.attrs)
        lasting, circumstances = origin.split(manifest.plain(dict(provenance), "provenance"))
        group_attrs = attrs | {"format_version": manifest.FORMAT_VERSION}
        labels = sorted(name for name in self._coordinates if not self._is_index(name))
        if labels:
            group_attrs["coordinates"] = " ".join(labels)  # the CF convention, which xarray follows
        with self._disk(self.folder):
            self._group.attrs.put(group_attrs)
            content = manifest.build(self.folder, self._describe(), attrs, lasting)
            written = {"written_utc": datetime.now(UTC).isoformat(timespec="seconds")}
            text = manifest.encode(lasting | circumstances | written)
            origin_path(self.folder).write_text(text, encoding="utf-8")
            manifest.write(self.folder, content)
        self._closed = True
        return content

    def _is_index(self, name: str) -> bool:
        return _dims(self._arrays[name]) == (name,)

    def _describe(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "shape": list(array.shape),
                "dtype": array.dtype.name,
                "dims": list(_dims(array)),
                "chunks": list(array.chunks),
                "coordinate": name in self._coordinates,
            }
            for name, array in self._arrays.items()
        }

    @contextlib.contextmanager
    def _disk(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{path} cannot be written ({error.strerror or error})"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                reason = f"The disk is full while writing {path}: free some space"
            raise StoreError(f"{reason}; the store is incomplete and has no manifest.") from error


def write_dataset(
    dataset: xr.Dataset,
    folder: Path | str,
    provenance: Mapping[str, Any],
    chunks: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Write a dataset, coordinates included, as one store; returns the manifest.

    Dask-backed variables are computed in one pass and never held whole.

    Arguments
    ---------
    dataset: of registered variables; its attributes become the store's.
    folder, provenance: as for ``StoreWriter``.
    chunks: dimension -> chunk size, for all data variables that have the dimension.

    Raises StoreError naming the variable that is not registered or differs from its registration.
    """
    validate(dataset)
    unknown = sorted(set(chunks or {}) - {str(dim) for dim in dataset.dims})
    if unknown:
        raise StoreError(
            f"Chunks are given for {unknown}; dimensions are {sorted(map(str, dataset.dims))}."
        )
    writer = StoreWriter(folder, {str(key): value for key, value in dataset.attrs.items()})
    lazy: dict[str, Any] = {}
    for name in sorted(map(str, dataset.variables)):
        array = dataset.variables[name]
        dims = tuple(map(str, array.dims))
        attrs = {str(key): value for key, value in array.attrs.items()}
        label = name in dataset.coords  # small, so one chunk whatever is asked for
        wanted = {d: size for d, size in (chunks or {}).items() if d in dims and not label}
        sizes = writer.create(
            name, array.shape, dims, wanted, array.dtype, attrs=attrs, coordinate=label
        )
        if array.chunks is None:
            writer.write(name, array.values)
        else:
            lazy[name] = array.data.rechunk(sizes)
    if lazy:
        import dask.array

        targets: list[Any] = [_Target(writer, name) for name in lazy]
        dask.array.store(list(lazy.values()), targets, lock=False)
    return writer.close(provenance)


class _Target:
    """What Dask assigns blocks to: an array of the writer, with the writer's checks."""

    def __init__(self, writer: StoreWriter, name: str) -> None:
        self.writer, self.name = writer, name

    def __setitem__(self, region: tuple[slice, ...], block: np.ndarray) -> None:
        self.writer.write(self.name, block, [part.start for part in region])


def origin_path(folder: Path | str) -> Path:
    """The file beside the data that holds commit, machine and time; no rule tracks it."""
    return Path(folder) / "store" / "provenance.json"


def plain_attrs(owner: str, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes in JSON's own types, without the two names that a store sets itself."""
    ours = {
        key: value for key, value in attrs.items() if key not in ("format_version", "coordinates")
    }
    return manifest.plain(ours, f"an attribute of {owner}")


def _dims(array: zarr.Array) -> tuple[str, ...]:
    return tuple(str(name) for name in getattr(array.metadata, "dimension_names", None) or ())


def _whole_chunks(
    name: str, stored: zarr.Array, shape: tuple[int, ...], start: Sequence[int] | None
) -> tuple[slice, ...]:
    first = (0,) * len(stored.shape) if start is None else tuple(int(index) for index in start)
    if len(first) != len(stored.shape) or len(shape) != len(stored.shape):
        raise StoreError(
            f"A block of {name!r} has shape {shape} and start {first}; "
            f"the array's shape is {stored.shape}."
        )
    for begin, length, size, chunk in zip(first, shape, stored.shape, stored.chunks, strict=True):
        end = begin + length
        if begin < 0 or end > size or begin % chunk or (end % chunk and end != size):
            raise StoreError(
                f"A block of {name!r} of shape {shape} at {first} does not cover whole chunks: "
                f"the array has shape {stored.shape} in chunks of {stored.chunks}."
            )
    return tuple(slice(begin, begin + length) for begin, length in zip(first, shape, strict=True))
