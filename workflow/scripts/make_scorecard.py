"""Rule script: the scorecard of all papers, as CSV and HTML."""

from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.claims.measurement import read_claims
    from pipeline.scorecard import scorecard_rows, write_csv, write_html

    rows = scorecard_rows([read_claims(str(path)) for path in snakemake.input])
    write_csv(rows, str(snakemake.output.csv))
    write_html(rows, str(snakemake.output.html))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
