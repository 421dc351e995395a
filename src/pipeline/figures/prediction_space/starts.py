"""Figures 10 and S10: networks that first fit random labels, on their way to the true ones.

Source: Mao et al., PNAS 121(12), 2024, Figs. 10, S10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.starts import STAGES
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.prediction_space.embeddings import model_labels
from pipeline.figures.prediction_space.looks import IGNORANCE, TRUTH, component_label
from pipeline.figures.save import FigureResult, known_options
from pipeline.figures.scatter_page import Cloud, Curve, scatter_page
from pipeline.runs import RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = ("second", "third", "merging")
LABELLING_COLORS = (style.VERMILLION, style.BLUE, style.GREEN, style.ORANGE, style.PINK, style.SKY)
REFERENCE_COLOR = style.BLACK
AXES = 3
Array = NDArray[np.float64]


class _Way(NamedTuple):
    """One network: its run, seed, stage, colour, and its models by rising update."""

    run: str
    seed: int
    stage: int
    color: str
    models: NDArray[np.int64]


def starts(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Networks from random weights, to random labels, and from there to the true labels.

    Options
    -------
    panels: of second, third (that component against the first) and merging (least distance to networks that
    start from random weights, against progress). Default: second, third.
    geodesics: whether embeddings show those between ignorance, truth and the random labellings, of test
    samples the ends of the first training (default true); models, not geodesics, set the limits.
    """
    known_options("starts", options, ("panels", "geodesics"))
    panels = list(options.get("panels", PANELS[:2]))
    if not panels or (unknown := [str(one) for one in panels if one not in PANELS]):
        raise PipelineError(
            f"The option panels names {', '.join(unknown) if panels else 'none'}; valid are: "
            f"{', '.join(PANELS)}."
        )
    found = analysis_with(data, "nearest_distance")
    ways = list(ways_of(found, data))
    fig = style.new_figure(style.DOUBLE if len(panels) > 1 else style.COLUMN, 2.9)
    for axes, name in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if name == "merging":
            _merging_panel(axes, found, ways)
        else:
            _embedding_panel(
                axes, found, ways, PANELS.index(name) + 1, bool(options.get("geodesics", True))
            )
    _legend(fig, ways)
    page = _page(found, ways, model_labels(data, found), bool(options.get("geodesics", True)))
    return FigureResult(fig, _table(found, ways), _summary(found, ways), page)


def ways_of(found: xr.Dataset, data: RunGroups) -> Iterator[_Way]:
    """The networks of a result of ``analysis.starts``, colours by the random labelling."""
    configs = {run.name: run.config for run in all_runs(data)}
    names, stages = found.attrs["runs"], found["model_stage"].values
    of_run, of_seed = found["model_run"].values, found["model_seed"].values
    first = [names[run] for run in np.unique(of_run[stages == STAGES.index("random")])]
    for run, seed in np.unique(np.stack([of_run, of_seed]), axis=1).T:
        mine = np.flatnonzero((of_run == run) & (of_seed == seed))
        mine = mine[np.argsort(found["model_update"].values[mine], kind="stable")]
        stage, name = int(stages[mine[0]]), names[run]
        origin = name if stage == STAGES.index("random") else configs[name].get("start_from")
        color = REFERENCE_COLOR
        if stage:
            place = first.index(origin) if origin in first else len(first)
            color = LABELLING_COLORS[place % len(LABELLING_COLORS)]
        yield _Way(str(name), int(seed), stage, color, mine)


def _embedding_panel(
    axes: Axes, found: xr.Dataset, ways: list[_Way], component: int, geodesics: bool
) -> None:
    x, paths = found["inpca"].values, found["path_inpca"].values
    if component >= x.shape[1]:
        axes.set_axis_off()
        return
    for way in sorted(ways, key=lambda one: one.stage):
        some, (ls, alpha) = x[way.models], _line(way.stage)
        axes.plot(some[:, 0], some[:, component], ls=ls, color=way.color, alpha=alpha, lw=0.8)
        axes.plot(some[-1, 0], some[-1, component], "o", color=way.color, ms=2, alpha=alpha)
    if geodesics:
        for path in paths:
            axes.plot(path[:, 0], path[:, component], color=style.GREY, lw=1.0, ls="--", zorder=0)
    for text, point in ((IGNORANCE, paths[0, 0]), (TRUTH, paths[0, -1])):
        axes.plot(point[0], point[component], "k+", ms=6)
        where = (point[0], point[component])
        axes.annotate(text, where, xytext=(4, 4), textcoords="offset points")
    if geodesics:  # their ends are far off
        shown = np.concatenate([x, paths[0, :1]])[:, [0, component]]
        low, high = shown.min(axis=0), shown.max(axis=0)
        (left, bottom), (right, top) = low - 0.1 * (high - low), high + 0.1 * (high - low)
        axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_xlabel(component_label(found, 0))
    axes.set_ylabel(component_label(found, component))


def _line(stage: int) -> tuple[str, float]:
    """Style and opacity of a stage's lines."""
    return {0: ("-", 0.7), 1: (":", 0.9), 2: ("-", 0.9)}[stage]


