"""What the figures of the memorisation paper share: colours of kinds and layers, axes, limits, bars.

Source: Stephenson et al., ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import mean_of
from pipeline.figures import style
from pipeline.run_texts import DATASET_NAMES, network_name
from pipeline.runs import Run, RunGroups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND_COLORS = {
    "unpermuted": style.BLUE,
    "permuted": style.ORANGE,
    "restored": style.GREEN,
    "test": style.VERMILLION,
}
KIND_MARKERS = {"unpermuted": "o", "permuted": "s", "restored": "^", "test": "D"}
SUBSET_LOOKS = {
    "train": (style.BLACK, "-"),
    "test": (KIND_COLORS["test"], "--"),
    **{kind: (KIND_COLORS[kind], "-") for kind in ("unpermuted", "permuted", "restored")},
}
METRIC_LABELS = {
    "mean_capacity": r"manifold capacity $\alpha_M$",
    "radius": "manifold radius $R_M$",
    "dimension": "manifold dimension $D_M$",
    "center_correlation": r"centre correlation $\rho$",
}
BOUNDS = {  # the least and the most that a quantity can be
    "mean_capacity": (0.0, np.inf),
    "radius": (0.0, np.inf),
    "dimension": (0.0, np.inf),
    "center_correlation": (0.0, 1.0),
    "test_accuracy": (0.0, 1.0),
}
MOST_NAMES = 10  # of layers beside a colour bar
MOST_BANDS, FEWEST_SEEDS = 6, 5  # more bands, or bands of fewer seeds, hide one another
Array = NDArray[np.float64]


def half_width(values: Array, axis: int = 0, confidence: float = 0.95) -> Array:
    """Half the confidence interval of the mean, t_{(1 + c) / 2, n - 1} sd / sqrt(n), without NaN.

    NaN where fewer than two values are left.
    """
    from scipy.special import stdtrit

    count = np.isfinite(values).sum(axis=axis)
    enough = count > 1
    n = np.where(enough, count, 2)
    mean = mean_of(values, axis)
    squares = np.nansum((values - np.expand_dims(mean, axis)) ** 2, axis=axis)
    sd = np.sqrt(squares / (n - 1))
    found: Array = stdtrit(n - 1, (1 + confidence) / 2) * sd / np.sqrt(n)
    return np.where(enough, found, np.nan)


def value_limits(
    mean: Array,
    half: Array,
    reach: float = 0.15,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    log: bool = False,
) -> tuple[float, float]:
    """Limits of an axis: all means, and bars up to ``reach`` times the range of the means beyond them.

    Intervals of few seeds are long (99 %, 3 seeds: t = 9.9), so that they may not set the scale.

    Arguments
    ---------
    mean, half: values and half widths of their bars, NaN where there are none, of one shape.
    bounds: what the quantity can be; log: the range is that of the logarithms.
    """
    there = np.isfinite(mean)
    middle, width = mean[there], np.nan_to_num(half[there])
    ends = np.stack([middle - width, middle, middle + width])
    if log:
        ends = np.log(np.maximum(ends, np.finfo(float).tiny))
    low, high = float(ends[1].min()), float(ends[1].max())
    spread = (high - low) or 0.05 * (abs(high) or 1.0)
    bottom = max(float(ends[0].min()), low - reach * spread)
    top = min(float(ends[2].max()), high + reach * spread)
    margin = 0.06 * max(top - bottom, spread)
    limits = np.array([bottom - margin, top + margin])
    bottom, top = np.exp(limits) if log else limits
    return max(float(bottom), bounds[0]), min(float(top), bounds[1])


def cut_bars(mean: Array, half: Array, limits: tuple[float, float]) -> int:
    """How many bars reach beyond the limits of their axis."""
    return int(np.sum((mean - half < limits[0]) | (mean + half > limits[1])))


def cut_text(count: int, bars: int) -> str:
    """A sentence on bars that are cut at the axis; empty where there are none."""
    return f" {count} of {bars} bars are longer than the axis and cut." if count else ""


def log_values(axes: Axes, limits: tuple[float, float]) -> None:
    """A logarithmic y axis with plain numbers as ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    steps = [step * 10.0**power for power in range(-6, 6) for step in (1, 2, 5)]
    ticks = [tick for tick in steps if limits[0] <= tick <= limits[1]]
    if len(ticks) < 3:  # the axis is shorter than a decade
        found = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(*limits)
        ticks = [tick for tick in found if limits[0] <= tick <= limits[1]]
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def banded(names: list[str], seeds: int, last: str) -> list[str]:
    """Layers whose interval is drawn: all, or the last hidden one where bands would hide one another."""
    readable = len(names) <= MOST_BANDS and seeds >= FEWEST_SEEDS
    return names if readable else [name for name in names if name == last]


