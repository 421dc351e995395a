"""Capacity of generated manifolds by theory and by simulation, side by side.

Source: Stephenson et al., ICLR 2021, Fig. 1B; Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003
    (2018).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError, PipelineError
from pipeline.geometry.capacity.empirical import empirical_capacity
from pipeline.geometry.capacity.generated import generated_manifolds
from pipeline.geometry.capacity.manifolds import manifold_capacity
from pipeline.runs import RunGroups, check_options
from pipeline.seeds import generator
from pipeline.store.variables import register

DRAWS = 3
OPTIONS = ("settings", "common", "draws", "theory", "simulation")
Array = NDArray[np.float64]

EACH = ("setting", "draw")
MEASURED = {
    "theory_capacity": ("capacity by the mean-field theory", ""),
    "theory_radius": ("mean radius of the manifolds", ""),
    "theory_dimension": ("mean dimension of the manifolds", ""),
    "theory_correlation": ("mean |cos| of pairs of centres", ""),
    "simulated_capacity": ("capacity P / n_1/2 by simulation", ""),
    "simulated_capacity_se": ("standard error of the capacity by simulation", ""),
    "transition_directions": ("n_1/2, at which half of the labels are separable", "directions"),
}
COUNTED = {
    "theory_removed": ("K, directions of common structure removed from the centres", "directions"),
    "dichotomies": ("random labels tried", "dichotomies"),
}


def _register_all() -> None:
    for name in EACH:
        register(name, (name,), "int64", f"index of the {name}", coordinate=True)
    for name, (meaning, units) in MEASURED.items():
        register(name, EACH, "float64", meaning, units)
    for name, (meaning, units) in COUNTED.items():
        register(name, EACH, "int64", meaning, units)


_register_all()


def capacity_check(data: RunGroups, options: Mapping[str, Any]) -> xr.Dataset:
    """Capacity of generated manifolds by theory and by simulation, for each setting and draw.

    Each draw has random streams of its own, named by the setting's values: settings can be added and
    moved without changing the others.

    Arguments
    ---------
    data: not used, no runs are needed.
    options: ``settings``, a list of keyword options of ``generated_manifolds``; ``common``, those that
        all settings share but for their own; ``draws`` (3), sets of manifolds per setting;
        ``theory`` and ``simulation``, keyword options of ``manifold_capacity`` and
        ``empirical_capacity``; ``seed`` (the root seed, 0).

    Returns the variables of ``MEASURED`` and ``COUNTED``, (setting, draw). Attributes: ``settings``,
    each complete, and ``count`` and ``data``, what it was made from, in words.

    Raises PipelineError for unknown options, GeometryError naming the setting as the kernels do.
    """
    check_options("capacity_check", options, OPTIONS)
    draws, root = options.get("draws", DRAWS), int(options.get("seed", 0))
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise PipelineError(f"draws = {draws!r} given; valid is a whole number of at least 1.")
    settings = _settings(options)
    theory, simulation = options.get("theory", {}), options.get("simulation", {})
    _check_keywords("theory", theory, manifold_capacity, ("manifolds", "seed"))
    _check_keywords("simulation", simulation, empirical_capacity, ("manifolds", "seed"))
    rows = []
    for index, setting in enumerate(settings):
        for draw in range(draws):
            try:
                rows.append(_compare(setting, draw, root, theory, simulation))
            except GeometryError as error:
                raise GeometryError(f"Setting {index} ({_text(setting)}): {error}") from error
    shape = len(settings), draws
    return xr.Dataset(
        {
            name: (EACH, np.array([row[name] for row in rows]).reshape(shape))
            for name in (*MEASURED, *COUNTED)
        },
        coords={
            "setting": np.arange(len(settings), dtype=np.int64),
            "draw": np.arange(draws, dtype=np.int64),
        },
        attrs={"settings": settings, **_made_from(settings, draws)},
    )


def pairs_of(check: xr.Dataset, weights: ArrayLike | None = None) -> tuple[Array, Array]:
    """(theory, simulation) of every draw, those of a setting as often as its whole weight says.

    Arguments
    ---------
    check: what ``capacity_check`` returns; weights: (settings,) whole numbers, 1 each by default.
    """
    settings, draws = check["theory_capacity"].shape
    times = np.ones(settings) if weights is None else np.asarray(weights)
    repeats = np.repeat(times.astype(np.int64), draws)
    theory, simulation = (
        np.repeat(check[f"{name}_capacity"].values.ravel(), repeats)
        for name in ("theory", "simulated")
    )
    return theory, simulation


def correlation(theory: Array, simulation: Array) -> float:
    """Pearson's correlation; NaN where either does not vary."""
    x, y = theory - theory.mean(), simulation - simulation.mean()
    length = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / length if length > 0 else float("nan")


