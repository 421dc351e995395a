"""What Stephenson et al., ICLR 2021, state about rewinding one layer, measured."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import (
    best_test_accuracy,
    common_epochs,
    first_run,
    on_grid,
    shown_layers,
)
from pipeline.claims.measurement import Measurement, any_substituted, bootstrap_measurement
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, all_runs, analysis_with

Array = NDArray[np.float64]


def rewinding_restores(data: RunGroups) -> Measurement:
    """Test accuracy with the last convolution (of a network without: the last hidden layer) set back,
    over that of the best epoch: both means over networks.

    All networks are set back to one epoch, that of the largest mean over networks on
    ``common_epochs``, each network's curve interpolated between its kept epochs. Interval: bootstrap
    over networks at this epoch. The note gives the same ratio of the network as it ends, without
    rewinding.
    """
    one = first_run(analysis_with(data, "rewound_accuracy"), "rewound_epoch")
    splits = [str(name) for name in one.attrs["splits"]]
    layer = shown_layers([str(name) for name in one.attrs["weight_layers"]], "hidden")[-1]
    grid, curves = rewound_curves(one, layer)
    top = int(curves.mean(axis=0).argmax())
    run = all_runs(data)[0]
    rewound, best = curves[:, top], best_test_accuracy(run, one)
    final = one["final_accuracy"].isel(split=splits.index("test")).values
    epochs = run.trajectories["best_epoch"].sel(seed=one["seed"]).values
    baseline = bootstrap_measurement(lambda w: _ratio(rewound, final, w), len(best), False)
    note = (
        f"layer {layer} set back to epoch {grid[top]:.3g} (best epochs: {_range(epochs)}); without "
        f"rewinding {_ratio(final, best, np.ones(len(best))):.3f} of the best epoch's, "
        f"with over without {baseline.value:.3f}"
    )
    if baseline.interval:
        note += f" (95 %: {baseline.interval[0]:.3f} to {baseline.interval[1]:.3f})"
    return bootstrap_measurement(
        lambda weights: _ratio(rewound, best, weights), len(best), any_substituted(data), note
    )


def rewound_curves(one: xr.Dataset, layer: str) -> tuple[Array, Array]:
    """Epochs (epoch,) and test accuracies (seed, epoch) with one layer set back to them.

    Only epochs up to the last set of every seed before its final one: later ones would mix the
    network that is not rewound into the curve. Raises NotMeasurable where a seed has no such set.
    """
    names, splits = ([str(name) for name in one.attrs[key]] for key in ("weight_layers", "splits"))
    chosen = one.isel(weight_layer=names.index(layer), split=splits.index("test"))
    epochs = one["rewound_epoch"].transpose("seed", "kept").values
    earlier = np.where(epochs < epochs.max(axis=1, keepdims=True), epochs, -1)
    if not (earlier >= 0).any(axis=1).all():
        raise NotMeasurable("No weights were kept before the last epoch; keep more of them.")
    whole = common_epochs(epochs)
    grid = whole[whole <= earlier.max(axis=1).min()]
    values = chosen["rewound_accuracy"].transpose("seed", "kept").values
    return grid, on_grid(grid, epochs, values)


def _ratio(first: Array, second: Array, weights: Array) -> float:
    return float(np.average(first, weights=weights) / np.average(second, weights=weights))


def _range(epochs: NDArray[np.int64]) -> str:
    low, high = int(epochs.min()), int(epochs.max())
    return f"{low}" if low == high else f"{low} to {high}"
