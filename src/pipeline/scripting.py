"""How a rule's script runs: alone, with its log, and errors as one sentence."""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import gc
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from pipeline.errors import PipelineError

# Faults of disks and folders, which their owner can mend.
MENDABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
# What a file system that knows no locks of files answers.
LOCKLESS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# How often SLURM began this job again: each time after the one before had ended, or its node was lost. A file
# server may take long to notice the latter, and hold the lock of another machine's process that is no more.
REQUEUED = "SLURM_RESTART_COUNT"
# New containers before Python looks for garbage among them. After every 700, its own number, it takes a
# third of the time that libraries are imported in.
COLLECT_AFTER = 50_000
ON = " on "  # between process and machine in the file that a job has locked
FORMAT = "%(asctime)s %(levelname)s %(message)s"

_held: set[IO[str]] = set()  # the locked files of this process


def run(snakemake: Any, main: Callable[[Any], None]) -> None:
    """Run ``main(snakemake)`` with the rule's log file; exit with status 1 when it fails.

    Everything logged, and Python's warnings, go to the log. An error that a user can mend is one
    sentence in the log and on stderr; any other leaves its traceback in the log and one line on stderr.
    Where another process still runs the same job, that is told on stderr and its log is left alone.
    """
    ended: list[str] = []
    if main.__module__ == "__main__":  # the process is the script's own
        collect_rarely()
        atexit.register(_leave_at_once, ended)
    path = Path(str(snakemake.log[0])) if snakemake.log else None
    logging.raiseExceptions = (
        False  # a full disk is told below, not by each line that could not be logged
    )
    with contextlib.ExitStack() as stack:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(only_process(path))
            handler = _handler(path)
        except PipelineError as error:
            _fail(f"{snakemake.rule}: {error}")
        except OSError as error:
            _fail(f"{snakemake.rule}: {_about_storage(error)}")
        _logged(snakemake, main, path, handler)
    ended.append(snakemake.rule)


def collect_rarely() -> None:
    """Look for new garbage after ``COLLECT_AFTER`` new containers, not 700.

    Older garbage is looked for after ten such looks, as before, and so more rarely too. Held against
    Python's own number, the peaks of memory of the smoke scale's 373 jobs did not grow (-2 MB on average).
    """
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


def _leave_at_once(ended: list[str]) -> None:
    """End the process here where its script has ended well; ``ended`` is empty where it has not.

    Taking apart all modules that were imported takes half a second, more than many a job. Registered before
    any library is imported, this is the last function that Python calls at its end, when threads have ended.
    """
    if ended:
        logging.shutdown()  # registered even before
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _logged(
    snakemake: Any, main: Callable[[Any], None], path: Path | None, handler: logging.Handler
) -> None:
    """Run ``main(snakemake)`` with all that is logged going to ``handler``, which writes to ``path``."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, handlers=[handler], force=True)
    logging.captureWarnings(True)
    try:
        main(snakemake)
    except PipelineError as error:
        logging.error("%s", error)
        _fail(f"{snakemake.rule}: {error}")
    except KeyboardInterrupt:
        logging.error("stopped")
        _fail(f"{snakemake.rule}: stopped; the same command goes on from what is finished")
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


def running_file(log: Path) -> Path:
    """The file beside a job's log that its process has locked while it runs, and that says who that is."""
    return log.with_suffix(".running")


@contextlib.contextmanager
def only_process(log: Path) -> Iterator[None]:
    """Within: no other process runs the job that writes ``log``, and so none writes the same results.

    A job outlives a Snakemake that is killed, and the next Snakemake does not know of it. The operating
    system takes the lock back from a process that ends in any way; the file that a killed one leaves is
    taken over. It is not the log that is locked: Snakemake deletes that before it starts a job.
    File systems without locks refuse nobody.

    Raises PipelineError that names the process which runs the job, and OSError where no file can be made.
    """
    path = running_file(log)
    file = _locked(path)
    _held.add(file)
    try:
        yield
    finally:
        if file in _held:  # not in a forked process
            _held.remove(file)
            with contextlib.suppress(OSError), file:
                if _is_at(path, file):
                    path.unlink()  # before it is closed: afterwards it may be the next one's


def _locked(path: Path) -> IO[str]:
    """The file, open and locked, with this process in it; see ``only_process``."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                if os.environ.get(REQUEUED, "0") == "0" or _is_here(file):
                    raise PipelineError(still_running(file)) from None
            path.unlink(missing_ok=True)
            continue
        except OSError as error:
            if error.errno not in LOCKLESS:
                file.close()
                raise
        if _is_at(path, file):
            break
        file.close()  # its holder has ended and removed it just now
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        file.truncate(0)
        file.write(f"process {os.getpid()}{ON}{socket.gethostname()}")
        file.flush()
        os.fsync(file.fileno())  # so that other machines read it
    return file


def still_running(file: IO[str]) -> str:
    """The sentence on a job that runs already, from the file that its process has locked."""
    file.seek(0)
    who = " ".join(file.read().split()) or "another process"
    return (
        f"{who} still works on this job (it holds {file.name}): wait until it has ended, or stop it, then "
        "run the same command again."
    )


def _is_here(file: IO[str]) -> bool:
    """Whether the process that has the file locked is one of this machine, whose locks end with processes."""
    file.seek(0)
    return file.read().strip().endswith(f"{ON}{socket.gethostname()}")


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _leave_locks() -> None:
    """Close in a forked process what its parent has locked: else the lock would outlive the parent in it."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_leave_locks)


def _handler(path: Path | None) -> logging.Handler:
    """Where log lines go: the rule's file, else stderr."""
    if path is None:
        return logging.StreamHandler(sys.stderr)
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
