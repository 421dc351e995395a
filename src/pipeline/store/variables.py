"""The registry of stored variables: what each is called, its dimensions, dtype, meaning and units.

A dimension written with ``<l>`` marks a variable stored once per layer: ``activations`` is stored
as ``activations_1``, ``activations_2``, ... with the dimension ``unit_1``, ``unit_2``, ...

Registered here are labels, data sets and what training writes: this module is part of the code of every
training job, so that another variable here retrains all networks. What an analysis or a geometry gives,
its own module registers when it is imported; reading needs no registration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import StoreError

if TYPE_CHECKING:
    import xarray as xr

LAYER = "<l>"


@dataclass(frozen=True)
class Variable:
    """One kind of stored array.

    Arguments
    ---------
    name: the name in the store (without the layer suffix for a variable stored per layer).
    dims: dimension names, in order; ``<l>`` in one stands for the layer number.
    dtype: NumPy dtype as a string, such as ``"float64"``.
    meaning: one sentence for people.
    units: physical units, or the counted thing; empty for a pure number.
    optional_dims: further dimensions that may follow ``dims``.
    per_run: whether a leading dimension ``run`` may precede them, in results over several runs.
    coordinate: whether the array labels a dimension instead of holding data.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    units: str = ""
    optional_dims: tuple[str, ...] = ()
    coordinate: bool = False
    per_run: bool = False

    @property
    def per_layer(self) -> bool:
        """Whether the stored name carries the layer number as a suffix."""
        return any(LAYER in dim for dim in self.dims)

    def allowed_dims(self) -> list[tuple[str, ...]]:
        """All dimension tuples that this variable may have."""
        allowed = [
            self.dims + self.optional_dims[:count] for count in range(len(self.optional_dims) + 1)
        ]
        return allowed + [("run", *dims) for dims in allowed] if self.per_run else allowed

    def attrs(self) -> dict[str, str]:
        """The attributes stored with the array (``units`` only where there are any)."""
        attrs = {"long_name": self.meaning}
        return attrs | {"units": self.units} if self.units else attrs


VARIABLES: dict[str, Variable] = {}


def register(
    name: str,
    dims: tuple[str, ...],
    dtype: str,
    meaning: str,
    units: str = "",
    *,
    optional_dims: tuple[str, ...] = (),
    coordinate: bool = False,
    per_run: bool = False,
) -> Variable:
    """Add a variable; the same again is harmless, another one of that name a StoreError."""
    variable = Variable(
        name,
        tuple(dims),
        np.dtype(dtype).name,
        meaning,
        units,
        tuple(optional_dims),
        coordinate,
        per_run,
    )
    if VARIABLES.setdefault(name, variable) != variable:
        raise StoreError(
            f"The variable {name!r} is already registered otherwise ({VARIABLES[name]}); "
            "choose another name."
        )
    return variable


def lookup(name: str) -> Variable:
    """The variable stored under ``name``; ``activations_3`` has the dimension ``unit_3``.

    Raises StoreError listing the registered names.
    """
    if name in VARIABLES and not VARIABLES[name].per_layer:
        return VARIABLES[name]
    match = re.fullmatch(r"(?P<name>.+)_(?P<layer>[1-9][0-9]*)", name)
    base = VARIABLES.get(match["name"]) if match else None
    if match is None or base is None or not base.per_layer:
        raise StoreError(
            f"{name!r} is not a registered variable; registered are: {', '.join(stored_names())} "
            f"({LAYER} is the layer number); pipeline.store.variables.register adds one."
        )
    dims = tuple(dim.replace(LAYER, match["layer"]) for dim in base.dims)
    return replace(base, name=name, dims=dims)


def stored_names() -> list[str]:
    """All registered names as they appear in a store, sorted."""
    return sorted(
        f"{name}_{LAYER}" if variable.per_layer else name for name, variable in VARIABLES.items()
    )


