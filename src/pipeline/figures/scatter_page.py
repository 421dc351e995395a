"""Points in three dimensions as one HTML page that needs nothing else: turn, zoom, hover, hide.

The page is a string here, not a file beside it, so that the code of figures covers it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import PipelineError

MOST = 20_000  # points of a page; of more, evenly spaced ones are shown
DIGITS = 5  # of coordinates


@dataclass(frozen=True)
class Cloud:
    """Points with one look, an entry of the legend.

    points: (points, 3); labels: what hovering over each shows; marker: one of ``o s ^ v D P``.
    """

    name: str
    color: str
    marker: str
    points: NDArray[np.float64]
    labels: Sequence[str]


@dataclass(frozen=True)
class Curve:
    """A line through points (points, 3)."""

    name: str
    color: str
    points: NDArray[np.float64]


def scatter_page(
    title: str,
    axes: Sequence[str],
    clouds: Sequence[Cloud],
    curves: Sequence[Curve] = (),
    marks: Mapping[str, ArrayLike] | None = None,
) -> str:
    """The page as HTML; it loads nothing.

    Arguments
    ---------
    axes: names of the three axes. marks: text -> point (3,) at which it stands.

    Raises PipelineError for points that are not (points, 3) or not finite, and for another number of
    labels than points.
    """
    parts: list[Cloud | Curve] = [*clouds, *curves]
    for part in parts:
        points = np.asarray(part.points)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise PipelineError(
                f"{part.name}: points of shape {points.shape} given; finite ones (points, 3) are needed."
            )
        if isinstance(part, Cloud) and len(part.labels) != len(points):
            raise PipelineError(
                f"{part.name}: {len(part.labels)} labels given for {len(points)} points; give one each."
            )
    total = sum(len(cloud.points) for cloud in clouds)
    step = max(1, -(-total // MOST))
    shown = sum(len(cloud.points[::step]) for cloud in clouds)
    content = {
        "axes": list(axes),
        "clouds": [
            {
                "name": cloud.name,
                "color": cloud.color,
                "marker": cloud.marker,
                "points": _rounded(cloud.points[::step]),
                "labels": list(cloud.labels[::step]),
            }
            for cloud in clouds
        ],
        "curves": [
            {"name": one.name, "color": one.color, "points": _rounded(one.points)} for one in curves
        ],
        "marks": [
            {"text": text, "point": _rounded(np.atleast_2d(np.asarray(point, float)))[0]}
            for text, point in (marks or {}).items()
        ],
    }
    numbers = f"{total} points" if step == 1 else f"{shown} of {total} points, evenly spaced"
    told = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    page = PAGE.replace("@TITLE@", html.escape(title)).replace("@NUMBERS@", numbers)
    return page.replace("@DATA@", told.replace("<", "\\u003c"))


def sentence_page(sentence: str) -> str:
    """A page that only says something."""
    return SENTENCE.replace("@SENTENCE@", html.escape(sentence))


def _rounded(points: Any) -> list[list[float]]:
    return [[float(f"{value:.{DIGITS}g}") for value in point] for point in np.asarray(points)]


SENTENCE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>No figure</title></head>
<body><p>@SENTENCE@</p></body>
</html>
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>@TITLE@</title>
<style>
body { margin: 0; font: 14px/1.4 "DejaVu Sans", Verdana, sans-serif; color: #111; }
h1 { font-size: 16px; margin: .6rem 1rem .2rem; }
p { margin: .2rem 1rem; color: #444; }
#legend { margin: .3rem 1rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
#legend label { cursor: pointer; white-space: nowrap; }
#view { display: block; width: 100%; height: calc(100vh - 8.5rem); cursor: grab; touch-action: none; }
#label { position: fixed; display: none; max-width: 20rem; padding: .2rem .4rem; font-size: 12px;
background: #fffd; border: 1px solid #888; pointer-events: none; }
</style>
</head>
<body>
<h1>@TITLE@</h1>
<p>@NUMBERS@. Drag or arrow keys: turn; wheel or + and -: zoom; double click: start again.</p>
<div id="legend"></div>
<canvas id="view" tabindex="0" role="img" aria-label="@TITLE@"></canvas>
<div id="label"></div>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("view"), pen = canvas.getContext("2d");
const label = document.getElementById("label"), legend = document.getElementById("legend");
const START = { yaw: -0.7, pitch: 0.35, zoom: 1 }, NEAR = 9, RADIUS = 2.6;
const state = { ...START, equal: false, hidden: new Set(), drag: null };
let drawn = [];

const every = [...data.clouds, ...data.curves].flatMap(part => part.points);
const bounds = [0, 1, 2].map(k => {
  let low = Infinity, high = -Infinity;
  for (const point of every) { low = Math.min(low, point[k]); high = Math.max(high, point[k]); }
  return every.length ? [low, high] : [0, 1];
});
const middle = bounds.map(([low, high]) => (low + high) / 2);
const spans = bounds.map(([low, high]) => high - low || 1);

function project(point, width, height) {
  const most = Math.max(...spans);
  const [x, y, z] = point.map((v, k) => (v - middle[k]) / (state.equal ? most : spans[k]));
  const c = Math.cos(state.yaw), s = Math.sin(state.yaw);
  const right = c * x + s * y, back = c * y - s * x;
  const up = Math.cos(state.pitch) * z + Math.sin(state.pitch) * back;
  const depth = Math.cos(state.pitch) * back - Math.sin(state.pitch) * z;
  const scale = 0.62 * Math.min(width, height) * state.zoom;
  return [width / 2 + scale * right, height / 2 - scale * up, depth];
}

function marker(kind, x, y, r) {
  pen.beginPath();
  const turn = { "^": 1, "v": -1 }[kind];
  if (turn) {
    pen.moveTo(x, y - turn * 1.3 * r); pen.lineTo(x + 1.2 * r, y + turn * r);
    pen.lineTo(x - 1.2 * r, y + turn * r); pen.closePath();
  } else if (kind === "s") { pen.rect(x - r, y - r, 2 * r, 2 * r);
  } else if (kind === "D") {
    pen.moveTo(x, y - 1.3 * r); pen.lineTo(x + 1.3 * r, y); pen.lineTo(x, y + 1.3 * r);
    pen.lineTo(x - 1.3 * r, y); pen.closePath();
  } else if (kind === "P") {
    pen.rect(x - 1.3 * r, y - 0.5 * r, 2.6 * r, r); pen.rect(x - 0.5 * r, y - 1.3 * r, r, 2.6 * r);
  } else { pen.arc(x, y, r, 0, 2 * Math.PI); }
  pen.fill();
}

function line(points, color, width, height) {
  pen.strokeStyle = color;
  pen.beginPath();
  points.forEach((point, n) => {
    const [x, y] = project(point, width, height);
    if (n) pen.lineTo(x, y); else pen.moveTo(x, y);
  });
  pen.stroke();
}

function frame(width, height) {
  pen.lineWidth = 1;
  data.axes.forEach((name, k) => {
    const ends = [0, 1].map(end => bounds.map((bound, j) => bound[j === k ? end : 0]));
    line(ends, "#999", width, height);
    const [x, y] = project(ends[1], width, height);
    pen.fillStyle = "#444";
    pen.fillText(name, x + 4, y - 4);
  });
}

function draw() {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  canvas.width = box.width * ratio; canvas.height = box.height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  pen.font = "12px 'DejaVu Sans', Verdana, sans-serif";
  frame(box.width, box.height);
  drawn = [];
  data.clouds.forEach((cloud, c) => {
    if (state.hidden.has(c)) return;
    cloud.points.forEach((point, n) => drawn.push([...project(point, box.width, box.height), c, n]));
  });
  drawn.sort((a, b) => b[2] - a[2]); // the farthest first
  for (const [x, y, , c] of drawn) {
    pen.fillStyle = data.clouds[c].color;
    marker(data.clouds[c].marker, x, y, RADIUS);
  }
  pen.lineWidth = 1.5;
  for (const curve of data.curves) line(curve.points, curve.color, box.width, box.height);
  pen.font = "bold 14px 'DejaVu Sans', Verdana, sans-serif";
  pen.fillStyle = "#000";
  for (const mark of data.marks) {
    const [x, y] = project(mark.point, box.width, box.height);
    pen.fillText(mark.text, x + 5, y - 5);
  }
}

function hover(event) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  let found = null, least = NEAR * NEAR;
  for (const point of drawn) { // of equal ones the last, which lies in front
    const gap = (point[0] - x) ** 2 + (point[1] - y) ** 2;
    if (gap <= least) { least = gap; found = point; }
  }
  label.style.display = found ? "block" : "none";
  if (!found) return;
  label.textContent = data.clouds[found[3]].labels[found[4]];
  label.style.left = `${Math.min(event.clientX + 12, window.innerWidth - 240)}px`;
  label.style.top = `${event.clientY + 12}px`;
}

function turn(right, up) {
  state.yaw += right;
  state.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, state.pitch + up));
  draw();
}

function zoom(factor) {
  state.zoom = Math.max(0.2, Math.min(100, state.zoom * factor));
  draw();
}

function checkbox(text, color, checked, changed) {
  const box = document.createElement("label"), input = document.createElement("input");
  const name = document.createElement("span");
  input.type = "checkbox"; input.checked = checked; name.textContent = text; name.style.color = color;
  input.addEventListener("change", () => { changed(input.checked); draw(); });
  box.append(input, name);
  legend.append(box);
}

data.clouds.forEach((cloud, c) => checkbox(`\\u25CF ${cloud.name}`, cloud.color, true, shown => {
  if (shown) state.hidden.delete(c); else state.hidden.add(c);
}));
checkbox("equal scale of all axes", "#444", false, equal => { state.equal = equal; });
canvas.addEventListener("pointerdown", event => {
  state.drag = [event.clientX, event.clientY];
  canvas.setPointerCapture(event.pointerId);
  label.style.display = "none";
});
canvas.addEventListener("pointermove", event => {
  if (!state.drag) return hover(event);
  turn((event.clientX - state.drag[0]) * 0.008, (event.clientY - state.drag[1]) * 0.008);
  state.drag = [event.clientX, event.clientY];
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, () => { state.drag = null; });
canvas.addEventListener("pointerleave", () => { label.style.display = "none"; });
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.001));
}, { passive: false });
canvas.addEventListener("dblclick", () => { Object.assign(state, START); draw(); });
canvas.addEventListener("keydown", event => {
  const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  const zooms = { "+": 1.2, "-": 1 / 1.2 };
  if (turns[event.key]) turn(...turns[event.key]);
  else if (zooms[event.key]) zoom(zooms[event.key]);
  else return;
  event.preventDefault();
});
window.addEventListener("resize", draw);
draw();
</script>
</body>
</html>
"""
