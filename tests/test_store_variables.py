"""The registry of stored variables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StoreError
from pipeline.fingerprint import modules_of
from pipeline.store import variables
from pipeline.store.variables import VARIABLES, check_array, lookup, register, table, validate


def test_layer_suffix_gives_the_dimension_its_layer() -> None:
    found = lookup("activations_12")
    assert found.name == "activations_12"
    assert found.dims == ("checkpoint", "stored_seed", "sample", "unit_12")
    assert found.dtype == "float32"


@pytest.mark.parametrize(
    "name",
    ["activations", "activations_0", "activations_01", "activations_x", "loss_1", "nonsense", ""],
)
def test_unregistered_names_are_refused_with_the_valid_ones(name: str) -> None:
    with pytest.raises(StoreError, match=r"not a registered variable.*activations_<l>.*weights"):
        lookup(name)


def test_optional_dimension() -> None:
    grey, colour = ("sample", "row", "column"), ("sample", "row", "column", "channel")
    assert lookup("images").allowed_dims() == [grey, colour]
    assert lookup("loss").allowed_dims() == [("seed", "epoch")]


def test_validate_names_variable_dimensions_and_dtype() -> None:
    good = xr.Dataset(
        {"loss": (("seed", "epoch"), np.zeros((2, 3)))}, coords={"seed": np.arange(2)}
    )
    validate(good)
    with pytest.raises(StoreError, match=r"'loss' has dimensions \('epoch', 'seed'\).*must have"):
        validate(good.transpose("epoch", "seed"))
    with pytest.raises(StoreError, match="'loss' has dtype float32; it must have float64"):
        validate(good.astype("float32"))
    with pytest.raises(StoreError, match="'losses' is not a registered"):
        validate(good.rename(loss="losses"))
    with pytest.raises(StoreError, match="'seed' has dtype float64; it must have int64"):
        validate(good.assign_coords(seed=[0.0, 1.0]))


def test_other_byte_order_is_another_dtype() -> None:
    swapped = np.dtype("float64").newbyteorder()
    with pytest.raises(StoreError, match="dtype"):
        check_array("loss", ("seed", "epoch"), swapped)


def test_registering_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "VARIABLES", dict(VARIABLES))
    first = register("sharpness", ("seed", "epoch"), "f8", "largest eigenvalue of the Hessian")
    assert register("sharpness", ("seed", "epoch"), "float64", first.meaning) == first
    with pytest.raises(StoreError, match="'sharpness' is already registered otherwise"):
        register("sharpness", ("seed",), "f8", first.meaning)
    assert lookup("sharpness") is first


def test_table_has_a_row_for_every_variable() -> None:
    rows = table().splitlines()
    assert len(rows) == len(VARIABLES) + 2
    assert all(row.replace(r"\|", "").count("|") == 6 for row in rows)
    assert (
        "| `activations_<l>` | `checkpoint`, `stored_seed`, `sample`, `unit_<l>` | float32 |"
        in table()
    )
    assert "| `images` | `sample`, `row`, `column`, `[channel]` | uint8 |" in table()


def test_variables_of_analyses_do_not_retrain() -> None:
    """The code of training has none of the modules that register what analyses give."""
    script = Path(__file__).resolve().parent.parent / "workflow/scripts/train_run.py"
    used = {"pipeline.training.run:train_run": {"pipeline.analysis.sets"}}
    used["pipeline.classifiers.run:train_run"] = set()
    for trainer, wanted in used.items():
        found = modules_of(script, [trainer])
        assert "pipeline.store.variables" in found
        assert {name for name in found if name.startswith("pipeline.analysis.")} == wanted
