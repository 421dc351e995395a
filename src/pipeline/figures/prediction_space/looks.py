"""What the figures of prediction space share: colours, markers and names of networks, labels of axes.

Source: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.figures import style
from pipeline.run_texts import network_name
from pipeline.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NETWORK_LOOKS = {
    "fc": (style.BLACK, "o"),
    "all_cnn": (style.ORANGE, "s"),
    "small_resnet": (style.SKY, "^"),
    "large_resnet": (style.BLUE, "v"),
    "conv_mixer": (style.GREEN, "D"),
    "vit": (style.VERMILLION, "P"),
    "blur_resnet18": (style.SKY, "^"),
    "blur_resnet50": (style.BLUE, "v"),
    "vit_small": (style.VERMILLION, "P"),
    "student": (style.ORANGE, "o"),
    "deep_student": (style.BLUE, "s"),
}
OPTIMIZER_NAMES = {
    "sgd_minibatch": "SGD",
    "nesterov": "SGD, Nesterov",
    "adam_minibatch": "Adam",
    "adamp": "AdamP",
}
IGNORANCE, TRUTH = "$P_0$", "$P_*$"


def networks_of(runs: Iterable[Run]) -> list[str]:
    """The networks of some runs, in the order of ``NETWORK_LOOKS``, then others by name."""
    there = {str(run.config["network"]) for run in runs}
    known = [name for name in NETWORK_LOOKS if name in there]
    return known + sorted(there - set(known))


def look(network: str) -> tuple[str, str]:
    """(colour, marker) of a network."""
    return NETWORK_LOOKS.get(network, (style.GREY, "x"))


def model_networks(found: xr.Dataset, runs: Iterable[Run]) -> NDArray[Any]:
    """(models,) the network of each model of a result with ``model_run``."""
    of_run = {run.name: str(run.config["network"]) for run in runs}
    names = [of_run.get(name, name) for name in found.attrs["runs"]]
    return np.asarray(names)[found["model_run"].values]


def component_label(found: xr.Dataset, component: int) -> str:
    """``PC 2 (-)``: number and sign of an eigenvalue, counted from 0."""
    sign = {1: "+", -1: "−", 0: "0"}[int(found["signature"].values[component])]
    return f"PC {component + 1} ({sign})"


def network_legend(axes: Axes, networks: Iterable[str], **where: Any) -> None:
    """A legend with one entry per network."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], ls="", marker=look(one)[1], color=look(one)[0], ms=4, label=network_name(one)
        )
        for one in networks
    ]
    axes.legend(handles=handles, **where)