def one_network_text(seed: int, run: Run) -> str:
    """A sentence on a figure that shows one network of a run."""
    return f" Shown is one network, seed {seed}, of the {run.seeds} trained."


def skips_text(run: Run, what: str) -> str:
    """A sentence on the 1 x 1 convolutions of skips, which no layer owns; empty for other networks."""
    if run.config["network"] != "resnet18":
        return ""
    return f" The 1 x 1 convolutions of the skip connections {what}."


def manifold_text(stacks: list[xr.Dataset]) -> str:
    """Sentences on P, M, cells without capacity and restarts that did not converge."""
    counts = [one["manifold_points"].values for one in stacks]
    points = np.concatenate([values[values > 0].ravel() for values in counts])
    manifolds = sorted({int(one.sizes["manifold"]) for one in stacks})
    text = f"P = {_span(manifolds)} manifolds of M = {_span(points)} points."
    undefined = {str(cell) for one in stacks for cell in one.attrs.get("undefined", [])}
    if undefined:
        text += f" {len(undefined)} cells have no capacity and are left out."
    restarts = np.concatenate(
        [one["unconverged"].values.ravel() for one in stacks if "unconverged" in one]
        or [np.zeros(0)]
    )
    if lost := int(np.sum(restarts > 0)):
        measured = sum(int(np.sum(values > 0)) for values in counts)
        text += (
            f" In {lost} of {measured} cells restarts of the search for the centres' structure did not "
            f"converge (at most {int(restarts.max())})."
        )
    return text


def _span(values: Any) -> str:
    low, high = int(np.min(values)), int(np.max(values))
    return f"{low}" if low == high else f"{low} to {high}"


def found_analyses(data: RunGroups, variable: str) -> list[xr.Dataset]:
    """The analyses given that hold a variable; those whose data could not be had are left out."""
    return [one for one in data.analyses.values() if variable in one]


def gone_text(data: RunGroups) -> str:
    """A sentence on analyses and runs whose data could not be had, for the end of a summary."""
    reasons = {
        str(one.attrs["unavailable"])
        for one in data.analyses.values()
        if "unavailable" in one.attrs
    }
    reasons |= {f"{name}, as {reason}" for name, reason in data.unavailable.items()}
    if not reasons:
        return ""
    return " Left out: " + "; ".join(sorted(reason.rstrip(".") for reason in reasons)) + "."


def epoch_axis(axes: Axes, last: float | None = None, label: str = "epoch") -> None:
    """An x axis of epochs from 0 on, with whole numbers as ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel(label)


def legend_above(axes: Axes, columns: int) -> None:
    """A legend above the axes, where it covers nothing."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.2)


def layer_axis(axes: Axes, numbers: Iterable[int], label: bool = True) -> None:
    """An x axis of layers, by their number."""
    shown = [int(number) for number in numbers]
    axes.set_xlim(shown[0] - 0.5, shown[-1] + 0.5)
    step = -(-len(shown) // 8)  # of two digits no more fit into a narrow panel
    axes.set_xticks(shown[::step], [str(number) for number in shown[::step]])
    if label:
        axes.set_xlabel("layer")


def layer_colors(count: int) -> list[tuple[float, ...]]:
    """One colour per layer, from dark blue (the first) to orange (the last)."""
    from matplotlib import colormaps

    places = np.linspace(0.0, 0.78, max(count, 2))  # lighter ones cannot be seen on white
    return [tuple(one) for one in colormaps["plasma"](places)][:count]


def layer_bar(fig: Figure, axes: Any, names: list[str]) -> None:
    """A colour bar with the names of the layers, of many every second or third and the last."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = len(names)
    scale = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    mappable = ScalarMappable(scale, ListedColormap(layer_colors(count)))
    bar = fig.colorbar(mappable, ax=axes, fraction=0.05, pad=0.02, aspect=40)
    step = -(-count // MOST_NAMES)
    shown = [*range(0, count - step, step), count - 1]
    bar.set_ticks(shown, labels=[names[index] for index in shown])
    bar.ax.tick_params(length=0, labelsize=6)
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]


def model_name(run: Run) -> str:
    """The run's network and data set, in words."""
    dataset = DATASET_NAMES.get(run.config["dataset"], run.config["dataset"])
    return f"{network_name(run.config['network'])}, {dataset}"
