"""The smoke scale, run once from an empty folder for all tests of the workflow that need results."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest
from dask.system import CPU_COUNT
from helpers_workflow import MADE_PARTS, PARTS, Said, copy_project, snakemake_by_command

# The smoke run begins with the first of these and keeps all cores busy, while other workers run tests that
# need no results. Those that need them come once they are there; as these often wait for processes of theirs,
# they share the cores with tests that only compute.
FIRST = "test_workflow_smoke.py"
OF_RESULTS = (
    *("test_workflow_reruns.py", "test_drills.py", "test_workflow_missing.py"),
    *("test_workflow_errors.py", "test_workflow_faults.py", "test_workflow_targets.py"),
    *("test_docs.py", "test_workflow_cache.py", "test_workflow_rules.py"),
)
# Prefixes of file names.
LAST = ("test_capacity_", "test_classifiers_", "test_ps_", "test_umap_")
MOST_WORKERS = 32  # more would wait for the longest files
WORKER_BYTES = 1.5e9  # of a worker that has imported torch, and of what its test starts


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One more than there are cores, as a worker mostly waits for what its test has started; fewer where
    memory is short. None leaves the number to the variable that pytest-xdist has for it.
    """
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    fitting = int(psutil.virtual_memory().available / WORKER_BYTES)
    return max(1, min(CPU_COUNT + 1, MOST_WORKERS, fitting))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order above, all others after the first one."""

    def place(item: pytest.Item) -> int:
        name = item.path.name
        if name in OF_RESULTS:
            return OF_RESULTS.index(name) + 1
        if name.startswith(LAST):
            return len(OF_RESULTS) + 1
        return -(name == FIRST)

    items.sort(key=place)


@dataclass(frozen=True)
class Smoke:
    """A finished project (not to be changed) and what its runs said."""

    project: Path
    planned: Said  # the dry run in the empty folder
    first: Said
    second: Said


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """One smoke run per session, shared by the workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # the folder of one worker
        base = base.parent
    project, record = base / "smoke", base / "smoke.json"
    with open(base / "smoke.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.is_file():
            if project.exists():
                pytest.fail("the smoke run was given up; the first error says why")
            copy_project(project)
            # one job more than cores, for the moments between a job's end and the next one's start
            run = ["--cores", str(CPU_COUNT + 1)]
            said = [snakemake_by_command(project, options=one) for one in (["-n"], run, run)]
            record.write_text(json.dumps([asdict(one) for one in said]))
    return Smoke(project, *(Said(**one) for one in json.loads(record.read_text())))


def finished_copy(smoke: Smoke, target: Path) -> Path:
    """The finished project, to be changed at will."""
    if smoke.first.status != 0:
        pytest.fail(f"the smoke run failed:\n{smoke.first.text[-3000:]}")
    return copy_project(target, smoke.project, (*PARTS, *MADE_PARTS))


@pytest.fixture(scope="module")
def shared_project(smoke: Smoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished project for the tests of one module that leave it as they found it."""
    return finished_copy(smoke, tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture
def project(smoke: Smoke, tmp_path: Path) -> Path:
    """A finished project of one's own."""
    return finished_copy(smoke, tmp_path / "project")


@pytest.fixture(scope="session")
def source_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without results, for tests that leave it as they found it."""
    return copy_project(tmp_path_factory.mktemp("source") / "project")
