"""Denormal numbers, freed memory."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from pipeline.hardware import flushed_denormals, kept_denormals
from pipeline.predictors.record import predictions

SMALL = 1e-40


def product() -> float:
    return float(torch.tensor([SMALL], dtype=torch.float32) * torch.tensor([0.5]))


def test_denormals_count_as_zero_only_where_they_should() -> None:
    assert product() > 0
    with flushed_denormals():
        assert product() == 0
        with kept_denormals():
            assert product() > 0
        with flushed_denormals():
            assert product() == 0
        assert product() == 0
    assert product() > 0


def test_recorded_roots_keep_denormals() -> None:
    """A probability of 1e-84 has the root 1e-42, which is recorded as such."""
    network = nn.Identity()
    logits = torch.tensor([[0.0, -193.4]])
    batches = [(logits, torch.tensor([0]))]
    with flushed_denormals():
        roots, _ = predictions(network, batches, "float32")
    assert 0 < float(roots[0, 1].double()) < 1.2e-38


def test_freed_memory_is_kept() -> None:
    """In a process of its own: the same large array, made again and again, faults pages in once."""
    code = (
        "import resource, torch; torch.set_num_threads(1)\n"
        "from pipeline.hardware import keep_freed_memory\n"
        "found = keep_freed_memory()\n"
        "for _ in range(3): torch.ones(8_000_000)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): torch.ones(8_000_000)\n"
        "print(found, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, faults = said.stdout.split()
    assert found == "False" or int(faults) < 80_000  # else 20 times 7,800