def relative_differences(theory: Array, simulation: Array) -> Array:
    """|theory - simulation| / simulation."""
    return np.abs(theory - simulation) / simulation


def _compare(
    setting: dict[str, Any],
    draw: int,
    root: int,
    theory: Mapping[str, Any],
    simulation: Mapping[str, Any],
) -> dict[str, Any]:
    """What is measured on one set of manifolds."""
    stream = f"capacity check/{json.dumps(setting, sort_keys=True)}"
    manifolds = generated_manifolds(**setting, seed=generator(root, stream, draw, "data"))
    # Seeds of their own: errors of the settings are independent.
    seeds = generator(root, stream, draw, "analysis").integers(2**31, size=2)
    predicted = manifold_capacity(manifolds, seed=int(seeds[0]), **theory)
    measured = empirical_capacity(manifolds, seed=int(seeds[1]), **simulation)
    return {
        "theory_capacity": predicted.mean_capacity,
        "theory_radius": float(np.mean(predicted.radius)),
        "theory_dimension": float(np.mean(predicted.dimension)),
        "theory_correlation": predicted.center_correlation,
        "theory_removed": predicted.K,
        "simulated_capacity": measured.capacity,
        "simulated_capacity_se": measured.standard_error,
        "transition_directions": measured.directions,
        "dichotomies": int(measured.trials[:, 1].sum()),
    }


def _settings(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings with what all share; PipelineError where one is none."""
    given, common = options.get("settings"), options.get("common", {})
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise PipelineError(
            "capacity_check needs the option settings, a list of keyword options of "
            "generated_manifolds, with one setting or more."
        )
    _check_keywords("common", common, generated_manifolds, ("seed",))
    for index, one in enumerate(given):
        _check_keywords(f"settings[{index}]", one, generated_manifolds, ("seed",))
    return [{**common, **one} for one in given]


def _check_keywords(
    where: str, given: Any, function: Callable[..., Any], taken: tuple[str, ...]
) -> None:
    """Raise PipelineError for keyword options that a function lacks or that are set here."""
    valid = [name for name in inspect.signature(function).parameters if name not in taken]
    if not isinstance(given, Mapping):
        raise PipelineError(f"{where} = {given!r} given; valid is a mapping of {', '.join(valid)}.")
    if unknown := sorted(set(given) - set(valid)):
        raise PipelineError(
            f"{where} has unknown options {', '.join(unknown)}; valid are: {', '.join(valid)}."
        )


def _made_from(settings: list[dict[str, Any]], draws: int) -> dict[str, str]:
    """``count`` and ``data`` of the result, for captions."""
    defaults = inspect.signature(generated_manifolds).parameters

    def values(name: str) -> str:
        found = sorted({int(one.get(name, defaults[name].default)) for one in settings})
        return " or ".join(map(str, found))

    sets = len(settings) * draws
    return {
        "count": f"n = {sets} sets of manifolds ({len(settings)} settings of {draws} draws)",
        "data": (
            f"generated manifolds (P = {values('manifolds')}, M = {values('points')} points, "
            f"N = {values('features')} features)"
        ),
    }


def _text(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())
