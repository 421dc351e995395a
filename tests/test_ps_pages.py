"""Pages of figures, drawn from made-up runs, in a browser: what they show, and what hovering says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_up_embeddings import analysed, chosen_of
from made_up_trajectories import alone, with_starts

from pipeline.figures.prediction_space.embeddings import embedding3d
from pipeline.figures.prediction_space.starts import starts
from pipeline.figures.save import draw
from pipeline.figures.scatter_page import MOST, Cloud, scatter_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
# Hovers over the point in front, and says how many are drawn.
HOVER = """<script>
const box = canvas.getBoundingClientRect(), front = drawn.at(-1);
const at = { clientX: box.left + front[0], clientY: box.top + front[1] };
canvas.dispatchEvent(new PointerEvent("pointermove", at));
document.body.dataset.drawn = drawn.length;
</script></body>"""
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser was found (looked for {', '.join(BROWSERS)})"
)


def hovered(page: str | None, folder: Path) -> tuple[int, str]:
    """How many points a browser draws of a page, and what hovering over one shows."""
    assert page is not None
    (folder / "page.html").write_text(page.replace("</body>", HOVER), "utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    count = re.search(r'data-drawn="(\d+)"', done.stdout)
    label = re.search(r'<div id="label" style="display: block;[^>]*>([^<]*)</div>', done.stdout)
    assert count is not None, done.stderr
    assert label is not None, done.stdout[-500:]
    return int(count[1]), label[1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_pages_of_embeddings(split: str, tmp_path: Path) -> None:
    data = chosen_of(analysed(tmp_path), f"embedding_{split}", "models")
    count, label = hovered(draw(embedding3d, data, {}).page, tmp_path)
    assert count == 56
    networks = "(FC|ConvMixer|ViT), (SGD|SGD, Nesterov|Adam)"
    settings = r", batch 10, rate 0.1(, augmented)?, seed \d, epoch [0-9.]+"
    assert re.fullmatch(rf"{networks}{settings}, {split} error [0-9.]+", label)


def test_the_page_of_starts_from_random_labels(tmp_path: Path) -> None:
    data = alone(with_starts(tmp_path), "starts", "starts_models")
    count, label = hovered(draw(starts, data, {"geodesics": False}).page, tmp_path)
    assert count == 9 * 7
    settings = "FC, SGD, batch 10, rate 0.1(, random labelling [01]|, after first_labels_[12])?"
    shown = r"seed \d, epoch [0-9.]+, train error [0-9.]+, progress \d\.\d\d"
    assert re.fullmatch(f"{settings}, {shown}", label)


def test_a_page_of_many_points(tmp_path: Path) -> None:
    count = 12_000
    assert count < MOST
    points = np.random.default_rng(0).standard_normal((count, 3))
    labels = [f"point {k}" for k in range(count)]
    page = scatter_page("Many", "xyz", [Cloud("c", "#000000", "o", points, labels)])
    drawn, label = hovered(page, tmp_path)
    assert drawn == count
    assert re.fullmatch(r"point \d+", label)
