"""Figures S5 and S6: how far the seeds of a configuration are apart at equal progress.

Source: Mao et al., PNAS 121(12), 2024, App. D.1, Figs. S5, S6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.model_table import CONFIGURATION, setting
from pipeline.analysis.trajectory_results import runs_of, seeds_text
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.prediction_space.looks import look, network_legend, networks_of
from pipeline.figures.save import FigureResult, empty_figure, known_options
from pipeline.runs import Run, RunGroups, results_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AUGMENTATION_LOOKS = {
    "none": (style.BLUE, "not augmented"),
    "crop_flip": (style.VERMILLION, "augmented"),
}
LATE = 0.8  # progress above which a width counts as late
Array = NDArray[np.float64]


def tubes(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Tube width against progress, a panel per analysis given: a faint line per configuration (median over
    its seeds), a strong one for the median of each kind.

    Options
    -------
    by: network (default), or augmentation: what colours stand for. With augmentation only configurations
    enter that were trained both ways, all other settings equal.
    """
    known_options("tubes", options, ("by",))
    by = options.get("by", "network")
    if by not in ("network", "augmentation"):
        raise PipelineError(f"The option by is {by!r}; valid are network and augmentation.")
    results = results_with(data, "tube_width")
    if not any(np.isfinite(one["tube_width"].values).any() for one in results):
        return empty_figure(data)
    fig = style.new_figure(style.DOUBLE, 2.7)
    panels = fig.subplots(1, len(results), sharey=True, squeeze=False)[0]
    tables = [
        _panel(axes, found, runs_of(found, data), by)
        for axes, found in zip(panels, results, strict=True)
    ]
    panels[0].set_ylabel("Bhattacharyya distance\nto the mean of seeds")
    shown = {run.name: run for found in results for run in runs_of(found, data)}
    if by == "network":
        network_legend(panels[0], networks_of(shown.values()), loc="best")
    elif (handles := panels[0].get_legend_handles_labels())[0]:
        panels[0].legend(*handles, loc="best")
    table = pd.concat(tables, ignore_index=True)
    texts = [_text(found, table, by) for found in results]
    return FigureResult(fig, table, " ".join(texts) + f" {_paper_text(by)}")


def widths_of(found: xr.Dataset) -> tuple[NDArray[np.int64], Array]:
    """Places of the configurations with several seeds (c,), and their widths (c, values), the median over
    seeds.
    """
    of_run, widths = found["trajectory_run"].values, found["tube_width"].values
    rows, places = [], []
    for place, run in enumerate(found["configuration_run"].values):
        mine = widths[of_run == run]
        if np.isfinite(mine).all():
            rows.append(np.median(mine, axis=0))
            places.append(place)
    return np.array(places, dtype=np.int64), np.array(rows).reshape(len(rows), widths.shape[1])


def _kinds(runs: list[Run], by: str) -> NDArray[Any]:
    """What each run is drawn as; empty text where it does not enter."""
    kinds = np.array([str(run.config[by]) for run in runs])
    if by == "augmentation":
        others = [
            tuple(str(setting(run.config, key)) for key in ("network", *CONFIGURATION) if key != by)
            for run in runs
        ]
        ways = [
            {kind for kind, same in zip(kinds, others, strict=True) if same == other}
            for other in others
        ]
        kinds = np.where([len(one) > 1 for one in ways], kinds, "")
    return kinds


def _panel(axes: Axes, found: xr.Dataset, runs: list[Run], by: str) -> pd.DataFrame:
    places, widths = widths_of(found)
    kinds, at = _kinds([runs[place] for place in places], by), found["compared_progress"].values
    rows = []
    order = networks_of(runs) if by == "network" else sorted(set(kinds) - {""}, reverse=True)
    for kind in order:
        mine = widths[kinds == kind]
        if not len(mine):
            continue
        color, label = _look(kind, by)
        axes.plot(at, mine.T, color=color, lw=0.5, alpha=0.35)
        middle = np.median(mine, axis=0)
        axes.plot(at, middle, color=color, lw=1.5, label=label)
        parts = {"split": found.attrs["split"], "kind": kind, "n": len(mine)}
        rows.append(pd.DataFrame({**parts, "progress": at, "tube_width": middle}))
    axes.set_title(f"{found.attrs['split']} samples", loc="left")
    axes.set_xlabel("progress")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    columns = ["split", "kind", "n", "progress", "tube_width"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _look(kind: str, by: str) -> tuple[str, str]:
    if by == "network":
        return look(kind)[0], kind
    return AUGMENTATION_LOOKS.get(kind, (style.GREY, kind))


def _text(found: xr.Dataset, table: pd.DataFrame, by: str) -> str:
    split = found.attrs["split"]
    places, widths = widths_of(found)
    if not len(places):
        return f"Of {split} samples no configuration has two networks that trained."
    single = found.sizes["configuration"] - len(places)
    text = (
        f"Median tube width on {split} samples {np.median(widths):.3g}, largest {widths.max():.3g}; "
        f"n = {len(places)} configurations of {seeds_text(found)}"
        + (f", {single} more with one network that trained are left out" if single else "")
        + "."
    )
    if by == "augmentation":
        late = table[(table["split"] == split) & (table["progress"] > LATE)]
        means = late.groupby("kind")["tube_width"].mean()
        if len(means) > 1:
            larger = means["crop_flip"] > means["none"]
            pairs = int(late.groupby("kind")["n"].first().min())
            text += (
                f" At progress above {LATE:g}: {means['crop_flip']:.3g} with augmentation and "
                f"{means['none']:.3g} without (trained both ways, all other settings equal: {pairs} "
                f"configurations), {'as' if larger else 'unlike'} in the paper."
            )
        else:
            text += " No configuration was trained with and without augmentation to compare."
    return text


def _paper_text(by: str) -> str:
    few = (
        " A mean over seeds holds the network itself, so that fewer seeds give smaller widths: 2 about half "
        "of the paper's 10."
    )
    if by == "network":
        return (
            "The paper: a median of about 0.05 on train samples, alike for all networks. Each faint line is "
            "a configuration, the median over its seeds; beyond its largest progress a trajectory's last "
            f"model stands.{few}"
        )
    return f"The paper: larger with augmentation at large progress, on train and test samples.{few}"
