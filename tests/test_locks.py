"""A lock of Snakemake's is explained."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from pipeline.execution.locks import lock_sentence


def test_a_lock_is_explained(tmp_path: Path) -> None:
    assert lock_sentence(tmp_path) is None
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    assert lock_sentence(tmp_path) is None
    (locks / "0.output.lock").touch()
    said = lock_sentence(tmp_path)
    assert said is not None
    assert "left by a run that was killed" in said
    assert "snakemake --unlock" in said
    script = tmp_path / "snakemake"
    script.write_text("import time\ntime.sleep(60)\n")
    other = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    try:
        until = time.monotonic() + 20
        while f"process {other.pid}" not in (lock_sentence(tmp_path) or ""):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        other.kill()
        other.wait()
