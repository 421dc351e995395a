"""What a data store holds, read from its manifest alone: no array is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store import manifest

COMPLETE, SUBSTITUTED, UNAVAILABLE = "complete", "substituted", "unavailable"


@dataclass(frozen=True)
class DataStatus:
    """What a data store holds.

    Attributes
    ----------
    status: complete, substituted or unavailable.
    reason: one sentence on what stands in, or why there is nothing; empty where data are complete.
    train_samples, test_samples: how many there are; 0 where data are unavailable.
    """

    status: str
    reason: str
    train_samples: int
    test_samples: int


def data_status(folder: Path | str) -> DataStatus:
    """The status of the data store in ``folder``, from its manifest alone.

    Raises StoreError, with what rebuilds the store, where the manifest is missing, altered or
    states no status.
    """
    attrs = manifest.read(folder)["attrs"]
    sentences = {
        COMPLETE: "",
        SUBSTITUTED: attrs.get("substitution"),
        UNAVAILABLE: attrs.get("reason"),
    }
    status = attrs.get("status")
    counts = [attrs.get(f"{split}_samples") for split in ("train", "test")]
    if sentences.get(status) is None or None in counts:
        raise StoreError(
            f"{manifest.manifest_path(folder)} does not say what of its data set there is "
            f"(status {status!r}): {manifest.remedy(folder)}."
        )
    return DataStatus(status, sentences[status], *map(int, counts))
