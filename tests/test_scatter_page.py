"""The page of points to turn and zoom: what it holds and refuses, and its programme in Node or a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

from pipeline.errors import PipelineError
from pipeline.figures.save import FigureResult, empty_figure, save_figure
from pipeline.figures.scatter_page import Cloud, Curve, scatter_page
from pipeline.runs import RunGroups

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [1, 2, 3]])
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NODE = shutil.which("node")
# What the page asks of a browser: elements that remember what is done to them.
STUB = """
const fs = require("fs"), vm = require("vm"), page = fs.readFileSync(process.argv[2], "utf8");
const text = page.match(/id="data">([^]*?)<\\/script>/)[1];
const script = page.match(/<script>([^]*)<\\/script>/)[1];
let arcs = [], texts = [];
const pen = new Proxy({ arc: (...at) => arcs.push(at), fillText: (...at) => texts.push(at) },
  { get: (own, key) => own[key] || (() => {}), set: () => true });
const element = () => ({ style: {}, handlers: {}, children: [], textContent: "",
  addEventListener(name, call) { this.handlers[name] = call; },
  append(...more) { this.children.push(...more); }, setPointerCapture() {}, getContext: () => pen,
  getBoundingClientRect: () => ({ left: 10, top: 20, width: 400, height: 300 }) });
const parts = { view: element(), label: element(), legend: element(), data: { textContent: text } };
const window = { devicePixelRatio: 2, innerWidth: 800, addEventListener() {} };
const document = { getElementById: id => parts[id], createElement: element };
vm.runInNewContext(script, { document, window, Math, JSON, Infinity });
const view = parts.view.handlers, out = {};
const event = more => ({ preventDefault() {}, pointerId: 1, ...more });
const drawn = action => { arcs = []; texts = []; if (action) action(); return { arcs, texts }; };
const toggle = (n, checked) => { const box = parts.legend.children[n].children[0];
  box.checked = checked; box.handlers.change(); };
out.first = drawn(() => toggle(0, true));
const [x, y] = out.first.arcs.at(-1);
view.pointermove(event({ clientX: x + 11, clientY: y + 21 }));
out.label = parts.label.textContent; out.shown = parts.label.style.display;
view.pointermove(event({ clientX: 9, clientY: 19 }));
out.away = parts.label.style.display;
out.zoomed = drawn(() => view.wheel(event({ deltaY: -500 })));
out.back = drawn(() => view.dblclick(event({})));
view.pointerdown(event({ clientX: 0, clientY: 0 }));
out.turned = drawn(() => view.pointermove(event({ clientX: 50, clientY: 0 })));
view.pointerup(event({}));
out.keyed = drawn(() => view.keydown(event({ key: "ArrowLeft" })));
out.hidden = drawn(() => toggle(0, false));
out.legend = parts.legend.children.map(child => child.children[1].textContent);
console.log(JSON.stringify(out));
"""


def example() -> str:
    labels = [f"point {k}" for k in range(5)]
    clouds = [
        Cloud("round", "#000000", "o", CORNERS, labels),
        Cloud("<script>", "#D55E00", "s", CORNERS / 2, ["</script><b>"] * 5),
    ]
    curves = [Curve("line", "#000000", CORNERS[[0, 4]])]
    return scatter_page("A < B", ["one", "two", "three"], clouds, curves, {"end": CORNERS[4]})


def content_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


def test_the_page_stands_alone_and_holds_its_data() -> None:
    page = example()
    assert not re.search(r"https?://|\bimport\b|\bfetch\b|src=|@[A-Z]+@", page)
    assert "<title>A &lt; B</title>" in page
    assert page.count("</script>") == 2
    content = content_of(page)
    assert content["clouds"][0]["points"] == CORNERS.tolist()
    assert content["clouds"][1]["labels"][0] == "</script><b>"
    assert content["marks"] == [{"text": "end", "point": [1, 2, 3]}]
    assert page == example()


def test_of_many_points_evenly_spaced_ones_are_shown() -> None:
    points = np.random.default_rng(0).standard_normal((50_001, 3))
    page = scatter_page("t", "xyz", [Cloud("c", "#000", "o", points, ["p"] * 50_001)])
    assert len(content_of(page)["clouds"][0]["points"]) == 16_667
    assert "16667 of 50001 points, evenly spaced" in page


@pytest.mark.parametrize(
    ("points", "labels", "text"),
    [
        (np.zeros((2, 2)), ["", ""], "finite ones"),
        (np.full((1, 3), np.nan), [""], "finite ones"),
        (np.zeros((2, 3)), [""], "1 labels given for 2 points"),
    ],
)
def test_points_that_make_no_sense(points: Any, labels: list[str], text: str) -> None:
    with pytest.raises(PipelineError, match=text):
        scatter_page("t", "xyz", [Cloud("c", "#000", "o", points, labels)])


@pytest.mark.skipif(NODE is None, reason="needs Node to run the page's programme")
def test_the_page_turns_zooms_hides_and_names_points(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(example(), "utf-8")
    (tmp_path / "stub.js").write_text(STUB, "utf-8")
    command = [str(NODE), str(tmp_path / "stub.js"), str(tmp_path / "page.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    arcs = {
        key: np.array([at[:2] for at in out[key]["arcs"]]) for key in ("first", "zoomed", "back")
    }
    assert len(arcs["first"]) == 5
    assert [text[0] for text in out["first"]["texts"]] == ["one", "two", "three", "end"]
    assert re.fullmatch(r"point \d", out["label"])
    assert (out["shown"], out["away"]) == ("block", "none")
    centre = np.array([200, 150])
    np.testing.assert_allclose(arcs["zoomed"] - centre, np.exp(0.5) * (arcs["first"] - centre))
    np.testing.assert_allclose(arcs["back"], arcs["first"])
    turned = np.array([at[:2] for at in out["turned"]["arcs"]])
    keyed = np.array([at[:2] for at in out["keyed"]["arcs"]])
    assert not np.allclose(np.sort(turned, axis=0), np.sort(arcs["back"], axis=0))
    assert not np.allclose(np.sort(keyed, axis=0), np.sort(turned, axis=0))
    assert out["hidden"]["arcs"] == []  # the other cloud has squares
    assert out["legend"][:2] == ["● round", "● <script>"]


def test_the_page_opens_in_a_browser(tmp_path: Path) -> None:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser was found (looked for {', '.join(BROWSERS)})")
    (tmp_path / "page.html").write_text(example(), "utf-8")
    command = [found, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command.append((tmp_path / "page.html").as_uri())
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.count('type="checkbox"') == 3, done.stderr


def test_pages_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    fig = matplotlib.figure.Figure()
    table = pd.DataFrame({"x": [1.0]})
    with_page = FigureResult(fig, table, "s", example())
    assert [path.suffix for path in save_figure(with_page, tmp_path / "a", "")][-1] == ".rst"
    paths = save_figure(with_page, tmp_path / "b", "", interactive=True)
    assert paths[-1].read_text("utf-8") == example()
    with pytest.raises(PipelineError, match="leave out its entry's key interactive"):
        save_figure(FigureResult(fig, table, "s"), tmp_path / "c", "", interactive=True)
    assert not list(tmp_path.glob("c*"))
    gone = empty_figure(RunGroups({"main": []}, {}, {"main": "no <b> data"}, {"main": "main"}))
    page = save_figure(gone, tmp_path / "d", "", interactive=True)[-1].read_text("utf-8")
    assert "no &lt;b&gt; data" in page
