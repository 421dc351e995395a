"""Rule script: trains one run (a configuration, many seeds) and stores its trajectories."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.training.run import train_run

    params = snakemake.params
    train_run(
        params.parameters,
        Path(str(snakemake.input.manifest)).parent,
        Path(str(snakemake.output.manifest)).parent,
        Path(params.state),
        code=params.code,
        state_seconds=float(snakemake.resources.state_seconds),
    )


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
