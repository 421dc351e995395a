"""What Stephenson et al., ICLR 2021, state about rewinding one layer, measured."""

from __future__ import annotations

import numpy as np

from pipeline.analysis.memorization_results import best_test_accuracy, first_run, shown_layers
from pipeline.claims.measurement import Measurement, any_substituted, mean_measurement
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, all_runs, analysis_with


def rewinding_restores(data: RunGroups) -> Measurement:
    """Largest test accuracy with the last convolution (of a network without: the last hidden layer)
    set back to an earlier epoch, over that of the best epoch, per network.
    """
    one = first_run(analysis_with(data, "rewound_accuracy"), "rewound_epoch")
    names = [str(name) for name in one.attrs["weight_layers"]]
    splits = [str(name) for name in one.attrs["splits"]]
    layer = shown_layers(names, "hidden")[-1]
    chosen = one.isel(weight_layer=names.index(layer), split=splits.index("test"))
    accuracy = chosen["rewound_accuracy"].transpose("seed", "kept").values
    epochs = one["rewound_epoch"].values
    earlier = (epochs >= 0) & (epochs < epochs.max(axis=1, keepdims=True))
    if not earlier.any(axis=1).all():
        raise NotMeasurable("No weights were kept before the last epoch; keep more of them.")
    top = np.where(earlier, accuracy, -np.inf).max(axis=1)
    ratios = top / best_test_accuracy(all_runs(data)[0], one)
    return mean_measurement(ratios, any_substituted(data), f"layer {layer}")
