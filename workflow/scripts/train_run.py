"""Rule script: trains one run (a configuration, many seeds) and stores its trajectories."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.training.run import train_run

    params, inputs = snakemake.params, snakemake.input
    pruned = params.parameters["run"]["prune_from"] is not None
    train_run(
        params.parameters,
        Path(str(inputs.manifest)).parent,
        Path(str(snakemake.output.manifest)).parent,
        Path(params.state),
        code=params.code,
        source=Path(str(inputs.source)).parent if pruned else None,
        inversions=Path(str(inputs.inversions)).parent if pruned else None,
        state_seconds=float(snakemake.resources.state_seconds),
    )


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
