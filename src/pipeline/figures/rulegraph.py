"""The workflow's rules and what they need of each other, drawn without Graphviz."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import PipelineError

NODE = re.compile(r'(\d+)\[label\s*=\s*"([^"\\]+)')
EDGE = re.compile(r"(\d+)\s*->\s*(\d+)")


def rule_edges(overrides: dict[str, Any]) -> set[tuple[str, str]]:
    """(needed rule, needing rule) of the default target; all figures of a paper count as one rule."""
    config = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", "--forceall", "--nolock"]
    command += ["--cores", "1", *(["--config", *config] if config else []), "--", "all"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PipelineError(f"the rule graph could not be listed: {done.stderr.strip()[-300:]}")
    return parse_edges(done.stdout)


def parse_edges(dot: str) -> set[tuple[str, str]]:
    """The edges of a graph in Graphviz's language, by rule name."""
    names = {number: _family(label) for number, label in NODE.findall(dot)}
    edges = {(names[a], names[b]) for a, b in EDGE.findall(dot) if a in names and b in names}
    return {(a, b) for a, b in edges if a != b}


def _family(rule: str) -> str:
    return re.sub(r"^(fig_[a-z0-9]+)_\w+$", r"\1_...", rule)


def layer_numbers(edges: set[tuple[str, str]]) -> dict[str, int]:
    """Longest path to each rule from a rule that needs nothing, by edges that lead onwards."""
    depth = {name: 0 for edge in edges for name in edge}
    onwards = edges - backward_edges(edges)
    for _ in depth:
        for below, above in onwards:
            depth[above] = max(depth[above], depth[below] + 1)
    return depth


def backward_edges(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges that close a circle of rules, as that of runs pruned by the inversions of other runs.

    Of a circle, the edge that leads to a rule no farther from the start than the one it comes from.
    """
    above: dict[str, set[str]] = {name: set() for edge in edges for name in edge}
    for a, b in edges:
        above[a].add(b)
    steps = {name: 0 for name in set(above) - {b for _, b in edges}}
    reached = {name: _reach(name, above) for name in above}
    for distance in range(len(above)):
        for name in [name for name, value in steps.items() if value == distance]:
            for other in above[name]:
                steps.setdefault(other, distance + 1)
    return {(a, b) for a, b in edges if a in reached[b] and steps.get(b, 0) <= steps.get(a, 0)}


def _reach(name: str, above: dict[str, set[str]]) -> set[str]:
    """The rules that need a rule, however indirectly; with itself if it is in a circle."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = above[ahead.pop()] - found
        found |= new
        ahead += new
    return found


ROW = 0.85  # inches between rows
HALF_BOX = (0.55, 0.2)  # inches, with some air
BENDS = (0.0, 0.12, -0.12, 0.25, -0.25, 0.4, -0.4, 0.55, -0.55, 0.7, -0.7)


def box_places(edges: set[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Column and row of each rule's box: rows by layer."""
    depth = layer_numbers(edges)
    places: dict[str, tuple[float, float]] = {}
    for level in range(max(depth.values()) + 1):
        row = sorted(name for name, value in depth.items() if value == level)
        for position, name in enumerate(row):
            places[name] = (position - (len(row) - 1) / 2, -level)
    return places


def bend(start: str, end: str, places: dict[str, np.ndarray]) -> float:
    """How much an arrow is bent, as Matplotlib's arc3 has it, to pass beside the boxes of other rules.

    A straight one behind a box would seem to end there. places: centres of boxes, inches.
    """
    a, b = places[start], places[end]
    others = np.array([place for name, place in places.items() if name not in (start, end)])
    along = np.linspace(0, 1, 101)[:, None]
    met = []
    for rad in BENDS:
        middle = (a + b) / 2 + rad * np.array([b[1] - a[1], a[0] - b[0]])
        line = (1 - along) ** 2 * a + 2 * along * (1 - along) * middle + along**2 * b
        away = np.abs(line[:, None] - others)
        met.append((away < HALF_BOX).all(axis=2).any(axis=0).sum() if len(others) else 0)
    return BENDS[int(np.argmin(met))]


def draw_rulegraph(base: Path, overrides: dict[str, Any]) -> None:
    """Write ``base``.png and .svg: rules as boxes, needed above needing."""
    from pipeline.figures.style import BLUE, DOUBLE, new_figure, paper_style

    edges = rule_edges(overrides)
    back = backward_edges(edges)
    places = box_places(edges)
    levels = 1 - min(y for _, y in places.values())
    columns = [x for x, _ in places.values()]
    left, right = min(columns) - 0.7, max(columns) + 0.7
    scale = np.array([DOUBLE / (right - left), ROW])
    inches = {name: scale * place for name, place in places.items()}
    with paper_style():
        picture = new_figure(DOUBLE, ROW * levels)
        axes = picture.add_subplot()
        box = {"boxstyle": "round,pad=0.45", "fc": "white", "ec": BLUE}

        def put(zorder: int) -> dict[str, Any]:
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "bbox": box}
            style["zorder"] = zorder
            return {name: axes.text(x, y, name, **style) for name, (x, y) in places.items()}

        boxes = put(zorder=1)  # arrows end at their edges
        for below, above in sorted(edges):
            ends = {
                "patchA": boxes[below].get_bbox_patch(),
                "patchB": boxes[above].get_bbox_patch(),
            }
            arrow: dict[str, Any] = {
                "arrowstyle": "-|>",
                "color": "0.5",
                "lw": 0.9,
                "shrinkA": 0,
                "shrinkB": 1,
            }
            # one that leads back, beside the one that leads onwards
            rad = -0.5 if (below, above) in back else bend(below, above, inches)
            arrow["connectionstyle"] = f"arc3,rad={rad}"
            axes.annotate("", places[above], places[below], arrowprops=arrow | ends, zorder=2)
        put(zorder=3)  # over arrows that pass behind
        axes.set_xlim(left, right)
        axes.set_ylim(0.5 - levels, 0.5)
        axes.axis("off")
        base.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".png", ".svg"):
            picture.savefig(base.with_suffix(suffix), dpi=300)
