"""What every training job asks first: whether its data are there, and what its saved state belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.data.status import SUBSTITUTED, UNAVAILABLE, data_status
from pipeline.hardware import compiler_available
from pipeline.provenance import machine, versions
from pipeline.store import manifest


def state_key(parameters: dict[str, Any], inputs: Sequence[Path], code: str) -> str:
    """What a saved state belongs to: parameters, data, code, and all that changes bits: versions, the
    processor, whether there is a GPU and a compiler.

    inputs: the folders of all stores that the run is made from.
    """
    manifests = b"".join(manifest.manifest_path(folder).read_bytes() for folder in inputs)
    engine = [versions(), machine(), torch.cuda.is_available(), compiler_available()]
    content = json.dumps([parameters, code, engine], sort_keys=True).encode()
    return hashlib.sha256(content + manifests).hexdigest()


def unavailable(run: dict[str, Any], data_folder: Path, source: Path | None) -> str | None:
    """Why a run cannot be trained on the data that could be had, in words; None where it can."""
    if source is not None and (reason := manifest.read(source)["attrs"].get("unavailable")):
        return str(reason)
    found = data_status(data_folder)
    if found.status == UNAVAILABLE:
        return found.reason
    needed = (run.get("block", 0) + 1) * run["samples"]
    if found.status == SUBSTITUTED and needed > found.train_samples:
        return (
            f"{run['dataset']} with {needed} training samples: {found.train_samples} could be had "
            f"({found.reason.rstrip('.')})"
        )
    return None
