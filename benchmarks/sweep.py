"""Minutes of a pruning sweep as in Fig. 2c, through the workflow: 20 training errors, 8 networks, 500 epochs.

    python benchmarks/sweep.py [--cores 2] [--data data]

For float32 and bf16, a copy of the workflow in a temporary folder trains the source of the sets (not
timed), then the sweep and its random controls, each timed as a whole command: start-up of Snakemake and
of every job, training, stores. MNIST, P = 8192, two layers of 20 units.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.config import load_config
from pipeline.provenance import machine

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "config", "profiles", "src", "workflow")


def snakemake(folder: Path, cores: int, settings: list[str], targets: list[str]) -> float:
    """Seconds of one command; a failure ends the benchmark."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all"]
    start = time.perf_counter()
    subprocess.run([*command, "--config", *settings, "--", *targets], cwd=folder, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    arguments = parser.parse_args()
    runs = "results/laptop/runs/stragglers"
    sweep = load_config(ROOT)["stragglers"]["groups"]["sweep"]
    errors = [name.removeprefix("sweep_") for name in sweep]
    print(machine()["cpu"], f"{arguments.cores} cores")
    for precision in ("float32", "bf16"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for part in PARTS:
                copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
                copy(ROOT / part, folder / part)
            settings = [
                f"data={{root: {arguments.data.resolve()}}}",
                f"compute={{precision: {precision}}}",
                "stragglers={runs: {main: {seeds: 8}, pruned: {seeds: 8}, pruned_random: {seeds: 8}, "
                "sweep_random: {grid: {prune_error: "
                f"[{', '.join(errors)}]}}}}}}}}",
            ]
            snakemake(folder, arguments.cores, settings, [f"{runs}/main/manifest.json"])
            for group in ("sweep", "sweep_random"):
                targets = [f"{runs}/{group}_{error}/manifest.json" for error in errors]
                seconds = snakemake(folder, arguments.cores, settings, targets)
                took = f"{len(targets)} runs in {seconds / 60:.1f} min"
                print(f"{precision:8} {group:12} {took}", flush=True)


if __name__ == "__main__":
    main()
