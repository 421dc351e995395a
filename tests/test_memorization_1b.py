"""Fig. 1B of the memorisation paper: the analysis, the figure, its caption, its claims, its settings."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.analysis.capacity_check import (
    capacity_check,
    correlation,
    pairs_of,
    relative_differences,
)
from pipeline.claims.measurement import measure_claims
from pipeline.config import load_config
from pipeline.errors import ConfigError, GeometryError, PipelineError
from pipeline.figures.save import caption, draw, save_figure
from pipeline.geometry.capacity.generated import SHAPES
from pipeline.registry import resolve
from pipeline.runs import RunGroups
from pipeline.scorecard import decide
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

ROOT = Path(__file__).parents[1]
SETTINGS: list[dict[str, Any]] = [
    {"shape": "sphere", "radius": 0.3, "dimension": 2},
    {"shape": "cloud", "radius": 1.0, "dimension": 3, "correlation": 1.0},
    {"shape": "ellipsoid", "radius": [0.5, 1.5], "dimension": 4, "points": 4},
]
OPTIONS: dict[str, Any] = {
    "common": {"manifolds": 12, "points": 5, "features": 60},
    "settings": SETTINGS,
    "draws": 2,
    "theory": {"n_t": 100},
    "simulation": {"precision": 0.08},
    "seed": 3,
}


@pytest.fixture(scope="module")
def check() -> xr.Dataset:
    return capacity_check(RunGroups(), OPTIONS)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return load_config(ROOT)["memorization"]


def made_up(theory: list[list[float]], simulation: list[list[float]]) -> xr.Dataset:
    """A result with known numbers, its shapes in turn."""
    measured = {"theory_capacity": theory, "simulated_capacity": simulation}
    shape = np.shape(theory)
    names = ("theory_radius", "theory_dimension", "theory_correlation", "theory_removed")
    names += ("transition_directions", "dichotomies")
    measured |= {name: np.ones(shape) for name in names}
    measured["simulated_capacity_se"] = 0.02 * np.asarray(simulation)
    settings = [{"shape": SHAPES[i % 4], "correlation": i // 4} for i in range(shape[0])]
    return xr.Dataset(
        {name: (("setting", "draw"), np.asarray(values)) for name, values in measured.items()},
        coords={"setting": np.arange(shape[0]), "draw": np.arange(shape[1])},
        attrs={"settings": settings, "count": "n = 12 sets", "data": "generated manifolds"},
    )


# --- the analysis --------------------------------------------------------------------------------


def test_theory_and_simulation_are_near(check: xr.Dataset) -> None:
    assert dict(check.sizes) == {"setting": 3, "draw": 2}
    np.testing.assert_allclose(check["theory_capacity"], check["simulated_capacity"], rtol=0.4)
    assert (check["simulated_capacity_se"] <= 0.08 * check["simulated_capacity"]).all()
    manifolds = 12 / check["transition_directions"]
    np.testing.assert_allclose(manifolds, check["simulated_capacity"], rtol=1e-12)
    assert (check["dichotomies"] > 20).all()
    # of different draws, seeds and manifolds
    assert len(np.unique(check["theory_capacity"])) == 6


def test_it_is_stored_and_read(check: xr.Dataset, tmp_path: Path) -> None:
    write_dataset(check, tmp_path, {"config": {}, "seeds": {}})
    xr.testing.assert_identical(open_store(tmp_path, lazy=False).drop_attrs(), check.drop_attrs())
    assert open_store(tmp_path).attrs["settings"] == check.attrs["settings"]


def test_settings_are_complete_and_described(check: xr.Dataset) -> None:
    assert check.attrs["settings"][1] == {**OPTIONS["common"], **SETTINGS[1]}
    assert check.attrs["settings"][2]["points"] == 4
    assert check.attrs["count"] == "n = 6 sets of manifolds (3 settings of 2 draws)"
    data = "generated manifolds (P = 12, M = 4 or 5 points, N = 60 features)"
    assert check.attrs["data"] == data


def test_a_settings_numbers_do_not_depend_on_the_others(check: xr.Dataset) -> None:
    alone = capacity_check(RunGroups(), {**OPTIONS, "settings": SETTINGS[1:2], "draws": 1})
    for name in ("theory_capacity", "simulated_capacity"):
        assert alone[name].item() == check[name].values[1, 0]
    other = capacity_check(RunGroups(), {**OPTIONS, "settings": SETTINGS[1:2], "seed": 4})
    assert other["theory_capacity"].values[0, 0] != check["theory_capacity"].values[1, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"setings": []}, "no options setings; valid are: seed, settings, common"),
        ({"settings": []}, "one setting or more"),
        ({"settings": "sphere"}, "one setting or more"),
        ({"settings": [{"size": 1}]}, r"settings\[0\] has unknown options size; valid are: shape"),
        ({"settings": ["sphere"]}, r"settings\[0\] = 'sphere' given; valid is a mapping"),
        ({"settings": [{"seed": 1}]}, "unknown options seed"),
        ({"common": {"sead": 1}}, "common has unknown options sead"),
        ({"theory": {"nt": 1}}, "theory has unknown options nt; valid are: kappa, n_t"),
        ({"simulation": {"seed": 1}}, "simulation has unknown options seed; valid are: precision"),
        ({"draws": 0}, "draws = 0 given"),
        ({"draws": True}, "draws = True given"),
    ],
)
def test_wrong_options_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        capacity_check(RunGroups(), {**OPTIONS, **changes})


def test_a_setting_that_has_no_capacity_is_named() -> None:
    wrong = {"shape": "sphere", "radius": 5.0, "dimension": 5, "features": 6}
    with pytest.raises(
        GeometryError, match=r"Setting 1 \(.*features 6.*radius 5.0.*\): Most random"
    ):
        capacity_check(RunGroups(), {**OPTIONS, "settings": [SETTINGS[0], wrong]})


def test_statistics_of_pairs() -> None:
    check = made_up([[1.0, 2.0], [4.0, 4.0]], [[1.0, 2.0], [5.0, 5.0]])
    theory, simulation = pairs_of(check, [0, 2])
    np.testing.assert_array_equal(theory, [4, 4, 4, 4])
    np.testing.assert_array_equal(simulation, [5, 5, 5, 5])
    np.testing.assert_allclose(relative_differences(*pairs_of(check)), [0, 0, 0.2, 0.2])
    assert correlation(*pairs_of(check)) == pytest.approx(
        np.corrcoef([1, 2, 4, 4], [1, 2, 5, 5])[0, 1]
    )
    assert np.isnan(correlation(theory, simulation))


# --- the figure ----------------------------------------------------------------------------------


def test_the_figure_shows_every_setting(config: dict[str, Any], check: xr.Dataset) -> None:
    data = RunGroups(analyses={"capacity_check": check})
    result = draw(resolve(config["figures"]["1B"]["function"]), data, {})
    upper, lower = result.fig.axes
    assert len(upper.containers) == len(lower.containers) == 3
    for index, container in enumerate(upper.containers):
        ((x, y),) = container.lines[0].get_xydata()
        assert x == pytest.approx(check["theory_capacity"].values[index].mean())
        assert y == pytest.approx(check["simulated_capacity"].values[index].mean())
        assert (container.lines[0].get_markerfacecolor() == "white") == (index == 1)
    assert upper.get_xscale() == upper.get_yscale() == lower.get_xscale() == "log"
    assert upper.get_xlim() == upper.get_ylim()
    assert len(result.table) == 6
    row = result.table.iloc[5]
    assert (row["shape"], row["radius"], row["last_radius"], row["draw"]) == (
        "ellipsoid",
        0.5,
        1.5,
        1,
    )
    assert row["simulation"] == check["simulated_capacity"].values[2, 1]
    words = [text.get_text() for text in result.fig.legends[0].get_texts()]
    assert words == ["spheres", "ellipsoids", "Gaussian clouds", "correlated centres"]


def test_the_caption_has_numbers_and_says_what_it_is_made_from(
    config: dict[str, Any], check: xr.Dataset, tmp_path: Path
) -> None:
    data, entry = RunGroups(analyses={"capacity_check": check}), config["figures"]["1B"]
    result = draw(resolve(entry["function"]), data, {})
    theory, simulation = pairs_of(check)
    median = 100 * np.median(np.abs(theory - simulation) / simulation)
    assert f"{median:.1f} % in the median" in result.summary
    assert f"{np.corrcoef(theory, simulation)[0, 1]:.4f}" in result.summary
    text = caption(entry, result, data, "smoke")
    made = text.split("\n\n")[3]
    assert made.startswith("**Made from:** n = 6 sets of manifolds (3 settings of 2 draws). Scale")
    assert "Scale smoke. Data: generated manifolds (P = 12, " in made
    for path in save_figure(result, tmp_path / "fig1B", text):
        assert path.stat().st_size > 100


# --- the claims ----------------------------------------------------------------------------------


def measured(config: dict[str, Any], check: xr.Dataset) -> dict[str, dict[str, Any]]:
    claims = [claim for claim in config["claims"] if claim["figure"] == "1B"]
    rows = measure_claims(claims, RunGroups(analyses={"capacity_check": check}))
    return {row["id"]: row for row in rows}


def as_stated(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it would be if it had been measured on the paper's own representations."""
    return row | {"measurement": row["measurement"] | {"substituted": False}}


