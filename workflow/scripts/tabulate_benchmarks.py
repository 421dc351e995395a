"""Rule script: time and memory of every finished job, slowest first, as CSV and HTML."""

from typing import Any


def main(snakemake: Any) -> None:
    from pathlib import Path

    from pipeline.maintenance import tabulate_benchmarks

    print(tabulate_benchmarks(Path(snakemake.params.benchmarks), Path(snakemake.params.base)))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
