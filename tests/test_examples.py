"""The examples, run on small inputs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pipeline.analysis.inversion import find_inversions, group_inversions
from pipeline.errors import StoreError
from pipeline.provenance import provenance
from pipeline.store.writer import write_dataset
from pipeline.training.ensemble import train_ensemble

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_results(folder: Path, learning_rate: float = 0.5, seeds: int = 3) -> None:
    """A run of small networks on two noisy clouds of points, and its inversion, as stores."""
    random = np.random.default_rng(0)
    labels = np.where(np.arange(60) % 2, 1, -1)
    images = random.normal(size=(60, 8)) + 0.8 * labels[:, None]
    run = train_ensemble(
        images,
        labels,
        test_images=images[:20],
        test_labels=labels[:20],
        seeds=seeds,
        width=3,
        epochs=15,
        learning_rate=learning_rate,
        layers=[1],
        precision="float64",
    )
    made = provenance(config={})
    write_dataset(run.assign_attrs(samples=60), folder / "runs/stragglers/main", made)
    points = group_inversions({"main": find_inversions(run, layer=1)})
    write_dataset(points, folder / "inversion/stragglers/main", made)


def test_a_figure_is_redrawn_from_stores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "results")
    picture = tmp_path / "fig1b.png"
    example = load_example("redraw_figure")
    example.main([str(tmp_path / "results"), str(picture)])
    assert capsys.readouterr().out == f"wrote {picture}\n"
    with Image.open(picture) as image:
        assert image.size == (800, 1200)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    curves, inversion = example.read(tmp_path / "results", "stragglers", "main")
    assert curves["radius_plus"].shape == (3, 16)
    figure = example.draw(curves, inversion)
    drawn = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, curves["radius_plus"].mean("seed").values)


def test_redrawing_refuses_a_damaged_store(tmp_path: Path) -> None:
    write_results(tmp_path)
    chunk = next(path for path in (tmp_path / "runs").rglob("distance/c/**/*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match="distance"):
        load_example("redraw_figure").main([str(tmp_path), str(tmp_path / "fig.png")])


def test_an_ensemble_is_trained_and_its_inversion_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    load_example("train_ensemble").main(["--seeds", "2", "--epochs", "60", "--samples", "512"])
    *networks, mean = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in networks] == ["seed 0", "seed 1"]
    found = [float(line.split("phi = ")[1].split()[0]) for line in networks]
    assert all(0.05 < phi < 0.15 for phi in found)
    assert float(mean.split()[2].rstrip(",")) == pytest.approx(np.mean(found), abs=1e-4)
    assert mean.endswith("mean of 2 networks")
