"""Figure 1A of the memorisation paper: example images with their true and random labels.

Source: Stephenson et al., ICLR 2021, Fig. 1A.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.figures import style
from pipeline.figures.memorization.looks import KIND_COLORS, one_network_text
from pipeline.figures.save import FigureResult, known_options
from pipeline.runs import RunGroups, all_runs, analysis_with

NAMES = {
    "cifar10": (
        *("aeroplane", "car", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "lorry"),
    )
}


def fig1A(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1A: a row of unpermuted, permuted and restored examples each, with the label that counts."""
    known_options("fig1A", options, ())
    found = analysis_with(data, "example_images")
    kinds = [str(kind) for kind in found.attrs["kinds"]]
    images, labels = found["example_images"].values, found["example_label"].values
    classes = found["example_class"].values
    names = NAMES.get(str(found.attrs.get("dataset")), ())
    count = images.shape[1]
    fig = style.new_figure(style.COLUMN, 1.15 * len(kinds))
    panels = fig.subplots(len(kinds), count, squeeze=False)
    rows = []
    for row, kind in enumerate(kinds):
        for column in range(count):
            axes, label = panels[row, column], int(labels[row, column])
            axes.imshow(images[row, column], cmap="gray", interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            wrong = label != int(classes[row, column])
            text = names[label] if label < len(names) else f"class {label}"
            axes.set_title(text, color=style.VERMILLION if wrong else style.BLACK, fontsize=7)
            for spine in axes.spines.values():
                spine.set(visible=True, color=KIND_COLORS[kind], linewidth=1.4)
            true = int(classes[row, column])
            rows.append({"kind": kind, "example": column, "label": label, "class": true})
        panels[row, 0].set_ylabel(kind, color=KIND_COLORS[kind])
    table = pd.DataFrame(rows)
    run = all_runs(data)[0]
    summary = (
        f"{count} training samples of each kind with the label that counts for it (red: not the true "
        "one); restored are the permuted images with their true labels. Permuted samples whose random "
        "label happens to be the true one are shown only where there are no others."
        f"{one_network_text(int(run.trajectories['seed'][0]), run)}"
    )
    return FigureResult(fig, table, summary)