def test_claims_on_what_agrees(config: dict[str, Any]) -> None:
    theory = np.geomspace(0.05, 1.5, 24).reshape(12, 2)
    found = measured(config, made_up(theory.tolist(), (1.03 * theory).tolist()))
    one = found["capacity_correlation"]["measurement"]
    assert one["value"] == pytest.approx(1)
    assert one["n"] == 12
    two = found["capacity_error"]["measurement"]
    assert two["value"] == pytest.approx(0.03 / 1.03)
    np.testing.assert_allclose(two["interval"], 0.03 / 1.03)
    # generated manifolds are not the paper's data, whatever they say
    assert {decide(row)[0] for row in found.values()} == {"indicative"}
    assert {decide(as_stated(row))[0] for row in found.values()} == {"agrees"}


def test_claims_on_what_does_not(config: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    theory, simulation = random.uniform(0.5, 1, (2, 12, 2)).tolist()
    found = measured(config, made_up(theory, simulation))
    assert {decide(as_stated(row))[0] for row in found.values()} == {"differs"}
    low, high = found["capacity_correlation"]["measurement"]["interval"]
    assert -1 <= low < high <= 1


def test_claims_of_one_setting_are_indicative_at_most(config: dict[str, Any]) -> None:
    found = measured(config, made_up([[0.5, 0.6]], [[0.5, 0.6]]))
    assert {decide(row)[0] for row in found.values()} == {"indicative"}


# --- the configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["paper", "laptop", "smoke"])
def test_settings_are_many_and_spread(scale: str) -> None:
    options = load_config(ROOT, {"scale": scale})["memorization"]["analyses"]["capacity_check"]
    settings = options["options"]["settings"]
    assert len({str(one) for one in settings}) == len(settings)
    assert {one["shape"] for one in settings} == set(SHAPES)
    assert any(one.get("correlation") for one in settings)
    assert len(settings) >= (3 if scale == "smoke" else 20)
    assert options["runs"] == options["variables"] == []


def test_the_figure_needs_no_runs() -> None:
    paper = load_config(ROOT)["memorization"]
    assert paper["figures"]["1B"]["runs"] == paper["analyses"]["capacity_check"]["runs"] == []


@pytest.mark.parametrize(
    ("over", "words"),
    [
        (
            {"runs": {"main": {}}},
            "memorization.runs.main = {} is a run that no figure or claim uses",
        ),
        ({"defaults": {"depth": 2}}, "memorization.defaults.depth = 2 is an unknown key"),
        ({"figures": {"1B": {"analyses": ["x"]}}}, 'analyses.0. = "x" is no entry of analyses'),
        ({"figures": {"1B": {"runs": ["main"]}}}, 'runs.0. = "main" is no entry of runs'),
    ],
)
def test_what_the_paper_does_not_have_is_refused(over: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(ROOT, {"memorization": copy.deepcopy(over)})
