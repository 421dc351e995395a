"""What the figures of the memorisation paper share: colours of kinds and layers, axes, error bars.

Source: Stephenson et al., ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import mean_of
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.runs import DATASET_NAMES, Run, RunGroups

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
METRIC_LABELS = {
    "mean_capacity": r"manifold capacity $\alpha_M$",
    "radius": "manifold radius $R_M$",
    "dimension": "manifold dimension $D_M$",
    "center_correlation": r"centre correlation $\rho$",
}
NETWORK_NAMES = {
    "feed_forward": "feed-forward",
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "resnet18": "ResNet-18",
}
Array = NDArray[np.float64]


def known_options(figure: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise PipelineError for an option that a figure does not have."""
    if unknown := sorted(set(options) - set(known)):
        valid = ", ".join(known) or "none"
        raise PipelineError(f"{figure} has no options {', '.join(unknown)}; valid are: {valid}.")


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
    reasons |= set(data.unavailable.values())
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
    """One colour per layer, from blue (the first) to yellow-green (the last)."""
    from matplotlib import colormaps

    return [tuple(one) for one in colormaps["viridis"](np.linspace(0.0, 0.92, max(count, 2)))][
        :count
    ]


def layer_bar(fig: Figure, axes: Any, names: list[str]) -> None:
    """A colour bar that names the first, middle and last layer."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = len(names)
    scale = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    mappable = ScalarMappable(scale, ListedColormap(layer_colors(count)))
    bar = fig.colorbar(mappable, ax=axes, fraction=0.05, pad=0.02)
    shown = sorted({0, count // 2, count - 1})
    bar.set_ticks(shown, labels=[names[index] for index in shown])
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]


def model_name(run: Run) -> str:
    """The run's network and data set, in words."""
    network = NETWORK_NAMES.get(run.config["network"], run.config["network"])
    dataset = DATASET_NAMES.get(run.config["dataset"], run.config["dataset"])
    return f"{network}, {dataset}"
