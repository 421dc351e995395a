"""One style for all figures: sizes, colours, fonts, and bytes that do not change between runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.5  # inches, one column of a journal page
DOUBLE = 7.0  # inches, both columns

# Okabe & Ito's palette, told apart with any colour vision
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PINK = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"

METRIC_COLORS = {"radius_plus": BLUE, "radius_minus": VERMILLION, "distance": GREEN}
METRIC_LABELS = {
    "radius_plus": "radius $R_{+}$",
    "radius_minus": "radius $R_{-}$",
    "distance": "distance $D$",
    "train_error": "training error",
    "test_error": "test error",
}
SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "manifold-trajectories",  # element ids do not depend on the moment
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Whatever is drawn or saved within has this package's style, not the user's settings."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` by ``height`` inches, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def settle_layout(fig: Figure) -> None:
    """Lay a figure out once for all its files, and round where its parts are to a millionth of its sides.

    The layout's solver goes through its terms by memory address, so that the last digits of positions change
    from run to run; no picture shows them, but ids in an SVG are made of all digits.
    """
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    parts = list(fig.subfigs)
    for part in parts:  # grows while it is gone through
        parts.extend(part.subfigs)
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(6))
    for axes in fig.axes:
        in_layout = axes.get_in_layout()
        left, bottom, width, height = axes.get_position(original=True).bounds
        axes.set_position((round(left, 6), round(bottom, 6), round(width, 6), round(height, 6)))
        axes.set_in_layout(in_layout)


def epoch_axis(axes: Axes, last_epoch: int, label: bool = True) -> None:
    """A logarithmic epoch axis that also shows epoch 0: linear from 0 to 1."""
    from matplotlib.ticker import FixedLocator, NullLocator

    decades = [10**power for power in range(9) if 10**power <= last_epoch]
    axes.set_xscale("symlog", linthresh=1, linscale=0.35)
    axes.set_xlim(0, max(last_epoch, 1))
    axes.xaxis.set_major_locator(FixedLocator([0, *decades]))
    axes.set_xticks([0, *decades], ["0", *(str(decade) for decade in decades)])
    minor = [step * decade for decade in decades for step in range(2, 10)]
    axes.xaxis.set_minor_locator(FixedLocator([one for one in minor if one <= last_epoch]))
    if not decades:
        axes.xaxis.set_minor_locator(NullLocator())
    if label:
        axes.set_xlabel("epoch (updates of the weights; log axis from 1)")


def error_axis(axes: Axes, lowest: float, highest: float) -> None:
    """A logarithmic axis of the training error with plain numbers as ticks."""
    highest = max(highest, 0.5)  # two classes: chance, whatever the initial networks do
    plain_log_axis(axes, lowest, highest)
    axes.set_xlabel(r"training error $\epsilon_\mathrm{tr}$ (fraction)")


def plain_log_axis(axes: Axes, lowest: float, highest: float) -> None:
    """A logarithmic x axis with plain numbers (1, 2, 5 times powers of ten) as ticks."""
    from matplotlib.ticker import NullFormatter

    ticks = [
        step * 10.0**power
        for power in range(-6, 1)
        for step in (1, 2, 5)
        if lowest * 0.999 <= step * 10.0**power <= highest * 1.001
    ]
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
