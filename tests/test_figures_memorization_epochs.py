"""Rewinding and gradients in the memorisation paper's figures: numbers, captions, axes."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_figures import RUN, one_run
from made_up_memorization import (
    EPOCHS,
    PARTS,
    VGG16,
    given,
    gradient_norms,
    kept_epochs,
    rewound,
    run_of,
)
from test_figures_memorization import case, curve_of, drawn

from pipeline.analysis.memorization_results import shown_layers
from pipeline.errors import PipelineError
from pipeline.figures.memorization import gradients as gradient_figures
from pipeline.figures.memorization.gradients import gradients
from pipeline.figures.memorization.looks import banded, half_width
from pipeline.figures.memorization.rewinding import rewinding
from pipeline.figures.save import draw

# --- rewinding ------------------------------------------------------------------------------------


def test_rewound_curves_are_interpolated_between_kept_epochs() -> None:
    result = drawn("4B")
    found, epochs = rewound(RUN), kept_epochs(RUN)[0]
    grid = np.linspace(0, epochs.max(axis=1).min(), 41)
    curve = curve_of(result.table, layer="conv2", split="test")
    np.testing.assert_allclose(curve["epoch"], grid)
    rows = []
    for seed in range(3):
        there = epochs[seed] >= 0
        values = found["rewound_accuracy"].values[0, seed, there, 1, 1]
        rows.append(np.interp(grid, epochs[seed][there], values))
    np.testing.assert_allclose(curve["accuracy"], np.mean(rows, axis=0))
    assert set(result.table["layer"]) == {"conv1", "conv2"}
    assert "with their batch normalisation" in result.summary
    halves = half_width(np.array(rows))
    np.testing.assert_allclose(curve["half_width_95"], halves)


def test_the_rewinding_caption_has_the_numbers_of_the_final_network_and_of_the_curve() -> None:
    function, groups, options = case("4B")
    found = groups.analyses["found"]
    found["final_accuracy"][...] = np.array([0.9, 0.123])
    text = draw(function, groups, options).summary
    table = curve_of(draw(function, groups, options).table, layer="conv2")
    top = table.loc[table["accuracy"].idxmax()]
    best = np.nanmax(RUN.trajectories["accuracy"].values[..., 1], axis=1).mean()
    share = f"{100 * top['accuracy'] / best:.0f} % of that of the best epoch ({best:.3f})"
    assert (
        f"Rewinding conv2 alone brings the test accuracy from 0.123 to at most {top['accuracy']:.3f} "
        f"(epoch {top['epoch']:.3g}), {share}; without rewinding it is {12.3 / best:.0f} %." in text
    )
    assert "training accuracy" not in text


def test_the_caption_of_training_accuracy_does_not_speak_of_the_test() -> None:
    function, groups, options = case("4A")
    groups.analyses["found"]["final_accuracy"][...] = np.array([0.9, 0.123])
    result = draw(function, groups, options)
    lowest = curve_of(result.table, layer="conv2")["accuracy"].min()
    assert f"the training accuracy from 0.900 to at least {lowest:.3f} (epoch 0)" in result.summary
    assert "test accuracy" not in result.summary
    assert result.fig.axes[0].get_ylim() == (0, 1.02)


def test_bands_of_rewinding_are_few_and_within_0_and_1() -> None:
    function, groups, options = case("A9")
    spread = np.array([-0.2, 0.0, 0.2])[:, None]
    groups.analyses["found"]["rewound_accuracy"][0, ..., 0] += spread[..., None]
    result = draw(function, groups, options)  # 3 seeds: the last convolution's only
    train, test = result.fig.axes[:2]
    assert [len(axes.collections) for axes in (train, test)] == [1, 1]
    heights = np.concatenate([path.vertices[:, 1] for path in train.collections[0].get_paths()])
    assert heights.max() <= 1
    assert (
        "Bands (within the axes): 95 % intervals of the mean, of conv17; those of the other layers"
        in result.summary
    )
    assert test.get_ylim()[0] > 0.2
    assert banded(["a", "b"], 5, "b") == ["a", "b"]
    assert banded(["a", "b"], 4, "b") == ["b"]
    assert banded(list("abcdefg"), 10, "f") == ["f"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("A9", "are never rewound"),
        ("A12", "are in no layer's norm"),
        ("A5", "are no layers of their own"),
    ],
)
def test_captions_say_what_happens_to_skips(name: str, words: str) -> None:
    function, groups, options = case(name)
    sentence = f"The 1 x 1 convolutions of the skip connections {words}."
    assert sentence not in draw(function, groups, options).summary
    residual = given([run_of(network="resnet18")], **groups.analyses)
    assert sentence in draw(function, residual, options).summary


def test_fewer_seeds_may_be_rewound_than_trained() -> None:
    found = case("4B")[1].analyses["found"].isel(seed=[0, 2])
    assert "Means over 2 seeds" in draw(rewinding, one_run(found=found), {}).summary


def test_layers_that_are_rewound() -> None:
    names = [name for name in VGG16 if not name.startswith("pool")]
    assert shown_layers(names, "all") == names
    assert shown_layers(names, "hidden")[-1] == "conv17"
    assert shown_layers(names, "every_third")[-3:] == ["conv13", "conv16", "conv17"]
    assert shown_layers(["linear1", "linear2"], "hidden") == ["linear1"]
    with pytest.raises(PipelineError, match="layers = 'some' given; valid are: hidden"):
        shown_layers(names, "some")


# --- gradients ------------------------------------------------------------------------------------


def test_gradients_are_means_of_logarithms() -> None:
    result = drawn("A12")
    table = result.table
    assert list(dict.fromkeys(table["panel"])) == list("ABCDEFG")
    grid = table["epoch"].unique()
    assert (grid[0], grid[-1]) == (0, EPOCHS - 2)  # of the shortest training
    start, fall = PARTS["total"]
    third = curve_of(table, panel="A", layer=VGG16[2])["log10"]
    np.testing.assert_allclose(third, start - fall * grid / EPOCHS - 0.2 + 0.01, atol=1e-9)
    ratio = curve_of(table, panel="F", layer=VGG16[2])["log10"]
    np.testing.assert_allclose(ratio, 1.0 - 1.8 * grid / EPOCHS, atol=1e-9)
    assert "dep, unpermuted / permuted 1.00 at first" in result.summary
    assert (
        "batch normalisation as in training, parts over the size of the whole set" in result.summary
    )


def test_gradients_have_intervals_over_seeds() -> None:
    result = drawn("A12")
    half = 4.302653 * 0.01 / np.sqrt(3)
    middle = result.table[result.table["epoch"] < 10]
    rows = curve_of(middle, panel="A", layer=VGG16[2])
    np.testing.assert_allclose(rows["half_width_95"], half, rtol=1e-6)
    alone = draw(gradients, one_run(found=gradient_norms(RUN, VGG16)), {"panels": ["A"]})
    words = "95 % intervals over seeds (not drawn): ± 0.02 in the median, ± 0.02 at most."
    assert words in alone.summary
    assert drawn("A12_clean").table["half_width_95"].notna().all()


def test_gradients_that_are_compared_have_the_same_axes() -> None:
    groups = one_run(found=gradient_norms(RUN))
    together = dict(zip("ABCDEFG", draw(gradients, groups, {}).fig.axes[:3], strict=False))
    for panel in "ABC":
        alone = draw(gradients, groups, {"panels": [panel]}).fig.axes[0]
        assert alone.get_ylim() == together[panel].get_ylim() == together["A"].get_ylim()
    axes = draw(gradients, groups, {"panels": list("DEFG")}).fig.axes
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[2].get_ylim() == axes[3].get_ylim()
    assert [one.get_ylabel() != "" for one in axes[:4]] == [True, False, True, False]


def test_parts_of_empty_subsets_are_left_out() -> None:
    result = drawn("A12_clean")
    assert set(result.table["panel"]) == {"A", "B", "D"}
    assert "permuted samples nothing, a subset is empty" in result.summary
    shown = {
        axes.get_title("left")[0]: axes.axison for axes in result.fig.axes if axes.get_title("left")
    }
    assert [panel for panel, there in shown.items() if there] == ["A", "B", "D"]


def test_unknown_panels_are_refused() -> None:
    with pytest.raises(PipelineError, match="Panels H given; valid are: A, B"):
        draw(gradients, one_run(found=gradient_norms(RUN)), {"panels": ["A", "H"]})
    assert set(gradient_figures.PANELS) >= set("ABCDEFG")