def _merging_panel(axes: Axes, found: xr.Dataset, ways: list[_Way]) -> None:
    progress, nearest = found["stage_progress"].values, found["nearest_distance"].values
    for way in ways:
        if way.stage != STAGES.index("random"):
            alpha = _line(way.stage)[1]
            axes.plot(
                progress[way.models], nearest[way.models], color=way.color, lw=0.8, alpha=alpha
            )
    near = float(found.attrs["near"])
    axes.axhline(near, color=style.GREY, ls=":", lw=0.8)
    axes.text(1, near, f"{near:g}", ha="right", va="bottom", fontsize=6, color=style.GREY)
    axes.set_xlabel("progress")
    axes.set_ylabel("least distance to networks\nfrom random weights")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)


def _legend(fig: Any, ways: list[_Way]) -> None:
    from matplotlib.lines import Line2D

    handles = {"from random weights": Line2D([], [], color=REFERENCE_COLOR, lw=1.2)}
    first = [way for way in ways if way.stage == STAGES.index("random")]
    if first:
        handles["to random labels"] = Line2D([], [], color=style.GREY, ls=":", lw=1.2)
    for way in first:
        text = f"from labelling {way.run.rsplit('_', 1)[-1]} to the true labels"
        handles.setdefault(text, Line2D([], [], color=way.color, lw=1.2))
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)


def _table(found: xr.Dataset, ways: list[_Way]) -> pd.DataFrame:
    x = found["inpca"].values
    shown = min(AXES, x.shape[1])
    rows = []
    for way in ways:
        columns = {
            "run": way.run,
            "seed": way.seed,
            "stage": STAGES[way.stage],
            "epoch": found["model_epoch"].values[way.models],
            "progress": found["stage_progress"].values[way.models],
            "nearest_distance": found["nearest_distance"].values[way.models],
            **{f"pc{k + 1}": x[way.models, k] for k in range(shown)},
        }
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def _summary(found: xr.Dataset, ways: list[_Way]) -> str:
    counts = [sum(way.stage == stage for way in ways) for stage in range(len(STAGES))]
    shown = min(AXES, found.sizes["component"])
    stress = 100 * found["explained_stress"].values[shown - 1]
    text = (
        f"Bhattacharyya distances, {found.attrs['split']} samples; {found.sizes['model']} models of "
        f"{counts[0]} networks from random weights, {counts[1]} to random labels and {counts[2]} from "
        "there to the true labels. The first "
        f"{shown} components explain {stress:.0f} % of the stress (paper: more than 87 %)."
    )
    unlearnt = 100 * found["labelling_error"].values
    if unlearnt.size:
        text += (
            f" After the first training, {unlearnt.min():.1f} to {unlearnt.max():.1f} % of the random labels "
            "are not reproduced."
        )
    least = found["least_ignorance_distance"].values
    if not least.size:
        return text + " No network started from random labels."
    merged = found["merging_progress"].values[np.isfinite(found["merging_progress"].values)]
    epochs = found["merging_epoch"].values[np.isfinite(found["merging_epoch"].values)]
    text += (
        f" Least distance to ignorance on the way to the true labels: {least.min():.2f} to {least.max():.2f} "
        f"(paper: 0.1 to 0.5); {_path_text(found)}{merged.size} of {least.size} networks come and stay "
        f"within {found.attrs['near']:g} of those from random weights"
    )
    if merged.size:
        sd = f" ± {np.std(merged, ddof=1):.2f}" if merged.size > 1 else ""
        text += (
            f", from progress {np.mean(merged):.2f}{sd} on (paper, train: 0.27 ± 0.15), after "
            f"{np.median(epochs):.3g} epochs (median; paper: 3)"
        )
    return text + "."


def _path_text(found: xr.Dataset) -> str:
    """How near geodesics from the labellings, or from the ends of the first training, to the truth come
    to ignorance.
    """
    gaps = found["path_ignorance"].values
    to_truth = [k for k, name in enumerate(found.attrs["paths"]) if k and name.endswith("to truth")]
    if not to_truth:
        return ""
    labelled = found.attrs["path_ends"] == "labellings"
    start = "the random labellings" if labelled else "the ends of the first training"
    return f"geodesics from {start} to the truth stay {gaps[to_truth].min():.2f} away; "


def _page(found: xr.Dataset, ways: list[_Way], told: list[str], geodesics: bool) -> str | None:
    """The first three components to turn; None of fewer.

    Arguments
    ---------
    told: of each model what hovering shows; its progress is added.
    """
    x, paths = found["inpca"].values, found["path_inpca"].values
    if x.shape[1] < AXES:
        return None
    progress = found["stage_progress"].values
    looks = ("o", "^", "s")
    clouds = []
    for name in dict.fromkeys(way.run for way in ways):
        mine = [way for way in ways if way.run == name]
        models = np.concatenate([way.models for way in mine])
        labels = [f"{told[model]}, progress {progress[model]:.2f}" for model in models]
        stage = mine[0].stage
        clouds.append(Cloud(name, mine[0].color, looks[stage], x[models, :AXES], labels))
    curves = [
        Curve(name, style.GREY, path[:, :AXES])
        for name, path in zip(found.attrs["paths"], paths, strict=True)
        if geodesics
    ]
    axes = [component_label(found, k) for k in range(AXES)]
    marks = {"P0": paths[0, 0, :AXES], "P*": paths[0, -1, :AXES]}
    title = f"Starts from random labels, {found.attrs['split']} samples"
    return scatter_page(title, axes, clouds, curves, marks)
