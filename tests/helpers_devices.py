"""An analysis that computes on the CPU unless told, and claims a GPU and says so where it is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import xarray as xr

from pipeline.runs import RunGroups


def check_device(
    analysis: Callable[[RunGroups, dict[str, Any]], xr.Dataset],
    data: RunGroups,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a GPU in name only: what would be computed on it is computed here."""
    claimed: list[str] = []

    @contextlib.contextmanager
    def claim(device: str, jobs_per_gpu: int) -> Iterator[None]:
        claimed.append(device)
        yield

    monkeypatch.setattr(f"{analysis.__module__}.claimed_gpu", claim)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options: dict[str, Any] = {"seeds": 1, "kept": 3}
    plain = analysis(data, options)
    assert claimed == ["cpu"]
    assert "device" not in plain.attrs["options"]
    assert analysis(data, options | {"device": "cpu"}).identical(plain)
    monkeypatch.setattr(f"{analysis.__module__}.chosen_device", lambda device: "cpu")
    found = analysis(data, options | {"device": "auto"})
    assert claimed == ["cpu", "cpu", "auto"]
    assert found.attrs["options"] == plain.attrs["options"] | {"device": "cpu"}
    assert found.equals(plain)
