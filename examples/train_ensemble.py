"""Train a small ensemble from Python, on generated images, and print where it inverts.

    python examples/train_ensemble.py --seeds 8 --epochs 120

The training error at which the class manifolds stop contracting and begin to expand again is phi.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipeline.analysis.inversion import inversion_point
from pipeline.data.datasets import load, to_store_dataset
from pipeline.data.preprocessing import training_arrays
from pipeline.training.ensemble import train_ensemble

CURVES = ("train_error", "radius_plus", "radius_minus", "distance")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make images, train, print one line per network and the mean."""
    parser = argparse.ArgumentParser(description="Train an ensemble on generated images.")
    parser.add_argument("--seeds", type=int, default=8, help="number of networks")
    parser.add_argument("--epochs", type=int, default=120, help="updates of the weights")
    parser.add_argument("--samples", type=int, default=512, help="training images")
    chosen = parser.parse_args(arguments)

    dataset = load("generated", train_samples=chosen.samples, test_samples=256)
    arrays = training_arrays(to_store_dataset(dataset), samples=chosen.samples)  # even against odd
    ensemble = train_ensemble(
        arrays.train_images,
        arrays.train_labels,
        test_images=arrays.test_images,
        test_labels=arrays.test_labels,
        seeds=chosen.seeds,
        epochs=chosen.epochs,
    )
    criteria = []
    for seed in ensemble["seed"].values[ensemble["failed_epoch"].values < 0]:
        run = ensemble.sel(seed=seed)
        point = inversion_point(*(run[name].values for name in CURVES))
        criteria.append(point.phi)
        print(
            f"seed {seed}: R+ turns at epoch {point.epoch_plus}, R- at {point.epoch_minus}, "
            f"D at {point.epoch_distance}; phi = {point.phi:.4f}"
            + ("" if point.inverts else " (no inversion)")
        )
    print(f"phi = {sum(criteria) / len(criteria):.4f}, mean of {len(criteria)} networks")


if __name__ == "__main__":
    main()
