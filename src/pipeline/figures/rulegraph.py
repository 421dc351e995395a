"""The workflow's rules and what they need of each other, drawn without Graphviz."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def draw_rulegraph(base: Path, overrides: dict[str, Any]) -> None:
    """Write ``base``.png and .svg: rules as boxes, needed above needing."""
    from pipeline.figures.style import BLUE, DOUBLE, new_figure, paper_style

    edges = rule_edges(overrides)
    back = backward_edges(edges)
    depth = layer_numbers(edges)
    places: dict[str, tuple[float, float]] = {}
    for level in range(max(depth.values()) + 1):
        row = sorted(name for name, value in depth.items() if value == level)
        for position, name in enumerate(row):
            places[name] = (position - (len(row) - 1) / 2, -level)
    with paper_style():
        picture = new_figure(DOUBLE, 0.85 * (max(depth.values()) + 1))
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
            if (below, above) in back:  # beside the edge that leads onwards
                arrow |= {"connectionstyle": "arc3,rad=-0.5"}
            axes.annotate("", places[above], places[below], arrowprops=arrow | ends, zorder=2)
        put(zorder=3)  # over arrows that pass behind
        columns = [x for x, _ in places.values()]
        axes.set_xlim(min(columns) - 0.7, max(columns) + 0.7)
        axes.set_ylim(-max(depth.values()) - 0.5, 0.5)
        axes.axis("off")
        base.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".png", ".svg"):
            picture.savefig(base.with_suffix(suffix), dpi=300)
