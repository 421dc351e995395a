"""Redraw Figure 1b of the stragglers paper from a finished run, without Snakemake.

    python examples/redraw_figure.py results/laptop fig1b.png

Opens the stores of one run as xarray datasets and draws means over its networks, with bands of one
standard deviation: the two radii, the distance, and the training and test error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from pipeline.analysis.inversion import inversion_of
from pipeline.store.reader import open_store

PANELS = {
    "radius": ["radius_plus", "radius_minus"],
    "distance": ["distance"],
    "error": ["train_error", "test_error"],
}


def read(results: Path, paper: str, run: str) -> tuple[xr.Dataset, xr.Dataset]:
    """The curves (seed, epoch) of a run's healthy networks, and their inversion points (seed)."""
    names = [name for panel in PANELS.values() for name in panel]
    trajectories = open_store(results / "runs" / paper / run, [*names, "failed_epoch"])
    group = open_store(results / "inversion" / paper / run).load()  # of a grid: its entry's name
    inversion = inversion_of(group, run)
    curves = trajectories[names].isel(layer=0).load()
    return curves.sel(seed=inversion["seed"]), inversion  # networks that diverged have no inversion


def draw(curves: xr.Dataset, inversion: xr.Dataset) -> Figure:
    """Three panels above each other over the epoch (logarithmic; epoch 0 is shown at 0.5)."""
    figure = Figure(figsize=(4, 6), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    epochs = curves["epoch"].clip(min=0.5)
    turns = [float(inversion[f"epoch_{of}"].mean()) for of in ("plus", "minus", "distance")]
    for axes, (label, names) in zip(panels, PANELS.items(), strict=True):
        for name in names:
            mean, sd = curves[name].mean("seed"), curves[name].std("seed")
            axes.plot(epochs, mean, label=name.replace("_", " "))
            axes.fill_between(epochs, mean - sd, mean + sd, alpha=0.3)
        axes.axvspan(min(turns), max(turns), color="0.85", zorder=0)
        axes.set_ylabel(label)
        axes.legend(frameon=False)
    panels[-1].set(xscale="log", xlabel="epoch")
    phi = inversion["phi"]
    panels[0].set_title(f"{phi.size} networks, phi = {float(phi.mean()):.4f}")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, draw, save."""
    parser = argparse.ArgumentParser(description="Redraw Figure 1b from a finished run.")
    parser.add_argument("results", type=Path, help="results of one scale, such as results/laptop")
    parser.add_argument("output", type=Path, help="picture to write, such as fig1b.png")
    parser.add_argument("--paper", default="stragglers")
    parser.add_argument("--run", default="main")
    chosen = parser.parse_args(arguments)
    draw(*read(chosen.results, chosen.paper, chosen.run)).savefig(chosen.output, dpi=200)
    print(f"wrote {chosen.output}")


if __name__ == "__main__":
    main()
