"""Fetching: archives extracted by name, pinned packages, and mirrors that cannot hold one up."""

from __future__ import annotations

import hashlib
import io
import socket
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.data import mirrors, packages
from pipeline.data.files import Unavailable
from pipeline.data.packages import Package
from pipeline.errors import DataError

MEMBERS = {"inner/images": "images", "inner/labels": "labels"}
CONTENT = {"inner/images": b"i" * 1000, "inner/labels": b"0123"}
EVIL = ("../evil", "/tmp/evil-absolute", "inner/../../evil", "inner/other")  # noqa: S108


def wheel(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def tarball(path: Path, content: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
    return path


def make(kind: str, folder: Path, content: dict[str, bytes]) -> Path:
    if kind == "wheel":
        return wheel(folder / "made_up-1.0-py3-none-any.whl", content)
    return tarball(folder / "made-up-1.0.tgz", content)


@pytest.mark.parametrize("kind", ["wheel", "tarball"])
def test_extracts_the_named_members_and_nothing_else(tmp_path: Path, kind: str) -> None:
    archive = make(kind, tmp_path, {**CONTENT, **dict.fromkeys(EVIL, b"evil")})
    target = tmp_path / "a" / "target"
    target.mkdir(parents=True)
    files = packages.extract(archive, MEMBERS, target)
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "images": b"i" * 1000,
        "labels": b"0123",
    }
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - {archive}
    assert written == {target / "images", target / "labels"}


@pytest.mark.parametrize("kind", ["wheel", "tarball"])
def test_a_named_member_that_points_elsewhere_stays_inside(tmp_path: Path, kind: str) -> None:
    archive = make(kind, tmp_path, {"../evil": b"data"})
    target = tmp_path / "a" / "target"
    target.mkdir(parents=True)
    files = packages.extract(archive, {"../evil": "images"}, target)
    assert files == {"images": target / "images"}
    with pytest.raises(DataError, match="no plain file name"):
        packages.extract(archive, {"../evil": "../evil"}, target)
    assert not (tmp_path / "a" / "evil").exists()


@pytest.mark.parametrize("kind", ["wheel", "tarball"])
def test_missing_member_is_named(tmp_path: Path, kind: str) -> None:
    archive = make(kind, tmp_path, {"inner/images": b""})
    with pytest.raises(Unavailable, match="holds no inner/labels"):
        packages.extract(archive, MEMBERS, tmp_path)


@pytest.mark.parametrize("kind", ["wheel", "tarball"])
def test_truncated_archive_is_refused(tmp_path: Path, kind: str) -> None:
    archive = make(kind, tmp_path, CONTENT)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(Unavailable, match="cannot be unpacked"):
        packages.extract(archive, MEMBERS, tmp_path)


def test_link_in_a_tarball_is_refused(tmp_path: Path) -> None:
    archive = tarball(tmp_path / "links.tgz", {}, links=("inner/images",))
    with pytest.raises(Unavailable, match="no regular file"):
        packages.extract(archive, MEMBERS, tmp_path)
    assert not (tmp_path / "images").exists()


# --- pip and npm --------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Package:
    original = wheel(tmp_path / "original.whl", CONTENT)
    checksum = hashlib.sha256(original.read_bytes()).hexdigest()
    return Package("pypi", "made-up", "1.0", checksum, MEMBERS)


def fake_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Let the registry's tool be a shell script that runs in the staging folder."""
    tool = tmp_path / "tool.sh"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(packages, "_pip_command", lambda package, stage: [str(tool)])


def test_pinned_package_is_fetched_and_cleared_away(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool(monkeypatch, tmp_path, f"cp {tmp_path / 'original.whl'} got.whl")
    seen: dict[str, bytes] = {}
    folder = tmp_path / "root" / "raw"
    packages.fetch_members(
        package, folder, lambda files: seen.update({n: p.read_bytes() for n, p in files.items()})
    )
    assert seen == {"images": b"i" * 1000, "labels": b"0123"}
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo evil > got.whl", "refused got.whl, its sha256 is"),
        ("true", "left 0 files instead of one"),
        ("echo 'WARNING: x' >&2; echo 'ERROR: No match found' >&2; exit 1", "ERROR: No match"),
        ("exit 3", "failed without a word"),
        ("sleep 5", "no answer in 0.2 s"),
    ],
)
def test_failing_registry_is_one_sentence(
    tmp_path: Path,
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    reason: str,
) -> None:
    fake_tool(monkeypatch, tmp_path, script)
    monkeypatch.setattr(packages, "FETCH_SECONDS", 0.2 if "sleep" in script else 30)
    with pytest.raises(Unavailable, match=reason) as caught:
        packages.fetch_members(package, tmp_path / "raw", lambda files: pytest.fail("not to use"))
    assert "pypi made-up==1.0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "raw").iterdir()) == []


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match="npm is not installed"):
        packages.download(Package("npm", "made-up", "1.0", "", {}), tmp_path)


