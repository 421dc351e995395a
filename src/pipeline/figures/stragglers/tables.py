"""Tables 1 and 2 of our numbering of the stragglers paper (arXiv:2303.05161), as dot plots.

T1: phi of five activations (Results, "Weak dependence on data size, ..."). T2: z-scores of the
stragglers across architectures and shuffles (Methods, "Identity of stragglers"). The CSV of each
figure is the table; the paper's values come from the configuration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.figures import style
from pipeline.figures.curves import found, missing_text, moments
from pipeline.figures.save import FigureResult
from pipeline.runs import Run, RunGroups, all_runs, analysis_with

ACTIVATION_NAMES = {
    "tanh": "tanh",
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU (0.1)",
    "silu": "SiLU",
    "identity": "identity",
}
COLUMNS = ["row", "value", "low", "high", "paper_value", "paper_spread", "n", "inverting"]
OFFSET = 0.14  # between our value and the paper's, in rows


def figT1(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """T1: phi of each activation, mean ± 1 sd over networks, beside the paper's.

    Options: ``paper``, activation: [value, sd].
    """
    paper = options.get("paper", {})
    runs = {str(run.config["activation"]): run for run in all_runs(data)}
    rows = []
    for activation in [name for name in ACTIVATION_NAMES if name in runs] + [
        name for name in runs if name not in ACTIVATION_NAMES
    ]:
        run = runs[activation]
        mean, sd = moments(found([run], "phi"))
        value, spread = paper.get(activation, (np.nan, np.nan))
        inverting = int(found([run], "inverts").sum())
        label = ACTIVATION_NAMES.get(activation, activation)
        rows.append((label, mean, mean - sd, mean + sd, value, spread, run.seeds, inverting))
    table = pd.DataFrame(rows, columns=COLUMNS)
    fig = _dot_plot(table, r"$\phi$ (training error at the inversion, fraction)")
    of_row = "; ".join(
        f"{row['row']} {row['value']:.4f} ± {row['high'] - row['value']:.4f}"
        f"{_paper_text(row, '.3f')}, {row['inverting']} of {row['n']} networks invert"
        for _, row in table.iterrows()
    )
    summary = f"phi (mean ± sd over networks, bars ± 1 sd): {of_row}.{missing_text(data)}"
    return FigureResult(fig, table, summary)


def figT2(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """T2: z of the stragglers (Eq. 11) of pairs of architectures and for shuffles of minibatches.

    Ours without the bias of few networks (jackknife) where that is defined, with the 95 % bootstrap
    interval. Options: ``paper``, list of [group, group, z].
    """
    table_of = analysis_with(data, "pair_z_score")
    pairs = [list(pair) for pair in table_of.attrs["pairs"]]
    paper = {frozenset(pair): float(z) for *pair, z in options.get("paper", [])}
    rows, undefined = [], []
    for index, (first, second) in enumerate(pairs):
        one = table_of.isel(pair=index)
        label = pair_label(data, first, second)
        z, low, high = pair_zscore(one)
        if not np.isfinite(z):
            undefined.append(" ".join(label.split()))
            continue
        networks = int(one["pair_networks"])
        theirs = paper.get(frozenset((first, second)), np.nan)
        rows.append((label, z, low, high, theirs, 0.0, networks, int(one["pair_pairs"])))
    table = pd.DataFrame(rows, columns=[*COLUMNS[:-1], "pairs"])
    fig = _dot_plot(table, "z-score of the stragglers")
    of_row = "; ".join(
        f"{' '.join(row['row'].split())} {row['value']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
        f"{_paper_text(row, '.0f')}, {row['pairs']} pairs of {row['n']} networks"
        for _, row in table.iterrows()
    )
    gone = f" No z-score for {', '.join(undefined)}." if undefined else ""
    summary = (
        f"z-scores, corrected for the bias of few networks, with 95 % intervals (bars): {of_row}."
        f"{gone}{missing_text(data)}"
    )
    return FigureResult(fig, table, summary)


def pair_zscore(one: Any) -> tuple[float, float, float]:
    """(z, low, high) of one pair: the jackknife's z, or the plain one where it has none."""
    plain, corrected, low, high = (
        float(one[f"pair_z_score{suffix}"]) for suffix in ("", "_corrected", "_low", "_high")
    )
    z = corrected if np.isfinite(corrected) else plain
    return z, low if np.isfinite(low) else z, high if np.isfinite(high) else z


def pair_label(data: RunGroups, first: str, second: str) -> str:
    """Depth/width of both groups of a pair; for minibatches that of the one group compared."""
    names = [_architecture(data.get(group, []), group) for group in dict.fromkeys((first, second))]
    if len(names) == 1 and "SGD" not in names[0]:
        names *= 2
    return " – ".join(names)


def _architecture(runs: list[Run], group: str) -> str:
    if not runs:
        return group
    config = runs[0].config
    batch = f",\nSGD batch {config['batch_size']}" if config["batch_size"] else ""
    return f"{config['depth']}/{config['width']}{batch}"


def _paper_text(row: pd.Series, digits: str) -> str:
    if not np.isfinite(row["paper_value"]):
        return ""
    spread = f" ± {format(row['paper_spread'], digits)}" if row["paper_spread"] else ""
    return f" (paper: {format(row['paper_value'], digits)}{spread})"


def _dot_plot(table: pd.DataFrame, label: str) -> Any:
    """One row per line of the table: ours (filled, with interval) and the paper's (hollow)."""
    fig = style.new_figure(style.COLUMN, 1.1 + 0.3 * max(len(table), 3))
    axes = fig.subplots()
    places = np.arange(len(table))
    bars = np.abs(np.stack([table["value"] - table["low"], table["high"] - table["value"]]))
    ours: dict[str, Any] = {
        "fmt": "o",
        "ms": 4,
        "lw": 1.0,
        "color": style.BLUE,
        "label": "measured here",
    }
    axes.errorbar(table["value"], places - OFFSET, xerr=bars, **ours)
    stated = np.isfinite(table["paper_value"].to_numpy(dtype=float))
    if stated.any():
        theirs: dict[str, Any] = {
            "fmt": "D",
            "ms": 4,
            "lw": 1.0,
            "color": style.VERMILLION,
            "mfc": "white",
        }
        axes.errorbar(
            table["paper_value"][stated],
            places[stated] + OFFSET,
            xerr=table["paper_spread"][stated],
            label="paper",
            **theirs,
        )
    axes.set_yticks(places, list(table["row"]))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)
    fig.legend(loc="outside lower center", ncols=2)
    return fig