def check_array(name: str, dims: tuple[str, ...], dtype: np.dtype) -> Variable:
    """The registered variable, if ``dims`` and ``dtype`` are its own; StoreError otherwise."""
    variable = lookup(name)
    if tuple(dims) not in variable.allowed_dims():
        allowed = " or ".join(str(allowed) for allowed in variable.allowed_dims())
        raise StoreError(
            f"The variable {name!r} has dimensions {tuple(dims)}; it must have {allowed}."
        )
    if np.dtype(dtype) != np.dtype(variable.dtype):
        raise StoreError(
            f"The variable {name!r} has dtype {np.dtype(dtype)}; it must have {variable.dtype}: "
            "convert it where it is computed."
        )
    return variable


def validate(dataset: xr.Dataset) -> None:
    """Check name, dimensions and dtype of every variable and coordinate; raises StoreError."""
    for name, array in dataset.variables.items():
        check_array(str(name), tuple(str(dim) for dim in array.dims), array.dtype)


def table() -> str:
    """The registry as a Markdown table, for the documentation."""
    lines = [
        "| variable | dimensions | dtype | units | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for stored in stored_names():
        variable = VARIABLES[stored.removesuffix(f"_{LAYER}")]
        names = ["[run]"] if variable.per_run else []
        names += [*variable.dims, *(f"[{dim}]" for dim in variable.optional_dims)]
        dims = ", ".join(f"`{name}`" for name in names)
        meaning = variable.meaning.replace("|", r"\|")  # a bare one ends the cell
        lines.append(f"| `{stored}` | {dims} | {variable.dtype} | {variable.units} | {meaning} |")
    return "\n".join(lines) + "\n"


def _register_all() -> None:
    labels = {
        "sample": (("sample",), "index of the sample within the data set"),
        "seed": (("seed",), "index of the network within the run"),
        "epoch": (("epoch",), "epochs of training done; 0 is the initial network"),
        "layer": (("layer",), "hidden layer, counted from 1 at the input"),
        "checkpoint": (("checkpoint",), "index of the checkpoint"),
        "checkpoint_epoch": (("checkpoint",), "epoch at which the checkpoint was taken"),
        "stored_seed": (("stored_seed",), "seed whose activations and weights are stored"),
        "run": (("run",), "index of the run, named by the attribute runs"),
    }
    for name, (dims, meaning) in labels.items():
        register(name, dims, "int64", meaning, coordinate=True)

    image = ("sample", "row", "column")
    register(
        "images", image, "uint8", "grey or colour value of a pixel", optional_dims=("channel",)
    )
    register("points", ("sample", "feature"), "float32", "samples that are vectors, no images")
    register("labels", ("sample",), "int64", "class of the sample")
    register("split", ("sample",), "uint8", "0: training set, 1: test set")
    register("binary_labels", ("sample",), "int8", "class of the binary task, -1 or +1")

    trajectory = ("seed", "epoch")
    register("train_error", trajectory, "float64", "share of training samples misclassified")
    register("test_error", trajectory, "float64", "share of test samples misclassified")
    register("loss", trajectory, "float64", "training loss")
    per_layer = (*trajectory, "layer")
    register("radius_plus", per_layer, "float64", "radius R+ of the manifold of the class +1")
    register("radius_minus", per_layer, "float64", "radius R- of the manifold of the class -1")
    register("distance", per_layer, "float64", "distance D of the two class manifolds' centres")
    register("failed_epoch", ("seed",), "int64", "epoch at which training diverged; -1: it did not")
    packed = "misclassified training samples, one bit each, the first in the highest bit"
    register("misclassified", (*trajectory, "sample_byte"), "uint8", packed)

    stored = ("checkpoint", "stored_seed")
    hidden = (*stored, "sample", f"unit_{LAYER}")
    register("activations", hidden, "float32", "output of the hidden layer, after the nonlinearity")
    logits = "difference f+ - f- of the two outputs"
    register("predictions", (*stored, "sample"), "float32", logits)
    register(
        "weights", (*stored, "parameter"), "float32", "all parameters of the network, flattened"
    )
    final = "all parameters of the network at the last epoch, flattened"
    register("final_weights", ("seed", "parameter"), "float32", final)

    kept = "training samples that are not left out, one bit each, the first in the highest bit"
    register("kept_samples", ("seed", "sample_byte"), "uint8", kept)


_register_all()
