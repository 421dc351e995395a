"""Programs that stand in for those of a cluster."""

from __future__ import annotations

from pathlib import Path


def program(folder: Path, name: str, body: str) -> None:
    """An executable shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
