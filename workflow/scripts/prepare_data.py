"""Rule script: one data set, loaded from the first source that has it, checked and stored."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.data.datasets import prepare
    from pipeline.provenance import provenance
    from pipeline.store.writer import write_dataset

    params = snakemake.params
    folder = Path(str(snakemake.output.manifest)).parent
    dataset = prepare(params.entry, params.root, params.sources)
    # The same images from another source are the same data: where they came from stays out of the
    # manifest, or a repaired download would retrain everything.
    origin = dataset.attrs.pop("origin")
    record = provenance(config={"entry": params.entry}, code=params.code, origin=origin)
    write_dataset(dataset, folder, record)


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
