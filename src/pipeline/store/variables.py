"""The registry of stored variables: what each is called, its dimensions, dtype, meaning and units.

A dimension written with ``<l>`` marks a variable stored once per layer: ``activations`` is stored
as ``activations_1``, ``activations_2``, ... with the dimension ``unit_1``, ``unit_2``, ...
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
    coordinate: whether the array labels a dimension instead of holding data.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    units: str = ""
    optional_dims: tuple[str, ...] = ()
    coordinate: bool = False

    @property
    def per_layer(self) -> bool:
        """Whether the stored name carries the layer number as a suffix."""
        return any(LAYER in dim for dim in self.dims)

    def allowed_dims(self) -> list[tuple[str, ...]]:
        """All dimension tuples that this variable may have."""
        return [
            self.dims + self.optional_dims[:count] for count in range(len(self.optional_dims) + 1)
        ]

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
) -> Variable:
    """Add a variable; the same again is harmless, another one of that name a StoreError."""
    variable = Variable(
        name, tuple(dims), np.dtype(dtype).name, meaning, units, tuple(optional_dims), coordinate
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
        names = [*variable.dims, *(f"[{dim}]" for dim in variable.optional_dims)]
        dims = ", ".join(f"`{name}`" for name in names)
        lines.append(
            f"| `{stored}` | {dims} | {variable.dtype} | {variable.units} | {variable.meaning} |"
        )
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
    }
    for name, (dims, meaning) in labels.items():
        register(name, dims, "int64", meaning, coordinate=True)

    image = ("sample", "row", "column")
    register(
        "images", image, "uint8", "grey or colour value of a pixel", optional_dims=("channel",)
    )
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

    register(
        "run", ("run",), "int64", "index of the run, named by the attribute runs", coordinate=True
    )
    each = ("run", "seed")
    for quantity, of in (("plus", "R+"), ("minus", "R-"), ("distance", "D")):
        register(f"epoch_{quantity}", each, "int64", f"epoch t* of the extremum of {of}", "epochs")
        register(f"error_{quantity}", each, "float64", f"training error at the epoch t* of {of}")
        register(f"inverts_{quantity}", each, "bool", f"whether {of} has an inversion point")
    register("phi", each, "float64", "inversion criterion phi")
    register("stragglers", each, "int64", "samples misclassified at t* of R+", "samples")
    register("inverts", each, "bool", "whether the network shows manifold inversion")
    register("found", each, "bool", "whether the seed has inversion points (it did not diverge)")

    sigma = "standard deviation of the noise, in units of a standardised pixel"
    register("sigma", ("sigma",), "float64", sigma, coordinate=True)
    noisy = "share of test samples misclassified at convergence, with noise; mean over noisy sets"
    register("test_error_noisy", ("run", "seed", "sigma"), "float64", noisy)


def _register_analyses() -> None:
    """What the analyses of several runs give; their attributes name curves and pairs."""
    size = "number P of training samples"
    register("size", ("size",), "int64", size, "samples", coordinate=True)
    along, curve, pair, seed = ("curve", "epoch"), ("curve",), ("pair",), ("seed",)

    zscores = {
        "z_score": "z-score of the conservation of misclassified sets",
        "z_score_sd": "bootstrap standard deviation of the z-score",
        "z_score_low": "lower end of the 95 % interval of the z-score",
        "z_score_high": "upper end of the 95 % interval of the z-score",
        "z_score_corrected": "z-score without the bias of few networks (jackknife)",
    }
    overlaps = {
        "mean_common": "mean number M of samples in two networks' misclassified sets",
        "std_common": "standard deviation of M over pairs of networks",
        "mean_null": "mean of M for random sets of the same sizes",
        "std_null": "standard deviation of M for random sets of the same sizes",
    }
    for name, meaning in (zscores | overlaps).items():
        units = "samples" if name in overlaps else ""
        register(name, along, "float64", meaning, units)
        register(f"pair_{name}", pair, "float64", f"{meaning}, stragglers of two groups", units)
    for name, meaning in zscores.items():
        register(f"straggler_{name}", curve, "float64", f"{meaning}, stragglers")
    register("pair_pairs", pair, "int64", "pairs of networks compared", "pairs")
    register("pair_networks", pair, "int64", "networks compared", "networks")
    register("mean_error", along, "float64", "training error, mean over networks")
    register("maximum_epoch", curve, "int64", "epoch of the largest z-score", "epochs")
    register("maximum_z_score", curve, "float64", "largest z-score")
    where = "mean training error at the largest z-score"
    register("maximum_error", curve, "float64", where)
    register("maximum_error_low", curve, "float64", f"{where}, lower end of the 95 % interval")
    register("maximum_error_high", curve, "float64", f"{where}, upper end of the 95 % interval")

    by_size = ("size",)
    register("phi_mean", curve, "float64", "phi, mean over networks", optional_dims=by_size)
    sd = "phi, standard deviation over networks"
    register("phi_sd", curve, "float64", sd, optional_dims=by_size)
    register("phi_sem", curve, "float64", "phi, standard error of the mean", optional_dims=by_size)
    register("networks", curve, "int64", "number of networks", "networks", optional_dims=by_size)
    inverting = "share of networks that show manifold inversion"
    register("inverting_share", curve, "float64", inverting, optional_dims=by_size)
    fits = {
        "phi_inf": "limit of phi for large training sets, fitted",
        "P0": "size at which the fitted phi is 0",
        "gamma": "exponent of the fitted phi",
    }
    for name, meaning in fits.items():
        units = "samples" if name == "P0" else ""
        register(f"fit_{name}", curve, "float64", meaning, units)
        register(f"fit_{name}_se", curve, "float64", f"{meaning}: standard error", units)
    limit = fits["phi_inf"]
    register("fit_phi_inf_low", curve, "float64", f"{limit}: lower end of the 95 % interval")
    register("fit_phi_inf_high", curve, "float64", f"{limit}: upper end of the 95 % interval")
    register("fit_determined", curve, "bool", "whether the data fix the limit of phi")
    share = "share of bootstrap resamples whose fit is determined"
    register("fit_determined_share", curve, "float64", share)

    register("scatter_error", curve, "float64", "relative scatter of R+ at equal training error")
    register("scatter_epoch", curve, "float64", "relative scatter of R+ at equal epoch")
    ratio = "scatter_error / scatter_epoch"
    register("scatter_ratio", curve, "float64", ratio)
    register("scatter_ratio_low", curve, "float64", f"{ratio}, lower end of the 95 % interval")
    register("scatter_ratio_high", curve, "float64", f"{ratio}, upper end of the 95 % interval")
    register("smallest_error", curve, "float64", "training error that all networks reach")
    register("spread_epoch", curve, "float64", "standard deviation of ln t* of R+ over networks")
    spread = "standard deviation of ln of the training error at t* of R+ over networks"
    register("spread_error", curve, "float64", spread)

    centre = "distance of the sample's image to the centre of its class"
    register("centre_distance", ("sample",), "float64", centre)
    conserved = "share of the networks of which the sample is a straggler"
    register("conserved", ("sample",), "float64", conserved)
    effects = {
        "effect_size": "Cohen's d of the distance of stragglers and others to their class centre",
        "probability_farther": "probability that a straggler is farther from its class centre",
        "rank_p_value": "two-sided p of the Mann-Whitney test of that distance",
    }
    for name, meaning in effects.items():
        register(name, seed, "float64", meaning)
        register(f"{name}_within", seed, "float64", f"{meaning}, relative to the class")
    register("embedding", ("sample", "axis"), "float32", "t-SNE embedding of the image")
    opposite = "share of the nearest neighbours in the embedding with the opposite label"
    register("opposite_share", ("sample",), "float64", opposite)
    register("opposite_share_stragglers", seed, "float64", f"{opposite}, mean over stragglers")
    register("opposite_share_others", seed, "float64", f"{opposite}, mean over the others")


_register_all()
_register_analyses()
