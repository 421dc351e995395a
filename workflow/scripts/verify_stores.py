"""Rule script: checks every store of a scale against its manifest."""

from typing import Any


def main(snakemake: Any) -> None:
    from pathlib import Path

    from pipeline.maintenance import verify_stores

    print(verify_stores(Path(snakemake.params.results)))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
