"""Where compiled kernels are kept between jobs, and when they are compiled afresh.

Numba's cache notices a change of the file that holds a function, not of the modules that the function
calls. So the folder of the cache is named after the content of all files that the kernels are made of;
copies of the project share what one of them compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import UserProvidedCacheLocator

# Sums may be reordered into vector instructions; NaN and Inf keep their meaning.
REORDERED = {"contract", "nsz", "reassoc"}


def cache_folder(*files: str) -> Path:
    """The cache folder for kernels made of ``files``: below the user's cache, else the temporary one."""
    content = hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = f"manifold-trajectories/kernels-{content}"
    for base in (home, tempfile.gettempdir()):
        folder = Path(base) / name
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp())


def compiler(*files: str, fastmath: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compiled by numba at its first call, or read from the cache of an earlier job."""
    folder = cache_folder(*files)

    def compiled(function: Callable[..., Any]) -> Any:
        with kernels_cached_in(folder):
            return njit(fastmath=fastmath, nogil=True, error_model="numpy", cache=True)(function)

    return compiled


class FolderAsGiven(UserProvidedCacheLocator):  # type: ignore[misc]
    """Keeps kernels in the cache's folder itself; numba's own locators add one per place of the source."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)
        self._cache_path = config.CACHE_DIR


@contextlib.contextmanager
def kernels_cached_in(folder: Path) -> Iterator[None]:
    """Functions that numba decorates within are cached in ``folder``."""
    before = config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES
    config.CACHE_DIR = str(folder)
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{FolderAsGiven.__name__}"
    try:
        yield
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