def test_unknown_registry(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known are: npm, pypi"):
        packages.download(Package("conda", "made-up", "1.0", "", {}), tmp_path)


def test_commands_install_and_run_nothing(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = packages._pip_command(package, tmp_path)
    assert pip[1:4] == ["-m", "pip", "download"]
    assert pip[pip.index("--only-binary") + 1] == ":all:"
    assert "--no-deps" in pip
    assert pip[-1] == "made-up==1.0"
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/somewhere/{name}")
    npm = packages._npm_command(package, tmp_path)
    assert npm[:2] == ["/somewhere/npm", "pack"]
    assert "--ignore-scripts" in npm
    assert npm[-1] == "made-up@1.0"


def test_telling_line_of_npm() -> None:
    output = (
        "npm warn Unknown user config\nnpm error code ENOTFOUND\n"
        "npm error network request to https://x/y failed, reason: getaddrinfo ENOTFOUND x\n"
        "npm error network\nnpm error A complete log of this run can be found in: /root/l.log\n"
    )
    assert packages.telling_line(output).endswith("reason: getaddrinfo ENOTFOUND x")


# --- mirrors ------------------------------------------------------------------------------------

BODY = b"published bytes" * 1000


class Mirror(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/silent":
            time.sleep(1.0)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.path == "/stalls":
            self.wfile.write(BODY[:10])
            self.wfile.flush()
            time.sleep(1.0)
        elif self.path == "/breaks":
            self.wfile.write(BODY[:10])
        elif self.path == "/drips":
            for start in range(30):
                self.wfile.write(BODY[start : start + 1])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(BODY if self.path == "/good" else BODY[::-1])

    def log_message(self, format: str, *args: object) -> None:
        pass


class QuietServer(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the client hangs up on purpose


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = QuietServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_mirror_download(tmp_path: Path, mirror: str) -> None:
    mirrors.download(f"{mirror}/good", tmp_path / "file", md5(BODY))
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "Not Found"),
        ("silent", "no answer in 0.3 s"),
        ("stalls", "no byte for 0.5 s"),
        ("breaks", "broke off after 10 of 15000 bytes|more expected"),
        ("drips", "too slow"),
        ("other", "refused, its md5 is"),
    ],
)
def test_mirror_faults_cost_little(
    tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    monkeypatch.setattr(mirrors, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(mirrors, "STALL_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(Unavailable, match=reason) as caught:
        mirrors.download(f"{mirror}/{path}", tmp_path / "file", md5(BODY))
    assert time.monotonic() - started < 5
    assert f"{mirror}/{path}" in str(caught.value)


def test_mirror_that_accepts_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mirrors, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(mirrors, "STALL_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/file"
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer in 0\.2 s"):
            mirrors.download(url, tmp_path / "file", md5(BODY))
        assert time.monotonic() - started < 5


def test_mirror_that_refuses_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unavailable, match="refused"):
        mirrors.download(f"http://127.0.0.1:{port}/file", tmp_path / "file", md5(BODY))


def test_only_http(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="only http"):
        mirrors.download("file:///etc/passwd", tmp_path / "file", md5(BODY))


def test_unknown_torchvision_attribute_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        mirrors.torchvision_attribute("mnist", "NoSuchSet", "mirrors")
    with pytest.raises(Unavailable, match=r"states no MNIST\.nothing"):
        mirrors.torchvision_attribute("mnist", "MNIST", "nothing")


def test_a_relative_folder_is_staged_by_its_absolute_path(tmp_path, monkeypatch) -> None:
    """pip and npm run inside the staging folder, where a relative path would name another one."""
    from pathlib import Path

    from pipeline.data.files import staging

    monkeypatch.chdir(tmp_path)
    with staging(Path("data/MNIST/raw")) as stage:
        assert stage.is_absolute()
        assert stage.parent == tmp_path / "data/MNIST/raw"


@pytest.mark.network
def test_the_registry_serves_a_relative_root(tmp_path, monkeypatch) -> None:
    from pipeline.data.datasets import load

    monkeypatch.chdir(tmp_path)
    assert load("mnist", root="data", sources=("registry",)).train_labels[:4].tolist() == [
        5,
        0,
        4,
        1,
    ]
