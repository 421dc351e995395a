"""Rule script: deletes the results of one paper at one scale."""

from typing import Any


def main(snakemake: Any) -> None:
    from pathlib import Path

    from pipeline.maintenance import clean

    print(clean([Path(path) for path in snakemake.params.results]))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
