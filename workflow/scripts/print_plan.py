"""Rule script: what a scale costs, printed; nothing is run."""

from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.plan import format_plan

    print(format_plan(snakemake.params.rows, snakemake.params.summary))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
