"""Snakemake in forks of a process that has imported its libraries, which takes longer than most tests.

Of ours nothing is imported before a fork: each project has modules of its own.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = (
    *("snakemake.cli", "snakemake.api", "snakemake.executors.local", "snakemake.scheduling"),
    *("snakemake_executor_plugin_slurm", "jsonschema", "numpy", "pandas", "psutil", "yaml"),
)


def run_snakemake(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
) -> tuple[int, str]:
    """Exit status and all that ``python -m snakemake`` with these arguments prints in a folder.

    Raises TimeoutError where it takes longer.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with tempfile.NamedTemporaryFile() as output:
        process = context.Process(
            target=_snakemake, args=(list(arguments), str(folder), dict(environment), output.name)
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"Snakemake took longer than {seconds} s.")
        return process.exitcode, Path(output.name).read_text("utf-8")


def _snakemake(arguments: list[str], folder: str, environment: dict[str, str], said: str) -> None:
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _forget_ours(folder)
    sys.argv = ["snakemake", *arguments]

    from snakemake.cli import main

    status: object = 0
    try:
        main(arguments)
    except SystemExit as end:
        status = end.code
    # A fork of this kind leaves these out, so that temporary folders would stay. Left out here is a wait of
    # up to 5 s for the timer of Snakemake's limit of jobs per time.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _forget_ours(folder: str) -> None:
    """Import as ``python -m snakemake`` in the folder would.

    What the tests' own process brought along does not count; its main module is imported here once more.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]
    root = Path(__file__).resolve().parents[1]
    tests = [path for path in map(Path, sys.path) if path.is_relative_to(root)]
    tests = [path for path in tests if path != root / "src" and not path.is_relative_to(sys.prefix)]
    installed = [path for path in sys.path if path and Path(path) not in tests]
    sys.path[:] = [folder, *installed]
