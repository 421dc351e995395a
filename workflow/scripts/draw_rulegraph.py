"""Rule script: the rules and what they need of each other, as a picture."""

from typing import Any


def main(snakemake: Any) -> None:
    from pathlib import Path

    from pipeline.figures.rulegraph import draw_rulegraph

    draw_rulegraph(Path(snakemake.params.base), dict(snakemake.params.overrides))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
