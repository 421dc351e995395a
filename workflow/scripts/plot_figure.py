"""Rule script: one figure as PNG and SVG, its numbers as CSV, its caption as reStructuredText."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.figures.save import caption, draw, save_figure
    from pipeline.registry import resolve
    from pipeline.runs import chosen, load_runs

    params = snakemake.params
    entry = params.figure
    analyses = dict(params.analyses)
    data = chosen(load_runs(params.runs, analyses=analyses), entry["runs"], entry["analyses"])
    result = draw(resolve(entry["function"]), data, entry.get("options") or {})
    base = Path(str(snakemake.output.png)).with_suffix("")
    text = caption(entry, result, data, params.scale)
    save_figure(result, base, text, interactive=bool(entry.get("interactive")))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
