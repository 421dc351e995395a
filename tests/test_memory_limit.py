"""How much memory jobs may have, where a container or SLURM limits it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pipeline.execution.memory import memory_limit

TOTAL = psutil.virtual_memory().total
V1 = "5:devices:/\n4:cpu,memory:/slurm/job_7/step_0\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "found"),
    [
        ("0::/slurm/job_7\n", {"slurm/job_7/memory.max": "4000000"}, 4_000_000),
        # a group's own limit, and those of the groups around it
        (
            "0::/a/b\n",
            {"a/b/memory.max": "max", "a/memory.max": "5000", "memory.max": "6000"},
            5000,
        ),
        ("0::/a\n", {"a/memory.max": "max"}, TOTAL),
        ("0::/a\n", {"a/memory.max": str(10 * TOTAL)}, TOTAL),
        ("0::/elsewhere\n", {}, TOTAL),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": "7000"}, 7000),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, TOTAL),
        (V1, {"devices/memory.limit_in_bytes": "1"}, TOTAL),
    ],
)
def test_the_least_limit_counts(
    tmp_path: Path, groups: str, files: dict[str, str], found: int
) -> None:
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert memory_limit(tmp_path / "cgroup", tmp_path / "fs") == found


def test_where_there_are_no_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "cgroup", tmp_path) == TOTAL
    assert 0 < memory_limit() <= TOTAL
