"""Folders and files of what may be made again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pipeline.user_cache import NAME, user_cache


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A user's cache and a temporary folder of the test's own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return tmp_path / "cache", temporary


def test_it_lies_in_the_users_cache(places: tuple[Path, Path]) -> None:
    folder = user_cache("kernels")
    assert folder == places[0] / NAME / "kernels"
    assert folder.is_dir()
    assert user_cache("kernels") == folder


def test_else_in_the_users_part_of_the_temporary_folder(places: tuple[Path, Path]) -> None:
    places[0].write_text("no folder")
    own = places[1] / f"{NAME}-{os.getuid()}"
    assert user_cache("kernels") == own / "kernels"
    assert own.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("taken", ["somebody else's", "a link", "open to all"])
def test_a_temporary_folder_that_is_not_ones_own_is_passed_over(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    places[0].write_text("no folder")
    me = os.getuid()
    if taken == "somebody else's":
        (places[1] / f"{NAME}-{me + 1}").mkdir(mode=0o700)
        monkeypatch.setattr(os, "getuid", lambda: me + 1)
    elif taken == "a link":
        (places[1] / "elsewhere").mkdir(mode=0o700)
        (places[1] / f"{NAME}-{me}").symlink_to("elsewhere")
    else:
        (places[1] / f"{NAME}-{me}").mkdir()
        (places[1] / f"{NAME}-{me}").chmod(0o777)
    assert user_cache("kernels") is None


def test_a_relative_place_does_not_count(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache("kernels") == tmp_path / "home" / ".cache" / NAME / "kernels"
