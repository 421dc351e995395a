"""Figures 2a-2d, S2, S3, S5, S6 from made-up runs: what is drawn, the table, missing parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from made_up_pruning import (
    ERRORS,
    SIGMAS,
    experiment,
    noise_of,
    pruning_data,
    run_with,
    scramble,
    stability_data,
)

from pipeline.analysis.stability import stability_curve
from pipeline.errors import PipelineError
from pipeline.figures.save import FigureResult, caption, draw
from pipeline.figures.stragglers import convolutional as stragglers_cnn
from pipeline.figures.stragglers import pruning as stragglers_fig2
from pipeline.figures.stragglers import regimes as stragglers_regimes
from pipeline.runs import RunGroups, chosen

STABILITY = {"epochs": [3, 6, 9, 12, 16, 20, 30], "resamples": 50}
TITLES = {"titles": {"under": "More samples"}}


@cache
def single(seeds: int = 4) -> RunGroups:
    return pruning_data(seeds=seeds)


@cache
def regimes(seeds: int = 3) -> RunGroups:
    groups = {}
    for name, width in (("under", 2), ("over", 200)):
        groups |= experiment(name, seeds, prefix=f"{name}_", width=width)
    return RunGroups(groups, {"noise": noise_of(groups)})


@cache
def convolutional(seeds: int = 3) -> RunGroups:
    """Kernels 4, without inversion of the radii, and 24; stragglers also of the run main."""
    groups = {}
    for kernel in (4, 24):
        keys = {"network": "convolutional", "kernel": kernel}
        groups |= experiment(f"cnn_{kernel}", seeds, prefix=f"cnn_{kernel}_", **keys)
        pruned = run_with(
            "by_main", seeds, False, prune_from="main", prune_epoch="inversion", **keys
        )
        groups[f"cnn_{kernel}_fc"] = [pruned]
    sources = [groups["cnn_4"][0], groups["cnn_24"][0]]
    for run in sources:
        scramble(run)
    analyses = {"noise": noise_of(groups)}
    if seeds > 2:
        analyses["stability"] = stability_curve(RunGroups({"cnn": sources}), STABILITY)
    return RunGroups(groups, analyses)


DATA = single()
MADE: dict[str, tuple[Callable[..., FigureResult], Callable[[int], RunGroups]]] = {
    "2a": (stragglers_fig2.fig2a, single),
    "2b": (stragglers_fig2.fig2b, single),
    "2c": (stragglers_fig2.fig2c, single),
    "S2": (stragglers_regimes.figS2, regimes),
    "S5": (stragglers_cnn.figS5, convolutional),
    "S6": (stragglers_cnn.figS6, convolutional),
}


def values(result: FigureResult, **where: Any) -> np.ndarray:
    rows = result.table
    for key, value in where.items():
        rows = rows[rows[key] == value]
    return rows["mean"].to_numpy(float)


@pytest.mark.parametrize("figure", MADE)
@pytest.mark.parametrize("seeds", [3, 1])
def test_drawn_with_named_axes_and_finite_numbers(figure, seeds):
    function, make = MADE[figure]
    data = make(seeds)
    result = draw(function, data, TITLES if figure == "S2" else {})
    shown = [axes for axes in result.fig.axes if axes.axison]
    assert all(axes.get_ylabel() for axes in shown)
    assert any("(" in axes.get_xlabel() for axes in shown)  # a unit
    assert len(result.table) > 0
    assert np.isfinite(result.table["mean"].dropna()).all()
    if figure != "S6":  # its z-scores are in other columns
        assert not result.table["mean"].isna().any()
    assert "nan" not in result.summary
    entry = {"title": "T", "paper": "P"}
    assert "Scale smoke" in caption(entry, result, data, "smoke")


def test_2a_holds_every_pruned_network_and_means():
    result = draw(stragglers_fig2.fig2a, DATA, {})
    full, (pruned, late, early), control = (
        DATA["main"][0],
        DATA["pruned"],
        DATA["pruned_random"][0],
    )
    table = result.table[result.table["left_out"] == "S(t*)"]
    for seed in range(pruned.seeds):
        own = table[table["seed"] == seed].sort_values("epoch")["mean"]
        np.testing.assert_array_equal(own, pruned.curves("radius_plus")[seed])
    for left_out, run in (("none", full), ("S(40)", late), ("S(3)", early), ("random", control)):
        expected = run.curves("radius_plus").mean(axis=0)
        np.testing.assert_allclose(values(result, left_out=left_out), expected)
    axes = result.fig.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["random sets left out"].get_linestyle() == "--"
    assert sum(line.get_color() == "#CC79A7" for line in axes.get_lines()) == pruned.seeds
    assert any("t > t_*" in label and "S(40)" in label for label in lines)
    assert any("t < t_*" in label and "S(3)" in label for label in lines)
    assert "0 of 4 networks without S(t*)" in result.summary
    assert "4 of 4 networks without S(40)" in result.summary
    band = axes.collections[0].get_paths()[0].vertices
    sd = full.curves("radius_plus").std(axis=0, ddof=1)
    top = full.curves("radius_plus").mean(axis=0) + 2 * sd
    assert band[:, 1].max() == pytest.approx(top.max())


def test_2a_ends_with_the_shortest_pruned_run():
    data = pruning_data(seeds=2)
    run = data["main"][0]
    longer = run_with("main", 2)
    groups = {"main": [longer], "pruned": [data["pruned"][0]]}
    short = groups["pruned"][0].trajectories.isel(epoch=slice(0, 41))
    object.__setattr__(groups["pruned"][0], "trajectories", short)
    result = draw(stragglers_fig2.fig2a, RunGroups(groups), {})
    assert set(result.table["epoch"]) == set(range(41))
    assert run.name == "main"


def test_2b_holds_the_last_epochs():
    result = draw(stragglers_fig2.fig2b, DATA, {})
    for metric in ("radius_plus", "radius_minus", "distance"):
        expected = [run.curves(metric)[:, -1].mean() for run in DATA["sweep"]]
        np.testing.assert_allclose(values(result, quantity=metric, left_out="S(t(eps))"), expected)
        whole = DATA["main"][0].curves(metric)[:, -1].mean()
        assert values(result, quantity=metric, left_out="none") == pytest.approx(whole)
    rows = result.table[result.table["left_out"] == "S(t(eps))"]
    assert sorted(set(rows["pruning_error"])) == sorted(ERRORS)
    assert "for eps above phi" in result.summary


def test_2c_holds_the_analysis():
    result = draw(stragglers_fig2.fig2c, DATA, {})
    noise = DATA.analyses["noise"]
    row = noise.attrs["runs"].index("sweep_0.2")
    for index, sigma in enumerate(SIGMAS):
        own = result.table[(result.table["run"] == "sweep_0.2") & (result.table["sigma"] == sigma)]
        expected = noise["test_error_noisy"].values[row, :, index]
        assert own["mean"].item() == pytest.approx(expected.mean())
        assert own["sd"].item() == pytest.approx(expected.std(ddof=1))
        assert own["n"].item() == 4
    controls = result.table[result.table["left_out"] == "random"]
    assert set(controls["sigma"]) == {0.0, 0.5}  # the two smallest
    assert "eps = 0.1, nearest to phi = 0.12" in result.summary
    assert "sigma 1.5: 0.350 ± 0.002 with all samples, 0.330 ± 0.002 without S" in result.summary


def test_2c_leaves_out_networks_that_were_not_evaluated():
    data = pruning_data()
    noise = data.analyses["noise"].copy(deep=True)
    row = noise.attrs["runs"].index("sweep_0.2")
    noise["test_error_noisy"].values[row, 0] = np.nan
    noise["test_error_noisy"].values[noise.attrs["runs"].index("sweep_0.3")] = np.nan
    result = draw(stragglers_fig2.fig2c, RunGroups(data, {"noise": noise}), {})
    assert set(result.table[result.table["run"] == "sweep_0.2"]["n"]) == {3}
    assert "sweep_0.3" not in set(result.table["run"])
    assert not result.table["mean"].isna().any()


def test_2d_holds_the_z_scores_and_their_intervals():
    data = stability_data()
    result = draw(stragglers_fig2.fig2d, data, {})
    curve = data.analyses["stability"].isel(curve=0)
    there = np.isfinite(curve["z_score"].values)
    for column, name in (("value", "z_score"), ("low", "z_score_low"), ("high", "z_score_high")):
        np.testing.assert_allclose(result.table[column], curve[name].values[there])
    np.testing.assert_allclose(result.table["train_error"], curve["mean_error"].values[there])
    assert f"largest z {float(curve['maximum_z_score']):.1f}" in result.summary


def test_s3_has_a_panel_per_data_set_and_says_what_is_missing():
    both = stability_data(("one", "two"))
    titles = [axes.get_title() for axes in draw(stragglers_fig2.figS3, both, {}).fig.axes]
    assert titles == ["MNIST", "KMNIST"]
    alone = RunGroups(both | {"two": []}, both.analyses, {"two": "KMNIST could not be had"})
    result = draw(stragglers_fig2.figS3, alone, {})
    assert len(result.fig.axes) == 1
    assert "Missing, as their data could not be had: two" in result.summary


def test_s2_has_a_column_per_regime():
    result = draw(stragglers_regimes.figS2, regimes(), TITLES)
    tops = [axes.get_title() for axes in result.fig.axes if axes.get_title()]
    assert tops == ["More samples: P = 100, H = 2", "over: P = 100, H = 200"]
    assert set(result.table["regime"]) == set(tops)
    assert result.summary.count("0 of 3 networks without S(t*)") == 2


def test_s5_marks_only_metrics_that_invert():
    data = convolutional.__wrapped__()  # changed below
    small = data["cnn_4"][0]
    small.inversion["inverts_plus"].values[:] = False
    small.inversion["inverts_minus"].values[:] = False
    result = draw(stragglers_cnn.figS5, chosen(data, ["cnn_24", "cnn_4"]), {})
    assert [axes.get_title() for axes in result.fig.axes[:2]] == ["kernels 4x4", "kernels 24x24"]
    assert "kernels 4x4: R+ inverts in 0 of 3 networks, " in result.summary
    assert "kernels 24x24: R+ inverts in 3 of 3 networks (epoch" in result.summary
    with pytest.raises(PipelineError, match="No convolutional run"):
        draw(stragglers_cnn.figS5, DATA, {})


def test_s6_tells_whose_stragglers_were_left_out():
    result = draw(stragglers_cnn.figS6, convolutional(), {})
    assert set(result.table["kernel"]) == {4, 24}
    assert {"S(t*)", "S(t*) of main"} <= set(result.table["left_out"].dropna())
    assert "without S(t*) of main" in result.summary
    legend = [text.get_text() for text in result.fig.subfigs[0].legends[0].get_texts()]
    assert "$S(t_*)$ of main out" in legend


@pytest.mark.parametrize(
    ("figure", "groups"),
    [
        ("2a", ["main", "pruned", "pruned_random"]),
        ("2b", ["main", "sweep"]),
        ("2c", ["main", "sweep", "sweep_random"]),
        ("S2", ["under_pruned"]),
        ("S6", ["cnn_4_sweep"]),
    ],
)
def test_a_group_may_be_empty(figure, groups):
    function, make = MADE[figure]
    data = make(3)
    for name in groups:
        left = RunGroups(data | {name: []}, data.analyses, {name: "no data"})
        result = draw(function, left, {})
        assert len(result.table) > 0
        assert f"Missing, as their data could not be had: {name}" in result.summary


def test_without_any_run_the_figure_says_so():
    gone = RunGroups({"main": [], "sweep": []}, {}, {"main": "MNIST could not be had"})
    for function in (stragglers_fig2.fig2a, stragglers_cnn.figS6):
        assert "MNIST could not be had" in draw(function, gone, {}).summary


def test_without_an_analysis_the_figure_says_so():
    data = RunGroups(DATA)
    assert "no analysis holds these runs" in draw(stragglers_fig2.fig2c, data, {}).summary
    assert "No analysis holds z-scores" in draw(stragglers_fig2.fig2d, data, {}).summary
