"""Every figure of the memorisation paper with made-up data and options, by name, for its tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr
from made_up_memorization import (
    VGG16,
    capacities,
    embedded,
    examples,
    given,
    gradient_norms,
    rewound,
    run_of,
    sphere_points,
)

from pipeline.figures.memorization.accuracy import fig2A, figA3
from pipeline.figures.memorization.double_descent import double_descent
from pipeline.figures.memorization.embeddings import embeddings
from pipeline.figures.memorization.examples import fig1A
from pipeline.figures.memorization.gradients import gradients
from pipeline.figures.memorization.layers import along_epochs, layers
from pipeline.figures.memorization.noise import figA8
from pipeline.figures.memorization.rewinding import rewinding
from pipeline.figures.save import FigureResult, draw
from pipeline.runs import Run, RunGroups

Figure = Callable[[RunGroups, dict[str, Any]], FigureResult]
RUN = run_of()
KEPT = ["init", "kept", "kept", "kept"]


def one_run(**analyses: xr.Dataset) -> RunGroups:
    return given([RUN], **analyses)


def widths(seeds: int = 3) -> RunGroups:
    runs = [
        run_of(f"width_{number}", seeds, network="resnet18", label_noise=0.1) for number in range(4)
    ]
    groups = RunGroups({"double_descent": runs})
    groups.analyses["stack"] = capacities(runs, ["conv17"], kinds=["test"])
    return groups


def shares(networks: tuple[str, ...] = ("alexnet", "vgg16"), seeds: int = 3) -> RunGroups:
    runs = [
        run_of(f"{network}_{noise}", seeds, network=network, label_noise=noise)
        for network in networks
        for noise in (1.0, 0.0, 0.5)
    ]
    groups = RunGroups({"noise": runs})
    groups.analyses["stack"] = capacities(runs, ["conv1", "conv9", "linear21"])
    return groups


CASES: dict[str, tuple[Figure, Callable[[], RunGroups], dict[str, Any]]] = {
    "1A": (fig1A, lambda: one_run(examples=examples()), {}),
    "1A_gray": (fig1A, lambda: one_run(examples=examples(gray=True)), {}),
    "2A": (
        fig2A,
        lambda: given(
            [RUN, run_of("alexnet", network="alexnet"), run_of("clean", label_noise=0.0)]
        ),
        {},
    ),
    "2A_one_seed": (fig2A, lambda: given([run_of(seeds=1)]), {}),
    "2B": (embeddings, lambda: one_run(umap=embedded()), {"layer": "conv2"}),
    "3A": (
        layers,
        lambda: one_run(stack=capacities([RUN], VGG16)),
        {"moments": ["best"], "confidence": 0.99},
    ),
    "3B": (
        layers,
        lambda: one_run(stack=capacities([RUN], VGG16)),
        {"moments": ["final"], "faded": "best"},
    ),
    "A5": (layers, lambda: one_run(stack=capacities([RUN])), {}),
    "A5_clean": (layers, lambda: clean_run(), {}),
    "A5_one_seed": (layers, lambda: single(capacities), {}),
    "A4_epochs": (along_epochs, lambda: one_run(stack=capacities([RUN], moments=KEPT)), {}),
    "A4_epochs_clean": (along_epochs, lambda: clean_run(KEPT), {}),
    "4A": (rewinding, lambda: one_run(found=rewound(RUN)), {"splits": ["train"]}),
    "4B": (rewinding, lambda: one_run(found=rewound(RUN)), {"splits": ["test"]}),
    "A9": (rewinding, lambda: one_run(found=rewound(RUN, VGG16)), {"band": True}),
    "A10": (
        rewinding,
        lambda: one_run(found=rewound(RUN, VGG16)),
        {"band": True, "layers": "every_third"},
    ),
    "4C": (double_descent, widths, {"panel": "accuracy"}),
    "4D": (double_descent, widths, {"panel": "radius_and_correlation"}),
    "4E": (double_descent, widths, {"panel": "dimension"}),
    "4E_one_seed": (double_descent, lambda: widths(1), {"panel": "dimension"}),
    "5A": (gradients, lambda: one_run(found=gradient_norms(RUN, VGG16)), {"panels": ["A"]}),
    "A1": (
        gradients,
        lambda: one_run(found=gradient_norms(RUN)),
        {"panels": ["dep_unpermuted", "dep_permuted", "ind_unpermuted", "ind_permuted"]},
    ),
    "A12": (gradients, lambda: one_run(found=gradient_norms(RUN, VGG16)), {}),
    "A12_clean": (
        gradients,
        lambda: one_run(found=gradient_norms(run_of(label_noise=0.0))),
        {},
    ),
    "A3": (figA3, lambda: one_run(pair=sphere_points()), {}),
    "A8": (figA8, shares, {}),
    "A8_one_network": (figA8, lambda: shares(("feed_forward",), seeds=1), {}),
}


def single(function: Callable[[list[Run]], xr.Dataset]) -> RunGroups:
    run = run_of(seeds=1)
    return given([run], stack=function([run]))


def clean_run(moments: Any = ("best", "final")) -> RunGroups:
    run = run_of("clean", label_noise=0.0)
    return given([run], stack=capacities([run], moments=moments))


def drawn(name: str) -> FigureResult:
    function, data, options = CASES[name]
    return draw(function, data(), options)
