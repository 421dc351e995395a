"""Peak memory of distances out of core, and what smaller forms of storage would cost in accuracy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up_predictions import prediction_store, softmax, trajectory

from pipeline.geometry.bhattacharyya import pairwise_distances

CHILD = """
import sys
from pathlib import Path
import dask
from made_up_predictions import RECORD, ROOTS
from pipeline.geometry.bhattacharyya.sources import prediction_sources
from pipeline.geometry.bhattacharyya.stored import measure_tiles
with dask.config.set(scheduler="threads", num_workers=2):
    measure_tiles(prediction_sources([sys.argv[1]], ROOTS), Path(sys.argv[2]), RECORD, side=256)
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""


def peak_mb(folder: Path, models: int, samples: int) -> float:
    """Largest memory of a process of its own that computes all distances, in MB."""
    random = np.random.default_rng(0)
    p = softmax(random.standard_normal((models, samples, 10), dtype=np.float32))
    store = prediction_store(folder / f"p_{models}_{samples}", p, samples=200)
    command = [sys.executable, "-c", CHILD, str(store), str(folder / f"d_{models}_{samples}")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    return float(done.stdout) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
def test_memory_depends_neither_on_samples_nor_on_models(tmp_path: Path) -> None:
    small = peak_mb(tmp_path, 512, 600)
    assert peak_mb(tmp_path, 512, 2800) < small + 20  # the predictions alone grow by 45 MB
    assert peak_mb(tmp_path, 1600, 600) < small + 30  # by 26 MB, and the matrix by 18


# error of D -> how roots of probabilities are rounded; float32 is what stores hold
FORMS = {
    "float32": (5e-8, lambda r: r.astype(np.float32)),
    "uint16": (3e-5, lambda r: np.round(r * 65535) / 65535),
    "float16": (2e-4, lambda r: r.astype(np.float16)),
    "uint8": (1e-2, lambda r: np.round(r * 255) / 255),
}


def test_float32_is_the_form_of_storage_that_keeps_distances() -> None:
    p = np.concatenate([trajectory(seed, steepness=4.0)[0] for seed in (0, 1)])
    exact, errors = pairwise_distances(p), {}
    for name, (limit, rounded) in FORMS.items():
        roots = rounded(np.sqrt(p)).astype(np.float64)
        squares = roots**2
        found = pairwise_distances(squares / squares.sum(axis=2, keepdims=True))
        errors[name] = np.abs(found - exact).max()
        assert errors[name] < limit, name
    assert sorted(errors, key=lambda name: errors[name]) == list(FORMS)
    assert errors["uint16"] > 10 * errors["float32"]
