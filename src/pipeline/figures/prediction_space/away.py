"""Fig. 4 of prediction space: the models away from the manifold, by network, optimiser and epoch.

Source: Mao et al., PNAS 121(12), 2024, Fig. 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.analysis.model_table import (
    FAR,
    FITTED,
    LARGE_BATCH,
    NETWORK,
    away_models,
    end_models,
    model_table,
)
from pipeline.figures import style
from pipeline.figures.memorization.looks import gone_text
from pipeline.figures.prediction_space.looks import OPTIMIZER_NAMES, networks_of
from pipeline.figures.save import FigureResult, known_options
from pipeline.run_texts import network_name
from pipeline.runs import RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# colours that no network has
OPTIMIZER_LOOKS = {
    "sgd_minibatch": (style.YELLOW, ""),
    "nesterov": (style.PINK, "///"),
    "adam_minibatch": (style.GREY, "..."),
}
EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # epochs, the left one belongs to the bin


def fig4a(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 4a: numbers of models with dB to the truth above 2, by network and optimiser."""
    known_options("fig4a", options, ())
    runs = all_runs(data)
    table = model_table(analysis_with(data, "model_metrics"), runs)
    networks = networks_of(runs)
    labels = [network_name(one).replace(" ", "\n") for one in networks]
    fig, counts = _stacked(table, "network", networks, labels)
    fig.axes[0].set_xlabel("network")
    return FigureResult(fig, counts, _network_text(table, networks) + gone_text(data))


def fig4b(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 4b: numbers of models with dB to the truth above 2, by bin of epochs and optimiser."""
    known_options("fig4b", options, ())
    table = model_table(analysis_with(data, "model_metrics"), all_runs(data))
    last = float(table["epoch"].max())
    bins = [place for place, edge in enumerate(EDGES[:-1]) if edge <= last]
    table = table.assign(epoch_bin=np.searchsorted(EDGES, table["epoch"], side="right") - 1)
    labels = [f"{EDGES[place]} to\n{EDGES[place + 1]}" for place in bins]
    fig, counts = _stacked(table, "epoch_bin", bins, labels)
    counts["from_epoch"] = [EDGES[place] for place in counts.pop("epoch_bin")]
    fig.axes[0].set_xlabel("epoch (the left end belongs to the bin)")
    return FigureResult(fig, counts, _epoch_text(table) + gone_text(data))


def _stacked(
    table: pd.DataFrame, key: str, places: list[Any], labels: list[str]
) -> tuple[Any, pd.DataFrame]:
    """Bars of the models away from the manifold, by a column of the table, optimisers upon each other."""
    from matplotlib.ticker import MaxNLocator

    away = away_models(table)
    fig = style.new_figure(style.COLUMN, 2.5)
    axes = fig.subplots()
    floor, rows = np.zeros(len(places)), []
    used = [one for one in OPTIMIZER_NAMES if (table["optimizer"] == one).any()]
    for name in used + sorted(set(table["optimizer"]) - set(used)):
        mine = away[away["optimizer"] == name]
        heights = np.array([(mine[key] == place).sum() for place in places])
        color, hatch = OPTIMIZER_LOOKS.get(name, ("white", "xxx"))
        label = OPTIMIZER_NAMES.get(name, name)
        bars: dict[str, Any] = {"color": color, "hatch": hatch, "ec": style.BLACK, "lw": 0.5}
        axes.bar(range(len(places)), heights, bottom=floor, width=0.7, label=label, **bars)
        floor += heights
        there = table[table["optimizer"] == name]
        for place, height in zip(places, heights, strict=True):
            large = ((mine[key] == place) & (mine["batch_size"] > LARGE_BATCH)).sum()
            rows.append((place, name, height, large, (there[key] == place).sum()))
    axes.set_xticks(range(len(places)), labels)
    axes.set_ylim(0, max(1.0, 1.1 * floor.max(initial=0)))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_ylabel(f"models with $d_B(P, P_*) > {FAR:g}$")
    _legend_above(axes)
    if not floor.any():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center")
    columns = [key, "optimizer", "away", f"away_batch_above_{LARGE_BATCH}", "models"]
    return fig, pd.DataFrame(rows, columns=columns)


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2)


def _count_text(table: pd.DataFrame) -> str:
    away = away_models(table)
    networks = len(away[NETWORK].drop_duplicates())
    total = len(table[NETWORK].drop_duplicates())
    return (
        f"{len(away)} of {len(table)} models, of {networks} of {total} networks, have dB to the truth "
        f"above {FAR:g} on train samples"
    )


def _network_text(table: pd.DataFrame, networks: list[str]) -> str:
    away = away_models(table)
    if not len(away):
        return f"{_count_text(table)}: no network leaves the manifold."
    texts = []
    for network in networks:
        mine = away[away["network"] == network]
        adam = (mine["optimizer"] == "adam_minibatch").sum()
        text = f", {adam} of them with Adam" if len(mine) else ""
        texts.append(f"{network_name(network)} {len(mine)}{text}")
    ends = end_models(table).merge(away[NETWORK].drop_duplicates(), on=NETWORK)
    zero = int((ends["train_error"] <= FITTED).sum())
    return (
        f"{_count_text(table)}: {'; '.join(texts)} (paper: none of AllCNN; most of ConvMixer and of both "
        f"ResNets with Adam). {zero} of these {len(ends)} networks end with a training error of at most "
        f"{100 * FITTED:g} % (paper: over half of those at chance end with zero)."
    )


def _epoch_text(table: pd.DataFrame) -> str:
    away = away_models(table)
    if not len(away):
        return f"{_count_text(table)}: no network leaves the manifold."
    adam = away["optimizer"] == "adam_minibatch"
    large = ~adam & (away["batch_size"] > LARGE_BATCH)
    texts = [
        f"Adam has {100 * adam.mean():.0f} % of them{_median_epoch(away[adam])} (paper: about 55 %, late)",
        f"SGD with batches above {LARGE_BATCH} {100 * large.mean():.0f} %{_median_epoch(away[large])} "
        "(paper: about 35 %, early)",
    ]
    if not (table["batch_size"] > LARGE_BATCH).any():
        texts[1] = (
            f"no network was trained with batches above {LARGE_BATCH} (paper: about 35 %, early)"
        )
    return f"{_count_text(table)}. {'; '.join(texts)}."


def _median_epoch(away: pd.DataFrame) -> str:
    return f", at epoch {away['epoch'].median():.3g} in the median" if len(away) else ""
