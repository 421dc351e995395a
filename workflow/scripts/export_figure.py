"""Rule script: a figure's data, plotted numbers and curves of its runs, as NetCDF and CSV."""

from typing import Any


def main(snakemake: Any) -> None:
    from pathlib import Path

    from pipeline.maintenance import export_figure

    export_figure(
        Path(str(snakemake.input.csv)),
        list(snakemake.params.runs),
        snakemake.params.title,
        Path(str(snakemake.output.nc)),
        Path(str(snakemake.output.csv)),
    )


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
