"""Rule script: trains one run (a configuration, many seeds) and stores its trajectories."""

import inspect
from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.execution.gpus import claimed_gpu
    from pipeline.registry import resolve

    params, inputs = snakemake.params, snakemake.input
    more = {}
    if params.parameters["run"].get("prune_from") is not None:
        more["source"] = Path(str(inputs.source)).parent
        more["inversions"] = Path(str(inputs.inversions)).parent
    if params.parameters["run"].get("start_from") is not None:
        more["start"] = Path(str(inputs.start)).parent
    device = params.parameters["compute"]["device"]
    with claimed_gpu(device, int(snakemake.resources.jobs_per_gpu)):
        train = resolve(params.trainer)
        if "root" in inspect.signature(train).parameters:  # data sets of files stay where they are
            more["root"] = Path(str(snakemake.resources.data_root))
        train(
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
