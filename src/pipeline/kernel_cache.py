"""Where compiled kernels are kept between jobs, and when they are compiled afresh.

Numba's cache notices a change of the file that holds a function, not of the modules that the function
calls or takes constants from. So the folder of the cache is named after all that the kernels are made of
and for; copies of the project share what one of them compiled.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import config, njit
from numba.core.caching import FunctionCache, UserProvidedCacheLocator

from pipeline.user_cache import user_cache

# Sums may be reordered into vector instructions; NaN and Inf keep their meaning.
REORDERED = {"contract", "nsz", "reassoc"}


def cache_folder(*files: str, fastmath: Iterable[str] = ()) -> Path:
    """The cache folder for kernels made of ``files`` for this processor by this numba.

    It is a new one each time where none can be kept.
    """
    processor = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    made_for = numba.__version__, *processor, *sorted(fastmath)
    texts = [Path(file).read_bytes() for file in (__file__, *files)]
    content = hashlib.sha256(b"".join([repr(made_for).encode(), *texts])).hexdigest()[:16]
    return user_cache(f"kernels-{content}") or Path(tempfile.mkdtemp())


def compiler(*files: str, fastmath: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compiled by numba at its first call, or read from the cache of an earlier job.

    Arguments
    ---------
    files: of the function, and of all modules that it calls or takes constants from.
    """
    folder = cache_folder(*files, fastmath=fastmath)

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = njit(fastmath=fastmath, nogil=True, error_model="numpy")(function)
        with kernels_cached_in(folder):
            dispatcher._cache = OneWriter(function)
        return dispatcher

    return compiled


class OneWriter(FunctionCache):  # type: ignore[misc]
    """Numba's cache, written by one process at a time: two that number their kernels at the same moment would
    give two kernels one number.
    """

    def _save_overload(self, signature: Any, data: Any) -> None:
        self._impl.locator.ensure_cache_path()  # it may have been cleared meanwhile
        with open(Path(self.cache_path) / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            super()._save_overload(signature, data)


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
    # the others where that folder cannot be written
    known = (f"{__name__}.{FolderAsGiven.__name__}", "InTreeCacheLocator", "UserWideCacheLocator")
    config.CACHE_LOCATOR_CLASSES = ",".join(known)
    try:
        yield
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
