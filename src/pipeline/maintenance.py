"""Looking after results: checking stores, disk use, benchmark tables, export, cleaning."""

from __future__ import annotations

import csv
import html
import shutil
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store.usage import table_of_stores

TEMPORARY = "state"  # folder of the saved states of unfinished training jobs


def verify_stores(results: Path) -> str:
    """Check all stores below ``results`` against their manifests, each of which must have a store.

    Returns how many were checked; raises StoreError listing every problem of every store.
    """
    from pipeline.store.reader import verify

    stores = {path.parent for path in results.rglob("store") if path.is_dir()}
    folders = sorted(stores | {path.parent for path in results.rglob("manifest.json")})
    problems = [
        f"{folder}{_kept_in(folder)}: {problem}" for folder in folders for problem in verify(folder)
    ]
    if problems:
        raise StoreError(
            f"{len(problems)} problem(s) in {len(folders)} stores:\n" + "\n".join(problems)
        )
    return f"{len(folders)} stores below {results} agree with their manifests"


def _kept_in(folder: Path) -> str:
    """Where a store really is, if in the folder that Snakemake shares between workflows."""
    from pipeline.store.manifest import zarr_path

    kept = zarr_path(folder).resolve().parent
    return "" if folder.resolve() == kept.parent else f" (kept in {kept})"


def disk_use(results: Path) -> str:
    """A table of the stores below ``results``: megabytes, files, folder; saved states as temporary."""
    lines = [f"{'MB':>10}  {'files':>6}  store"]
    total = 0
    for folder, size, files in sorted(table_of_stores(results), key=lambda row: -row[1]):
        total += size
        lines.append(f"{size / 1e6:10.1f}  {files:6d}  {folder}")
    states = [path for path in (results / TEMPORARY).rglob("*") if path.is_file()]
    if states:
        size = sum(path.stat().st_size for path in states)
        total += size
        note = "(temporary: saved states of unfinished jobs)"
        lines.append(f"{size / 1e6:10.1f}  {len(states):6d}  {results / TEMPORARY} {note}")
    return "\n".join([*lines, f"{total / 1e6:10.1f}  total"])


def tabulate_benchmarks(benchmarks: Path, base: Path) -> str:
    """Write ``base``.csv and .html: seconds, CPU seconds and peak memory of each job, slowest first."""
    rows = []
    for path in benchmarks.rglob("*.tsv"):
        with open(path, newline="") as file:
            for record in csv.DictReader(file, delimiter="\t"):
                name = path.relative_to(benchmarks).with_suffix("")
                rule = name.parts[0]
                job = "/".join(name.parts[1:]) or rule
                rows.append(
                    (
                        rule,
                        job,
                        _number(record, "s"),
                        _number(record, "cpu_time"),
                        _number(record, "max_rss"),
                    )
                )
    rows.sort(key=lambda row: -row[2])
    titles = ("rule", "job", "seconds", "cpu_seconds", "peak_memory_mb")
    base.parent.mkdir(parents=True, exist_ok=True)
    with open(base.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([titles, *rows])
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    page = (
        "<!doctype html><meta charset='utf-8'><title>Benchmarks</title>"
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}"
        "td:nth-child(n+3){text-align:right}</style>"
        f"<h1>Jobs, slowest first</h1><table><tr>{head}</tr>\n{body}</table>\n"
    )
    base.with_suffix(".html").write_text(page)
    total = sum(row[2] for row in rows)
    training = sum(row[2] for row in rows if row[0] == "train_run")
    return (
        f"{len(rows)} jobs, {total:.0f} job-seconds, of which {training:.0f} training; "
        f"table: {base.with_suffix('.html')}"
    )


def _number(record: dict[str, str], key: str) -> float:
    """A benchmark value; Snakemake writes NA or - for what it could not sample in a short job."""
    try:
        return round(float(record[key]), 2)
    except (KeyError, ValueError):
        return 0.0


def export_figure(
    table: Path, runs: list[dict[str, Any]], title: str, netcdf: Path, copy: Path
) -> None:
    """Write a figure's data as NetCDF and CSV.

    The NetCDF file holds the plotted numbers (dimension ``row``, one variable per column) and, in one
    group per run, the curves (seed, epoch) that they were computed from.
    """
    import pandas as pd
    import xarray as xr

    from pipeline.store import manifest
    from pipeline.store.reader import open_store

    numbers = pd.read_csv(table)
    root = xr.Dataset.from_dataframe(numbers.rename_axis("row"))
    for name, column in root.data_vars.items():
        if column.dtype.kind not in "fiub":
            root[name] = column.astype(object).fillna("").astype(str)
    nodes = {"/": root.assign_attrs(title=title)}
    curves = ["train_error", "test_error", "radius_plus", "radius_minus", "distance"]
    for entry in runs:
        folder = Path(entry["trajectories"])
        if manifest.read(folder)["attrs"].get("unavailable"):
            continue  # its data could not be had
        run = open_store(folder, variables=curves, lazy=False)[curves]
        nodes[f"/{entry['name']}"] = run.load().drop_attrs()
    xr.DataTree.from_dict(nodes).to_netcdf(netcdf, engine="netcdf4")
    shutil.copyfile(table, copy)


def clean(results: list[Path]) -> str:
    """Delete folders and files of results; returns what was deleted."""
    found = [path for path in results if path.exists()]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return "deleted: " + (", ".join(map(str, found)) if found else "nothing (no results)")
