"""environment.yml, CITATION.cff and LICENSE against pyproject.toml, which is the one source."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_environment_has_python_pip_and_the_package_only(project: dict[str, Any]) -> None:
    environment = read("environment.yml")
    assert environment["name"] == project["name"]
    assert environment["channels"] == ["conda-forge"]
    python, pip, by_pip = environment["dependencies"]
    assert pip == "pip"
    lowest = re.fullmatch(r">=(\d+\.\d+)", project["requires-python"])
    assert lowest is not None
    assert python == f"python={lowest[1]}"
    (package,) = by_pip["pip"]
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", package)
    assert extras is not None
    assert sorted(extras[1].split(",")) == sorted(project["optional-dependencies"])


def test_citation_agrees_with_the_project_and_names_the_papers(project: dict[str, Any]) -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]["text"]
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in project["authors"]
    ]
    first = [
        (paper["authors"][0]["family-names"], paper["year"]) for paper in citation["references"]
    ]
    assert first == [("Ciceri", 2024), ("Stephenson", 2021), ("Mao", 2024)]
    for paper in citation["references"]:
        assert paper["type"] in ("article", "conference-paper")
        assert paper["title"]
        assert all({"family-names", "given-names"} == set(author) for author in paper["authors"])


def test_licence_is_the_projects(project: dict[str, Any]) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith(f"{project['license']['text']} License")
    assert project["authors"][0]["name"] in text


def test_changelog_has_an_unreleased_section() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = text.split("## [Unreleased]", 1)[1].split("\n## ", 1)[0]
    assert "### Added" in section
    assert section.count("\n- ") > 3
