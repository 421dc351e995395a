"""Table 1 and Figs. S1, S2 of prediction space: errors, failures and initialisation of each network.

Source: Mao et al., PNAS 121(12), 2024, Table 1, Figs. S1, S2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.analysis.model_table import end_models, initial_distances, model_table
from pipeline.errors import NotMeasurable
from pipeline.figures import style
from pipeline.figures.memorization.looks import gone_text
from pipeline.figures.prediction_space.looks import look, networks_of
from pipeline.figures.save import FigureResult, known_options
from pipeline.predictors.variables import SPLITS
from pipeline.run_texts import network_name
from pipeline.runs import RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OFFSET = 0.16  # between our value and the paper's, in rows
STATISTICS = {"running": "as initialised", "initial": "re-estimated"}
Numbers = Mapping[str, Mapping[str, Sequence[float]]]


def figT1(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Table 1 as a dot plot: median and range over networks of the last model's errors, in %.

    Options: ``paper``, network: {train: [median, low, high], test: the same}, in %.
    """
    known_options("figT1", options, ("paper",))
    runs = all_runs(data)
    ends = end_models(model_table(analysis_with(data, "model_metrics"), runs))
    networks = networks_of(runs)
    fig = style.new_figure(style.DOUBLE, 1.2 + 0.3 * max(len(networks), 3))
    tables = []
    for axes, split in zip(fig.subplots(1, 2, sharey=True), SPLITS, strict=True):
        table = _errors(ends, networks, split, options.get("paper", {}))
        _dots(axes, table)
        axes.set_xlabel(f"{'training' if split == 'train' else 'test'} error at the end (%)")
        tables.append(table)
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    table = pd.concat(tables, ignore_index=True)
    return FigureResult(fig, table, _error_text(table) + gone_text(data))


def _errors(ends: pd.DataFrame, networks: list[str], split: str, paper: Numbers) -> pd.DataFrame:
    rows = []
    for network in networks:
        errors = 100 * ends[f"{split}_error"][ends["network"] == network].to_numpy()
        if errors.size:
            own = (np.median(errors), errors.min(), errors.max())
            theirs = paper.get(network, {}).get(split, (np.nan,) * 3)
            rows.append((network, split, *own, errors.size, *theirs))
    names = ("median", "low", "high")
    columns = ["network", "split", *names, "n", *(f"paper_{one}" for one in names)]
    return pd.DataFrame(rows, columns=columns)


def _dots(axes: Axes, table: pd.DataFrame) -> None:
    """Rows of networks: ours (filled) and the paper's (hollow), medians with their ranges."""
    rows = np.arange(len(table))
    for prefix, shift, face, label in (
        ("", -OFFSET, style.BLUE, "measured here: median and range"),
        ("paper_", OFFSET, "white", "paper: median and range"),
    ):
        middle, low, high = (table[prefix + one].to_numpy() for one in ("median", "low", "high"))
        there = np.isfinite(middle)
        color = style.VERMILLION if prefix else style.BLUE
        axes.errorbar(
            middle[there],
            rows[there] + shift,
            xerr=np.stack([middle - low, high - middle])[:, there],
            fmt="D" if prefix else "o",
            ms=4,
            lw=1.0,
            color=color,
            mfc=face,
            label=label,
        )
    axes.set_yticks(rows, [network_name(one) for one in table["network"]])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    axes.grid(axis="x", color="0.9", lw=0.5)
    axes.set_axisbelow(True)


def _error_text(table: pd.DataFrame) -> str:
    texts = []
    for network, rows in table.groupby("network", sort=False):
        parts = []
        for _, row in rows.iterrows():
            text = f"{row['split']} {row['median']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
            if np.isfinite(row["paper_median"]):
                text += f", paper {row['paper_median']:.1f}"
            parts.append(text)
        texts.append(f"{network_name(str(network))} (n = {rows['n'].iloc[0]}) {'; '.join(parts)}")
    return f"Median (range) of the last model's error in %: {'. '.join(texts)}."


