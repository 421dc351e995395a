"""What a run was to make again and did not, as it was killed or failed.

Snakemake deletes a store before it makes it anew. If the run then ends early, the same command makes the
store again only where something newer needs it: a figure that was drawn before needs nothing. So each run
notes at its start which stores it is to replace. Those that the next start finds gone have their requests
renewed (``pipeline.staleness``), so that their jobs run wherever they are asked for, and what follows from
them after that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import PipelineError


def gone(record: Path) -> dict[str, str]:
    """Manifests that a run was to replace and that are not there, with the time when that run began.

    Arguments
    ---------
    record: as ``note`` writes it; it may be missing.

    Raises PipelineError where it cannot be read.
    """
    return {path: began for path, began in _noted(record).items() if not Path(path).exists()}


def gone_sentence(manifests: Collection[str]) -> str | None:
    """On what is gone; None where nothing is."""
    if not manifests:
        return None
    first = sorted(manifests)[0]
    more = f" and {len(manifests) - 1} more" if len(manifests) > 1 else ""
    return (
        f"An earlier run ended before it had made these again: {first}{more}. Where they are needed they are "
        "made, and all that follows from them; ask for them alone first, and only what differs follows."
    )


def note(record: Path, replaced: Iterable[str] = (), *, alone: bool = True) -> None:
    """Note what a run is to replace; at its end, with nothing more to replace, forget what was made.

    What an earlier run was to replace and is gone stays noted.

    Arguments
    ---------
    record: file below the folder of results. replaced: manifests that jobs ahead make; those that are there
        count. alone: whether no other run is at work in the folder; else its notes stay, too.

    Raises PipelineError where the record cannot be read or written.
    """
    replaced = list(replaced)
    if not alone and not replaced:
        return
    now = datetime.now(UTC).isoformat()
    noted = gone(record) if alone else _noted(record)
    noted |= {path: now for path in sorted(replaced) if Path(path).exists()}
    content = json.dumps(noted, indent=1) + "\n"
    try:
        if not noted:
            record.unlink(missing_ok=True)
            return
        if record.is_file() and record.read_text(encoding="utf-8") == content:
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary = record.with_name(f"{record.name}.{os.getpid()}.tmp")
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, record)
    except OSError as error:
        raise PipelineError(
            f"{record} cannot be written ({error.strerror}): results need a folder that can be written, on a "
            "disk with room."
        ) from error


def _noted(record: Path) -> dict[str, str]:
    try:
        return {str(path): str(began) for path, began in json.loads(record.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "damaged"
        raise PipelineError(
            f"{record} cannot be read ({reason}): delete it. It names what a run that was killed was to make "
            "again; ask for that with --forcerun."
        ) from error
