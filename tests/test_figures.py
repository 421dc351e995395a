"""Figure 1 of the stragglers paper from made-up runs: numbers, captions, files, faults."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_up_runs import EPOCHS, made_up_run
from matplotlib.figure import Figure

from pipeline.errors import GeometryError, PipelineError
from pipeline.figures.save import SUFFIXES, FigureResult, caption, draw, escape, save_figure
from pipeline.figures.stragglers import dynamics as stragglers_fig1
from pipeline.figures.stragglers.dynamics import describe_optimizer
from pipeline.figures.style import new_figure, paper_style, settle_layout
from pipeline.run_texts import count_text
from pipeline.runs import RunGroups, chosen

DATA = RunGroups(
    {
        "main": [made_up_run("main", seeds=5, failed=(1,))],
        "blocks": [made_up_run(f"blocks_{k}", seeds=3, block=k, turn=10 + k) for k in range(3)],
        "adam": [made_up_run("adam", seeds=3, optimizer="adam", learning_rate=0.001)],
        "decay": [made_up_run("decay", seeds=3, weight_decay=0.01)],
        "momentum": [made_up_run("momentum", seeds=3, momentum=0.9)],
        "random_labels": [made_up_run("random_labels", seeds=4, labels="random")],
    }
)
GROUPS = {
    "1a": ["main"],
    "1b": ["main"],
    "1c": ["blocks"],
    "1d": ["main", "adam", "decay", "momentum"],
    "1e": ["random_labels", "main"],
    "1f": ["random_labels", "main"],
}
ENTRY = {"title": "A title", "paper": "What R_+ does, 10 % of *it*", "section": "Results"}


def drawn(figure: str, **options: float) -> FigureResult:
    return draw(getattr(stragglers_fig1, f"fig{figure}"), chosen(DATA, GROUPS[figure]), options)


@pytest.mark.parametrize("figure", ["1a", "1b", "1d", "1f"])  # 1c is drawn as 1d, 1e as 1f
def test_files_are_the_same_bytes_twice(figure, tmp_path):
    paths = []
    for folder in ("one", "two"):
        result = drawn(figure)
        text = caption(ENTRY, result, chosen(DATA, GROUPS[figure]), "laptop")
        paths.append(save_figure(result, tmp_path / folder / f"fig{figure}", text))
    for one, two in zip(*paths, strict=True):
        assert one.read_bytes() == two.read_bytes()
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(f"fig{figure}{suffix}" for suffix in SUFFIXES)
    svg = (tmp_path / "one" / f"fig{figure}.svg").read_text(encoding="utf-8")
    assert "<text" in svg
    assert "<dc:date>" not in svg
    assert not re.search(r"20\d\d-\d\d-\d\dT", svg)
    saved = pd.read_csv(tmp_path / "one" / f"fig{figure}.csv")
    assert len(saved) == len(result.table) > 0
    png = matplotlib.image.imread(tmp_path / "one" / f"fig{figure}.png")
    assert png.shape[1] == 300 * (7 if figure in ("1c", "1d") else 3.5)


def test_figures_ignore_the_users_settings(tmp_path):
    before = save_figure(drawn("1f"), tmp_path / "a", "")[0].read_bytes()
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 50}):
        assert save_figure(drawn("1f"), tmp_path / "b", "")[0].read_bytes() == before


def test_1a_holds_first_and_last_values():
    table = drawn("1a").table
    run = DATA["main"][0]
    values = table[table["quantity"] == "radius_plus"].set_index(["moment", "seed"])["value"]
    assert [seed for _, seed in values.index] == [0, 2, 3, 4] * 2
    curves = run.curves("radius_plus")
    np.testing.assert_array_equal(values["at initialisation"], curves[:, 0])
    np.testing.assert_array_equal(values["after training"], curves[:, -1])
    counts = table[table["quantity"] == "histogram of distance"]
    assert counts.groupby("moment")["value"].sum().to_dict() == {
        "at initialisation": 4,
        "after training": 4,
    }
    assert "smaller in 4 of 4 networks" in drawn("1a").summary


def test_1b_holds_means_and_spreads():
    result = drawn("1b")
    run = DATA["main"][0]
    for name in ("radius_plus", "radius_minus", "distance", "train_error", "test_error"):
        rows = result.table[result.table["quantity"] == name]
        curves = run.curves(name)
        assert list(rows["epoch"]) == list(range(EPOCHS + 1))
        np.testing.assert_allclose(rows["mean"], curves.mean(axis=0))
        np.testing.assert_allclose(rows["sd"], curves.std(axis=0, ddof=1), atol=1e-15)
        assert set(rows["n"]) == {4}
    low, high = result.table.set_index("quantity")["epoch"][
        ["inversion range, low", "inversion range, high"]
    ]
    epochs = [run.inversion[f"epoch_{one}"].values for one in ("plus", "minus", "distance")]
    means = [one.mean() for one in epochs]
    assert low == pytest.approx(
        min(mean - one.std(ddof=1) for mean, one in zip(means, epochs, strict=True))
    )
    assert low < min(means) + 1e-9
    assert high > max(means) - 1e-9
    assert f"{run.inversion['phi'].values.mean():.4f}" in result.summary
    assert "4 of 4 networks invert" in result.summary


def test_1c_has_a_curve_per_block():
    result = drawn("1c")
    assert sorted(set(result.table["run"])) == ["blocks_0", "blocks_1", "blocks_2"]
    run = DATA["blocks"][1]
    rows = result.table[
        (result.table["run"] == "blocks_1") & (result.table["quantity"] == "distance")
    ]
    error, distance = run.curves("train_error"), run.curves("distance")
    for _, row in rows.iloc[::17].iterrows():
        first = [np.argmax(one <= row["train_error"]) for one in error]
        assert row["mean"] == pytest.approx(distance[np.arange(3), first].mean())
    assert not rows["mean"].isna().any()
    labels = [text.get_text() for text in result.fig.legends[0].get_texts()]
    assert labels == ["block 1", "block 2", "block 3"]


def test_1c_axis_starts_where_asked():
    table = drawn("1c", lowest_error=0.2).table
    assert table["train_error"].min() == pytest.approx(0.2)


def test_1d_tells_the_optimisers_apart():
    result = drawn("1d")
    lines = {line.get_label(): line for line in result.fig.axes[0].get_lines()}
    assert {label: line.get_linestyle() for label, line in lines.items()} == {
        "GD, $\\eta$ = 0.2": "-.",
        "Adam, $\\eta$ = 0.001": "-",
        "GD, weight decay $\\lambda$ = 0.01": "--",
        "GD, momentum $\\mu$ = 0.9, $\\eta$ = 0.2": ":",
    }
    looks = [(line.get_color(), line.get_linestyle()) for line in lines.values()]
    assert len(set(looks)) == len(looks)
    sgd = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    assert describe_optimizer(sgd)[1] == "SGD, $\\eta$ = 0.1"


@pytest.mark.parametrize(
    ("figure", "metrics"), [("1e", ["radius_minus", "radius_plus"]), ("1f", ["distance"])]
)
def test_1e_1f_compare_the_labels(figure, metrics):
    result = drawn(figure)
    assert sorted(set(result.table["quantity"])) == metrics
    for labels, group in (("random", "random_labels"), ("parity", "main")):
        rows = result.table[
            (result.table["labels"] == labels) & (result.table["quantity"] == metrics[0])
        ]
        expected = DATA[group][0].curves(metrics[0]).mean(axis=0)
        np.testing.assert_allclose(rows["mean"], expected)
    assert "random labels" in result.summary
    assert "0 of 4 networks invert" in result.summary


def test_axes_are_named():
    for figure in GROUPS:
        axes = drawn(figure).fig.axes
        assert all(one.get_ylabel() for one in axes)
        unit = {"1a": "distance", "1c": "(fraction)", "1d": "(fraction)"}.get(figure, "(updates")
        assert unit in axes[-1].get_xlabel()


def test_caption_says_paper_ours_n_scale_and_data():
    docutils = pytest.importorskip("docutils.core")
    result = FigureResult(None, None, "R_+ fell by |x| *a lot*, {{ 3 }} `b`")
    text = caption(ENTRY, result, chosen(DATA, ["main"]), "smoke")
    plain = docutils.publish_doctree(
        text, settings_overrides={"report_level": 1, "halt_level": 1}
    ).astext()
    assert "What R_+ does, 10 % of *it*" in plain
    assert "R_+ fell by |x| *a lot*, {{ 3 }} `b`" in plain
    assert "The paper (Results):" in plain
    assert "n = 4 independent networks; 1 more diverged and are left out" in plain
    assert "Scale smoke" in plain
    assert "MNIST, 100 training samples" in plain
    assert "{{" not in text
    assert "{%" not in escape("{% raw %}")
    assert "{#" not in escape("{# note #}")


def test_caption_names_substituted_data():
    data = {"main": [made_up_run("main", dataset="generated")]}
    text = caption(ENTRY, FigureResult(None, None, ""), data, "smoke")
    assert "substituted: generated data" in text


def test_counts_of_several_runs():
    assert count_text(DATA["blocks"]) == "n = 9 independent networks (3 runs of 3); none diverged"


def test_a_failed_write_leaves_the_old_files(tmp_path):
    save_figure(drawn("1f"), tmp_path / "fig", "first")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = FigureResult(object(), None, "")  # cannot be saved
    with pytest.raises(AttributeError):
        save_figure(broken, tmp_path / "fig", "second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_faults():
    with pytest.raises(PipelineError, match="blocks are needed but not given; given are main"):
        chosen(RunGroups({"main": DATA["main"]}), ["main", "blocks"])
    with pytest.raises(GeometryError, match="Run lost: All 2 seeds diverged"):
        made_up_run_all_failed()
    with pytest.raises(PipelineError, match="No run was given"):
        draw(stragglers_fig1.fig1a, {}, {})
    with pytest.raises(PipelineError, match="never falls from its initial"):
        drawn("1c", lowest_error=0.9)
    with pytest.raises(PipelineError, match="infinite"):
        draw(lambda data, options: FigureResult(None, pd.DataFrame({"a": [np.inf]}), ""), {}, {})


def made_up_run_all_failed():
    from made_up_runs import CONFIG, make_trajectories

    from pipeline.runs import make_run

    return make_run("lost", CONFIG, make_trajectories(2, failed=(0, 1)), DATA["main"][0].inversion)


def test_inversion_of_other_seeds_is_refused():
    from made_up_runs import CONFIG, make_trajectories

    from pipeline.runs import make_run

    with pytest.raises(GeometryError, match="measured on other seeds"):
        make_run("main", CONFIG, make_trajectories(5), DATA["main"][0].inversion)


def in_parts() -> FigureResult:
    """A figure with subfigures, legends and a colour bar."""
    with paper_style():
        fig = new_figure(6.0, 4.0)
        above, below = fig.subfigures(2, 1)
        for part in (above, below):
            for i, axes in enumerate(part.subplots(1, 3)):
                axes.plot([1, 10], [10**i, 3], label=f"curve {i}")
                axes.set_xlabel("x")
            part.legend(loc="outside lower center")
        shown = below.axes[0].scatter([1, 2], [3, 4], c=[0.1, 0.2])
        below.colorbar(shown, ax=below.axes)
    return FigureResult(fig, pd.DataFrame({"a": [1.0]}), "summary")


def test_digits_that_no_picture_shows_change_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [path.read_bytes() for path in save_figure(in_parts(), tmp_path / "a", "")]
    plain = Figure.draw_without_rendering

    def with_dust(fig: Figure) -> None:  # as the layout's solver leaves it, now and then
        plain(fig)
        for part in fig.subfigs:
            points = part.bbox_relative.get_points()
            part.bbox_relative.set_points(points * (1 + 1e-14))
        for axes in fig.axes:
            in_layout = axes.get_in_layout()
            left, bottom, width, height = axes.get_position(original=True).bounds
            axes.set_position((left, bottom + 1e-14, width * (1 + 1e-14), height))
            axes.set_in_layout(in_layout)

    monkeypatch.setattr(Figure, "draw_without_rendering", with_dust)
    after = [path.read_bytes() for path in save_figure(in_parts(), tmp_path / "b", "")]
    assert after == before


def test_a_settled_figure_is_as_the_layout_made_it() -> None:
    laid_out, settled = in_parts().fig, in_parts().fig
    with paper_style():
        laid_out.draw_without_rendering()
        settle_layout(settled)
        settled.draw_without_rendering()
        for one, other in zip(laid_out.axes, settled.axes, strict=True):
            np.testing.assert_allclose(
                one.get_window_extent().bounds, other.get_window_extent().bounds, atol=0.01
            )
            assert one.get_in_layout() == other.get_in_layout()
