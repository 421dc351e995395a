"""Rule script: what the stores of a scale take on disk, printed."""

from typing import Any


def main(snakemake: Any) -> None:
    from pathlib import Path

    from pipeline.maintenance import disk_use

    print(disk_use(Path(snakemake.params.results)))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
