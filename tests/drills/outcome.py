"""What a drill found, and the table of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Files below results/<scale> that are results, and not about times.
RESULTS = (
    *("**/manifest.json", "claims/*.json"),
    *("figures/**/*.csv", "figures/**/*.rst", "figures/**/*.png", "figures/**/*.svg"),
)


class Impossible(RuntimeError):
    """A drill that cannot be carried out on this machine; the reason in one sentence."""


@dataclass(frozen=True)
class Outcome:
    """One row of the table.

    detected: of the ``tries``, those in which the fault was noticed and named, or harmless by design.
    lost: results that differed afterwards, or were accepted though damaged. note: how it shows.
    """

    fault: str
    tries: int
    detected: int
    lost: int
    note: str

    @property
    def passed(self) -> bool:
        """Everything was detected and nothing lost."""
        return self.tries > 0 and self.detected == self.tries and not self.lost


def digests(results: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every result below results/<scale>."""
    return {
        path.relative_to(results).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in RESULTS
        for path in sorted(results.glob(pattern))
    }


def folders_with(name: str, root: Path) -> list[Path]:
    """Folders below ``root`` that hold a file or folder of that name; stores are not searched.

    Folders that disappear meanwhile are passed over, as a running workflow removes some.
    """
    found = []
    for where, folders, files in os.walk(root):
        if name in folders or name in files:
            found.append(Path(where))
        folders[:] = [folder for folder in folders if not folder.endswith(".zarr")]
    return found


def differing(ours: Mapping[str, str], reference: Mapping[str, str]) -> list[str]:
    """Results that the reference has otherwise, or that only one of both has."""
    names = ours.keys() | reference.keys()
    return sorted(name for name in names if ours.get(name) != reference.get(name))


def arrays_of(manifest: Path) -> dict[str, str]:
    """Array -> SHA-256, from a manifest."""
    content = json.loads(manifest.read_text())
    return {name: entry["sha256"] for name, entry in content["arrays"].items()}


def table(outcomes: Iterable[Outcome | tuple[str, Impossible]]) -> str:
    """The table of docs/reliability.md."""
    lines = [
        "| fault | tries | detected | lost | how it shows |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        if isinstance(one, Outcome):
            row = (one.fault, str(one.tries), str(one.detected), str(one.lost), one.note)
        else:
            row = (one[0], "0", "", "", f"not tried: {one[1]}")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