def figS1(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S1: how many networks of each architecture did not finish training, for numerical errors."""
    from matplotlib.ticker import MaxNLocator

    known_options("figS1", options, ())
    runs = all_runs(data)
    rows = []
    for network in networks_of(runs):
        mine = [run for run in runs if run.config["network"] == network]
        failed = sum(len(run.failed_seeds) for run in mine)
        rows.append((network, failed, failed + sum(run.seeds for run in mine)))
    table = pd.DataFrame(rows, columns=["network", "failed", "started"])
    fig = style.new_figure(style.COLUMN, 2.3)
    axes = fig.subplots()
    for place, row in table.iterrows():
        axes.bar(place, row["failed"], color=look(row["network"])[0], width=0.7)
        text = f"{row['failed']} of {row['started']}"
        axes.annotate(
            text, (place, row["failed"]), (0, 2), textcoords="offset points", ha="center", size=6
        )
    axes.set_xticks(table.index, [_broken(one) for one in table["network"]])
    axes.set_ylim(0, max(1.0, 1.15 * table["failed"].max()))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_ylabel("networks that did not finish")
    failed, started = int(table["failed"].sum()), int(table["started"].sum())
    if not failed:
        text = f"All {started} networks finished training; of the paper's 3120, 824 did not."
    else:
        most = table.loc[table["failed"].idxmax()]
        text = (
            f"{failed} of {started} networks ({100 * failed / started:.1f} %) did not finish (paper: 824 "
            f"of 3120, 26.4 %), most of them {network_name(most['network'])} ({most['failed']})."
        )
    return FigureResult(fig, table, text + gone_text(data))


def figS2(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S2: distance to ignorance at initialisation, in units of dB(P0, P*), with the running
    statistics of a fresh network and with re-estimated ones; one dot per network.
    """
    known_options("figS2", options, ())
    runs = all_runs(data)
    found = initial_distances(data)
    table = found.drop(columns="update")
    if not len(table):
        raise NotMeasurable("no run has a model at initialisation.")
    networks = networks_of(runs)
    fig = style.new_figure(style.COLUMN, 2.6)
    axes = fig.subplots()
    for place, network in enumerate(networks):
        color, marker = look(network)
        for shift, statistics in zip((-0.18, 0.18), STATISTICS, strict=True):
            mine = table[(table["network"] == network) & (table["statistics"] == statistics)]
            spots = place + shift + np.linspace(-0.08, 0.08, len(mine)) * (len(mine) > 1)
            face = "white" if statistics == "running" else color
            axes.plot(spots, mine["train_relative"], marker, color=color, mfc=face, ms=4)
    axes.set_yscale("log")
    axes.set_xticks(range(len(networks)), [_broken(one) for one in networks], fontsize=6)
    axes.set_xlim(-0.5, len(networks) - 0.5)
    axes.axhline(1, color=style.GREY, lw=0.8, ls=":")
    axes.set_ylabel(r"$d_B(P, P_0)\,/\,d_B(P_0, P_*)$ at initialisation")
    handles = [
        axes.plot([], [], "o", color=style.GREY, mfc=face, ms=4, label=label)[0]
        for face, label in zip(("white", style.GREY), STATISTICS.values(), strict=True)
    ]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return FigureResult(fig, table, _initial_text(table, networks) + gone_text(data))


def _initial_text(table: pd.DataFrame, networks: list[str]) -> str:
    texts = []
    for network in networks:
        parts = []
        for statistics, words in STATISTICS.items():
            mine = table[(table["network"] == network) & (table["statistics"] == statistics)]
            if len(mine):
                parts.append(f"{mine['train_relative'].max():.2g} {words}")
        texts.append(f"{network_name(network)} {', '.join(parts)}")
    return (
        "Largest dB to ignorance at initialisation over dB(P0, P*), train samples, with batch-"
        f"normalisation statistics as initialised and re-estimated: {'; '.join(texts)} (paper: up to "
        "0.91 for ResNet-50 on ImageNet, as initialised). The two kinds have different random weights."
    )


def _broken(network: str) -> str:
    return network_name(network).replace(" ", "\n")
