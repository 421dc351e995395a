"""How much disk the stores take."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.store.manifest import manifest_path, zarr_path


def table_of_stores(root: Path | str) -> list[tuple[Path, int, int]]:
    """(folder, bytes, files) of every store below ``root``, unfinished ones included, by folder.

    Bytes and files count the store's directory and its manifest.
    """
    rows = []
    for current, folders, _ in os.walk(root):
        folder = Path(current)
        if "store" not in folders or not zarr_path(folder).is_dir():
            continue
        folders.remove("store")
        sizes = _sizes(folder / "store")
        if manifest_path(folder).is_file():
            sizes.append(manifest_path(folder).stat().st_size)
        rows.append((folder, sum(sizes), len(sizes)))
    return sorted(rows)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where it is missing."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> list[int]:
    return [
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(folder)
        for name in names
    ]
