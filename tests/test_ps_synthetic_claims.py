"""Claims on the synthetic task: known answers on made-up results, and what cannot be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_models import made_up_runs

from pipeline.claims.measurement import check
from pipeline.claims.prediction_space import synthetic
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups

STRESS = {
    ("sloppy", "train"): 0.96,
    ("sloppy", "test"): 0.95,
    ("not_sloppy", "train"): 0.99,
    ("not_sloppy", "test"): 0.98,
}


def curve(end: float, components: int = 12) -> np.ndarray:
    """A stress of ``end`` at ten dimensions and 0.9 of it at three."""
    return np.interp(np.arange(1, components + 1), [1, 3, 10, 12], [0.5, 0.9 * end, end, end])


def embedded(run: str, stress: np.ndarray, **attrs: Any) -> xr.Dataset:
    """A result over two networks of one run, one model each."""
    return xr.Dataset(
        {
            "inpca": (("model", "component"), np.zeros((2, stress.size))),
            "explained_stress": (("component",), stress),
        },
        coords={"model_run": (("model",), [0, 0]), "model_seed": (("model",), [0, 1])},
        attrs={"runs": [run], "kind": "bhattacharyya", "split": "train", **attrs},
    )


def from_corners(count: int, end: float, start: float, models: int = 8) -> xr.Dataset:
    """Three sets, whose stress is 0.01 below, at and above ``end``, and of the first moment ``start``."""
    moments = np.tile(np.linspace(start / 3, start, 3).tolist() + [1.0] * (models - 3), (3, 2, 1))
    attrs = {"corners": count, "trajectories": models}
    stress = np.stack([curve(end + gap) for gap in (-0.01, 0, 0.01)])
    return embedded("corners_0", curve(end), **attrs).assign(
        set_stress=(("corner_set", "component"), stress),
        set_corners=(("corner_set",), [min(count, models)] * 3),
        moment_stress=(("corner_set", "corner_moment", "moment_component"), moments[..., :models]),
        moment_share=(("corner_moment",), np.array([0.0, 0.005])),
        moment_largest=(("corner_set", "corner_moment"), [[0.95, 0.8], [0.97, 0.8], [0.99, 0.8]]),
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    student = {"network": "student"}
    data = made_up_runs(
        tmp_path_factory.mktemp("runs"), {"sloppy": [student], "not_sloppy": [student]}
    )
    for (group, split), end in STRESS.items():
        run = data[group][0].name
        data.analyses[f"{group}_{split}"] = embedded(run, curve(end), split=split)
    return data


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    runs = {"corners": [{"network": "student", "corner": 0}]}
    data = made_up_runs(tmp_path_factory.mktemp("runs"), runs)
    data.analyses |= {"one": from_corners(1, 0.95, 0.3), "five": from_corners(5, 0.85, 0.2)}
    return data


@pytest.mark.parametrize("group", ["sloppy", "not_sloppy"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_stress_of_ten_dimensions(group: str, split: str, tasks: RunGroups) -> None:
    found = check("x", getattr(synthetic, f"{group}_{split}_stress")(tasks))
    assert found.value == pytest.approx(STRESS[group, split])
    assert (found.n, found.spread, found.interval, found.substituted) == (2, None, None, False)
    assert f"3 dimensions {0.9 * STRESS[group, split]:.3f}" in found.note


def test_both_tasks_together(tasks: RunGroups) -> None:
    assert synthetic.near_ignorance(tasks).value == pytest.approx(0.97)
    assert synthetic.near_ignorance(tasks).note.startswith("0.950 to 0.990 over tasks and splits")
    found = synthetic.sloppy_lower(tasks)
    assert found.value == pytest.approx(-0.03)
    assert found.note.startswith("sloppy 0.9600; not sloppy 0.9900")


def test_starts_near_corners(corners: RunGroups) -> None:
    several = synthetic.several_starts(corners)
    assert several.value == pytest.approx(0.85)
    assert (several.spread, several.n) == (pytest.approx(0.01), 3)
    half = 4.3026527 * 0.01 / np.sqrt(3)
    assert several.interval == pytest.approx((0.85 - half, 0.85 + half))
    assert several.note == "n: 3 sets of 8 trajectories, each out of 5 corners, none in two sets"
    fewer = synthetic.fewer_starts_higher(corners)
    assert fewer.value == pytest.approx(0.9 * (0.95 - 0.85))
    assert fewer.note.startswith("by number of corners 1: 0.855, 5: 0.765")
    assert fewer.interval is not None
    lower = synthetic.start_models_lower(corners)
    assert lower.value == pytest.approx(0.2 - 0.9 * 0.85)
    assert lower.spread == pytest.approx(0.9 * 0.01)
    assert synthetic.start_largest(corners).value == pytest.approx(0.97)


def test_too_few_to_say(corners: RunGroups, tasks: RunGroups, tmp_path: Path) -> None:
    only = RunGroups(corners, {"one": from_corners(1, 0.95, 0.3, models=3)})
    with pytest.raises(NotMeasurable, match="one number of corners only"):
        synthetic.fewer_starts_higher(only)
    with pytest.raises(NotMeasurable, match="only 3 trajectories were embedded"):
        synthetic.start_models_lower(only)
    found = embedded(tasks["sloppy"][0].name, np.linspace(0.5, 1, 5))
    with pytest.raises(NotMeasurable, match="Only 5 dimensions"):
        synthetic.sloppy_train_stress(RunGroups(tasks, {"few": found}))


def test_stand_ins_are_named(tmp_path: Path) -> None:
    data = made_up_runs(tmp_path, {"corners": [{"dataset": "generated", "corner": 0}]})
    data.analyses["one"] = from_corners(1, 0.95, 0.3)
    assert synthetic.several_starts(data).substituted
