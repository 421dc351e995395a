"""How a rule's script runs: its log, and errors as one sentence."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import PipelineError

# Faults of disks and folders, which their owner can mend.
MENDABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
FORMAT = "%(asctime)s %(levelname)s %(message)s"


def run(snakemake: Any, main: Callable[[Any], None]) -> None:
    """Run ``main(snakemake)`` with the rule's log file; exit with status 1 when it fails.

    Everything logged, and Python's warnings, go to the log. An error that a user can mend is one
    sentence in the log and on stderr; any other leaves its traceback in the log and one line on stderr.
    """
    path = Path(str(snakemake.log[0])) if snakemake.log else None
    logging.raiseExceptions = (
        False  # a full disk is told below, not by each line that could not be logged
    )
    try:
        handler = _handler(path)
    except OSError as error:
        _fail(f"{snakemake.rule}: {_about_storage(error)}")
    logging.basicConfig(level=logging.INFO, format=FORMAT, handlers=[handler], force=True)
    logging.captureWarnings(True)
    try:
        main(snakemake)
    except PipelineError as error:
        logging.error("%s", error)
        _fail(f"{snakemake.rule}: {error}")
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MENDABLE:
            sentence = _about_storage(error)
            logging.error("%s", sentence)
            _fail(f"{snakemake.rule}: {sentence}")
        logging.error("%s", traceback.format_exc())
        where = f"; the traceback is in {path}" if path is not None else ""
        _fail(f"{snakemake.rule}: {type(error).__name__}: {error}{where}")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _handler(path: Path | None) -> logging.Handler:
    """Where log lines go: the rule's file, else stderr."""
    if path is None:
        return logging.StreamHandler(sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    return logging.FileHandler(path, mode="w", encoding="utf-8")


def _about_storage(error: OSError) -> str:
    """What a disk or folder that cannot be written means, and what to do."""
    where = f" ({error.filename or Path.cwd()})"
    return (
        f"{error.strerror}{where}: make room (`snakemake --cores 1 disk_use` shows what takes it) or mend "
        "the folder, then run the same command again; what was finished is kept."
    )


def _fail(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(1)
