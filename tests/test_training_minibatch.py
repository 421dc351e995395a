"""Minibatches: how many updates an epoch has, and networks that share their initial weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from training_helpers import make_images

from pipeline.training.ensemble import train_ensemble

SEEDS, BATCH, PASS = 3, 32, 7  # 200 samples: 7 batches to a pass, the last one smaller
NAMES = ("loss", "train_error", "radius_plus", "radius_minus", "distance", "misclassified")


def trained(**changes: Any) -> xr.Dataset:
    images, labels = make_images(7)
    keys = {"seeds": SEEDS, "optimizer": "sgd", "batch_size": BATCH, "width": 6}
    return train_ensemble(images, labels, **(keys | changes))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_pass_is_as_many_updates_as_there_are_batches(precision: str) -> None:
    whole = trained(epochs=4, precision=precision)
    counted = trained(epochs=4, precision=precision, updates_per_epoch=PASS)
    xr.testing.assert_identical(counted, whole)


@pytest.mark.parametrize("count", [1, 3, 14])
def test_metrics_are_those_after_so_many_updates(count: int) -> None:
    passes = 6
    whole = trained(epochs=passes * PASS, updates_per_epoch=1)
    found = trained(epochs=passes * PASS // count, updates_per_epoch=count)
    assert found.sizes["epoch"] > 2
    for name in NAMES:
        expected = whole[name].isel(epoch=slice(None, None, count))
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
    # Single updates change the networks, and no two seeds alike.
    loss = whole["loss"].values
    assert (np.diff(loss, axis=1) != 0).all()


def test_updates_beyond_a_pass_take_a_new_order() -> None:
    one, other = (
        trained(epochs=2 * PASS, updates_per_epoch=1, shared_order=s) for s in (True, False)
    )
    assert (one["loss"].values[1] != other["loss"].values[1]).any()
    # Seed 0's own order is the shared one, in every pass.
    np.testing.assert_array_equal(one["loss"][0], other["loss"][0])


def test_shared_weights_differ_by_their_order_only() -> None:
    shared = trained(epochs=3, shared_init=True, checkpoints=[0, 3])
    own = trained(epochs=3, checkpoints=[0, 3])
    first = shared["weights"].isel(checkpoint=0).values
    assert (first == first[0]).all()
    for name in NAMES:
        start = shared[name].isel(epoch=0).values
        assert (start == start[0]).all()
        # Seed 0 is the network whose weights all have.
        np.testing.assert_array_equal(shared[name][0], own[name][0])
    last = shared["weights"].isel(checkpoint=-1).values
    assert (last[1] != last[0]).any()
    assert (last[2] != last[1]).any()
    assert (own["weights"].isel(checkpoint=0).values[1] != first[0]).any()


def test_shared_weights_and_order_make_all_networks_the_same() -> None:
    found = trained(epochs=3, shared_init=True, shared_order=True)
    loss = found["loss"].values
    np.testing.assert_array_equal(loss, np.broadcast_to(loss[0], loss.shape))
