"""The process of a rule's script ends at once, and completely."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_workflow import ROOT

from pipeline import scripting

# What a library may leave behind: threads at work, functions to be called at the end, a folder, unwritten
# lines.
SCRIPT = """
import sys
from types import SimpleNamespace

def main(snakemake):
    import atexit, concurrent.futures, gc, logging, pathlib, tempfile, threading, time
    folder = pathlib.Path({folder!r})
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(lambda: (time.sleep(0.3), (folder / "pool").touch()))
    threading.Thread(target=lambda: (time.sleep(0.3), (folder / "thread").touch())).start()
    atexit.register((folder / "atexit").touch)
    global kept, late
    kept = tempfile.TemporaryDirectory(dir=folder, prefix="temporary")
    class Late:
        def __del__(self):
            (folder / "taken apart").touch()
    late = Late()
    logging.info("collects after %d", gc.get_threshold()[0])
    sys.stdout.write("said")
    {last}

sys.path.insert(0, {source!r})
from pipeline.scripting import run
run(SimpleNamespace(rule="r", log=[{log!r}]), main)
"""


def run_script(folder: Path, last: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    script, log = folder / "script.py", folder / "log"
    source = str(ROOT / "src")
    script.write_text(SCRIPT.format(folder=str(folder), log=str(log), last=last, source=source))
    return subprocess.run([sys.executable, script], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("last", "status", "taken_apart"), [("pass", 0, False), ("raise ValueError('no')", 1, True)]
)
def test_nothing_is_left_undone_but_taking_modules_apart(
    tmp_path: Path, last: str, status: int, taken_apart: bool
) -> None:
    folder = tmp_path / "job"
    done = run_script(folder, last)
    assert (done.returncode, done.stdout) == (status, "said")
    assert done.stderr.startswith("r: ValueError: no" if status else "")
    made = {"pool", "thread", "atexit", "log", "script.py"}
    assert {path.name for path in folder.iterdir()} == made | (
        {"taken apart"} if taken_apart else set()
    )
    assert f"collects after {scripting.COLLECT_AFTER}" in (folder / "log").read_text()


def test_a_job_that_is_stopped_says_so(tmp_path: Path) -> None:
    done = run_script(tmp_path / "job", "raise KeyboardInterrupt")
    assert done.returncode == 1
    assert done.stderr == "r: stopped; the same command goes on from what is finished\n"
    assert "stopped" in (tmp_path / "job/log").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full device")
def test_what_cannot_be_said_is_no_success(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    assert run_script(folder, "pass").returncode == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, folder / "script.py"], stdout=full)
    assert done.returncode != 0


def test_nothing_that_snakemake_begins_a_script_with_is_to_be_called_at_the_end() -> None:
    """Else ``_leave_at_once`` would not be the last, and that would be left out."""
    code = (
        "import sys, weakref\n"
        "from snakemake import script\n"  # what a script begins with
        "from snakemake import iocontainers, io, logging\n"  # and what its record is made of
        "found = 'multiprocessing.util' in sys.modules\n"
        "print(found, weakref.finalize._registered_with_atexit)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_script_within_another_process_ends_that_one_not() -> None:
    code = (
        "import sys; from types import SimpleNamespace\n"
        f"sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from pipeline.scripting import run\n"
        "main = lambda snakemake: None\n"
        "main.__module__ = 'script'\n"
        "run(SimpleNamespace(rule='r', log=[]), main)\n"
        "sys.exit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 3


def test_garbage_is_looked_for_rarely() -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        scripting.collect_rarely()
        assert gc.get_threshold() == (scripting.COLLECT_AFTER, 10, 10)
    finally:
        gc.set_threshold(*before)
