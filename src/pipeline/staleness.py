"""What each store should be made with, as a file that Snakemake compares with the store.

Snakemake records the parameters of finished jobs in .snakemake/. Those records can be lost (a deleted
folder, results copied from elsewhere); the manifests remember. So every store has a *request*: a small
file with its configuration and code fingerprint, an input of its rule. It is older than the store that
was made with just that, and newer than one that was made otherwise. Where a store is gone that a run was to
make again (``pipeline.interrupted``), its request says so, which makes it a newer one.
"""

from __future__ import annotations

import json
import os
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


def write_request(
    request: Path,
    manifest: Path,
    config: Mapping[str, Any],
    code: str,
    interrupted: str | None = None,
) -> None:
    """Write what a store should be made with, and date it before or after the store that is there.

    interrupted: when the run began that was to make the store again, and did not.
    """
    wanted = {"config": config, "code": code}
    # Another time each time: Snakemake compares the content with that of what a store was made of.
    if interrupted:
        wanted["interrupted"] = interrupted
    content = json.dumps(wanted, sort_keys=True, indent=1) + "\n"
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


def write_requests(
    expected: Iterable[tuple[str, str, Mapping[str, Any], str]], interrupted: Mapping[str, str]
) -> None:
    """Write the requests of many stores: (request, manifest, configuration, code fingerprint).

    interrupted: manifests of what is to be made again, as ``pipeline.interrupted.gone`` returns them.

    Raises PipelineError where the folder of results cannot be written.
    """
    for request, manifest, config, code in expected:
        try:
            write_request(Path(request), Path(manifest), config, code, interrupted.get(manifest))
        except OSError as error:
            raise PipelineError(
                f"{request} cannot be written ({error.strerror}): results need a folder that can be written, "
                "on a disk with room; mend that, or work in another folder (--directory)."
            ) from error
