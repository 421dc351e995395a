"""Rule script: trains one run (a configuration, many seeds) and stores its trajectories."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.registry import resolve

    params, inputs = snakemake.params, snakemake.input
    more = {}
    if params.parameters["run"].get("prune_from") is not None:
        more["source"] = Path(str(inputs.source)).parent
        more["inversions"] = Path(str(inputs.inversions)).parent
    if params.parameters["run"].get("start_from") is not None:
        more["start"] = Path(str(inputs.start)).parent
    resolve(params.trainer)(
        params.parameters,
        Path(str(inputs.manifest)).parent,
        Path(str(snakemake.output.manifest)).parent,
        Path(params.state),
        code=params.code,
        state_seconds=float(snakemake.resources.state_seconds),
        **more,
    )


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
