"""Rule script: the inversion point of every seed of one run."""

from pathlib import Path
from typing import Any

VARIABLES = (
    *("train_error", "radius_plus", "radius_minus", "distance"),
    *("misclassified", "failed_epoch"),
)


def main(snakemake: Any) -> None:
    from pipeline.analysis.inversion import find_inversions
    from pipeline.provenance import provenance
    from pipeline.store import manifest
    from pipeline.store.reader import open_store
    from pipeline.store.writer import write_dataset

    params = snakemake.params
    source = Path(str(snakemake.input.manifest)).parent
    dataset = find_inversions(open_store(source, VARIABLES, lazy=False), layer=int(params.layer))
    config = manifest.read(source)["provenance"]["config"] | {"layer": int(params.layer)}
    folder = Path(str(snakemake.output.manifest)).parent
    write_dataset(dataset, folder, provenance(config=config, code=params.code))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
