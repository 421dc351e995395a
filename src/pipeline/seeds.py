"""Named, independent random streams: one per (root, stream, seed, purpose) and counter.

The generator is NumPy's Philox keyed by a SHA-256 of the name, so that streams do not overlap, do not
depend on the order in which they are asked for, and need no state to be saved for a resumed run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import ConfigError

PURPOSES = ("init", "order", "augmentation", "labels", "noise", "pruning", "analysis", "data")


def generator(
    root: int, stream: str, seed: int, purpose: str, *counters: int
) -> np.random.Generator:
    """The random generator of one purpose of one seed.

    Arguments
    ---------
    root: the workflow's root seed (config key ``seed``).
    stream: name of the stream, the run's ``init_stream`` for ``init``, else the run's name.
    seed: index of the network within the run.
    purpose: one of ``PURPOSES``.
    counters: further integers, such as the epoch of a data order.

    Raises ConfigError for an unknown purpose.
    """
    if purpose not in PURPOSES:
        raise ConfigError(f"{purpose!r} is no random stream; known are: {', '.join(PURPOSES)}.")
    name = "/".join(
        [str(int(root)), stream, str(int(seed)), purpose, *(str(int(c)) for c in counters)]
    )
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def stream_name(run: Mapping[str, Any]) -> str:
    """The name of a run's own random streams, from its resolved configuration."""
    return f"{run['paper']}/{run['name']}"
