"""The synthetic task with sloppy inputs: its spectrum, its teacher, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.sloppy import eigenvalues, sloppy
from pipeline.errors import DataError


@pytest.mark.parametrize("decay", [0.001, 0.5])
def test_inputs_have_the_stated_spectrum(decay: float) -> None:
    wanted = 50 * decay * np.exp(-decay * np.arange(200)) / 200
    np.testing.assert_allclose(eigenvalues(200, decay), wanted)
    made = sloppy(Path(), decay=decay, train_points=20_000, test_points=10)
    np.testing.assert_allclose(made.train_points[:, :20].var(axis=0), wanted[:20], rtol=0.05)
    assert np.abs(np.corrcoef(made.train_points[:, :8].T) - np.eye(8)).max() < 0.05
    np.testing.assert_allclose(eigenvalues(200, 0.0), 1 / 200)


def test_labels_are_the_teachers() -> None:
    """One teacher for both splits and all decays: equal inputs would have equal labels."""
    whole = sloppy(Path(), decay=0.001, train_points=300, test_points=50)
    fewer = sloppy(Path(), decay=0.001, train_points=100, test_points=50)
    np.testing.assert_array_equal(whole.train_points[:100], fewer.train_points)
    np.testing.assert_array_equal(whole.train_labels[:100], fewer.train_labels)
    assert set(whole.train_labels.tolist()) == set(range(5))
    steep = sloppy(Path(), decay=0.5, train_points=300, test_points=50)
    ratio = steep.train_points[:, :5] / whole.train_points[:, :5]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-4)
    other = sloppy(Path(), decay=0.001, train_points=300, test_points=50, seed=1)
    assert (other.train_labels != whole.train_labels).any()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"decay": -1}, "decay is -1"),
        ({"decay": 0.1, "classes": 1}, "classes is 1"),
        ({"decay": 0.1, "train_points": 2.5}, "train_points is 2.5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        sloppy(Path(), **options)
