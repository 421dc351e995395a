"""What each store should be made with, as a file that Snakemake compares with the store.

Snakemake records the parameters of finished jobs in .snakemake/. Those records can be lost (a deleted
folder, results copied from elsewhere); the manifests remember. So every store has a *request*: a small
file with its configuration and code fingerprint, an input of its rule. It is older than the store that
was made with just that, and newer than one that was made otherwise.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError


def is_stale(manifest: Path, config: Mapping[str, Any], code: str) -> bool:
    """Whether ``manifest`` names another configuration or code fingerprint.

    A manifest that is missing or cannot be read is not stale: it is missing, or refused on opening.
    """
    try:
        made_with = json.loads(manifest.read_text(encoding="utf-8"))["provenance"]
        found = made_with["config"], made_with["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return found != (json.loads(json.dumps(config)), code)


def write_request(request: Path, manifest: Path, config: Mapping[str, Any], code: str) -> None:
    """Write what a store should be made with, and date it before or after the store that is there."""
    content = json.dumps({"config": config, "code": code}, sort_keys=True, indent=1) + "\n"
    if not request.is_file() or request.read_text(encoding="utf-8") != content:
        request.parent.mkdir(parents=True, exist_ok=True)
        temporary = request.with_name(f"{request.name}.{os.getpid()}.tmp")
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, request)
    if manifest.is_file():
        made = manifest.stat().st_mtime
        if not is_stale(manifest, config, code):
            os.utime(request, (made - 1, made - 1))
        elif request.stat().st_mtime <= made:
            os.utime(request)


def write_requests(expected: Iterable[tuple[str, str, Mapping[str, Any], str]]) -> None:
    """Write the requests of many stores: (request, manifest, configuration, code fingerprint).

    Raises PipelineError where the folder of results cannot be written.
    """
    for request, manifest, config, code in expected:
        try:
            write_request(Path(request), Path(manifest), config, code)
        except OSError as error:
            raise PipelineError(
                f"{request} cannot be written ({error.strerror}): results need a folder that can be written, "
                "on a disk with room; mend that, or work in another folder (--directory)."
            ) from error


def renew_interrupted(folder: Path, results: Path) -> list[Path]:
    """Have that made again which killed jobs were about to replace; returns those files.

    Snakemake deletes a result before its job makes it anew. Once that job is killed, the same command makes
    it again only where something newer needs it: a figure that was drawn before needs nothing. Snakemake's
    record of jobs that began and did not end has the result's name; an empty file in its place counts as
    incomplete there, so that its job runs wherever it is asked for, and no reader takes it for a result.

    While a run has ``folder`` locked, nothing is done: its jobs have not ended.

    Arguments
    ---------
    folder: the workflow's working folder. results: folder of results, relative to it; of these the manifests
        of stores and other JSON files count, as figures are asked for themselves.

    Raises PipelineError where the folder of results cannot be written.
    """
    if any((folder / ".snakemake" / "locks").glob("*")):
        return []
    found = []
    for path in _interrupted(folder / ".snakemake"):
        target = folder / path
        if path.suffix != ".json" or not path.is_relative_to(results) or target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        except OSError as error:
            raise PipelineError(
                f"{path} cannot be written ({error.strerror}): results need a folder that can be written."
            ) from error
        found.append(path)
    return found


def _interrupted(records: Path) -> list[Path]:
    """Outputs that were there once, of jobs that began to make them anew and did not end.

    From Snakemake's records of both: base64 of their paths, in pieces of which all but the last begin with @
    and are folders.
    """
    found = []
    for record in sorted((records / "incomplete").rglob("*")):
        name = record.relative_to(records / "incomplete")
        if record.is_file() and (records / "metadata" / name).is_file():
            pieces = [piece.removeprefix("@") for piece in name.parts]
            try:
                found.append(Path(base64.urlsafe_b64decode("".join(pieces)).decode()))
            except (binascii.Error, UnicodeDecodeError):  # another file of Snakemake's
                continue
    return found


def drop_half_entries(shared: Path) -> list[Path]:
    """Remove the stores without a manifest from what Snakemake shares between folders; returns them.

    Snakemake moves an output there by its name: a new store would end up inside the one that is there. It
    keeps the manifest first, as the rules name it first, so that a store which is being kept has one; half
    an entry of the other kind is no obstacle.

    Arguments
    ---------
    shared: the folder that SNAKEMAKE_OUTPUT_CACHE names.

    Raises PipelineError where such a store cannot be removed.
    """
    halves = []
    for store in sorted(shared.glob("*_store")):
        key = store.name.removesuffix("_store")  # a SHA-256
        if re.fullmatch(r"[0-9a-f]{64}", key) and not (shared / f"{key}_manifest.json").exists():
            halves.append(store)
    for store in halves:
        try:
            shutil.rmtree(store)
        except OSError as error:
            raise PipelineError(
                f"{store} has no manifest and cannot be removed ({error.strerror}): remove it, or share "
                "another folder (SNAKEMAKE_OUTPUT_CACHE)."
            ) from error
    return halves
