"""torchvision's own mirrors, over a plain HTTP download whose every wait is bounded."""

from __future__ import annotations

import ast
import importlib.util
import os
import threading
import time
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from pipeline.data.files import Unavailable, md5_of_file

ANSWER_SECONDS = (
    4.0  # from asking for a file to the first byte of the answer, name look-up included
)
STALL_SECONDS = 10.0  # without one byte more
SLOWEST_RATE = 30_000.0  # bytes per second, held against the mean once STALL_SECONDS have passed
LONGEST_SECONDS = 900.0  # for one file
BLOCK_BYTES = 1 << 18


def torchvision_attribute(module: str, class_name: str, attribute: str) -> object:
    """A literal class attribute of a torchvision data set, such as MNIST's ``mirrors``.

    Read from the syntax tree: importing torchvision takes seconds, and fails where its compiled
    operators do not match the installed torch. Raises Unavailable where it is not to be found.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise Unavailable("torchvision, which lists the mirrors, is not installed")
    source = Path(spec.origin).parent / "datasets" / f"{module}.py"
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in classes[class_name].body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == attribute:
                return ast.literal_eval(node.value)
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        raise Unavailable(f"the mirrors cannot be read from {source} ({error})") from error
    raise Unavailable(f"{source} states no {class_name}.{attribute}")


def download(url: str, target: Path, md5: str) -> None:
    """Fetch ``url`` into ``target`` and hold it against its published md5.

    A mirror gets ANSWER_SECONDS to begin, STALL_SECONDS between bytes and LONGEST_SECONDS in all;
    it is asked once. ``target`` is there whole or not at all. Raises Unavailable where it misses one of
    them or sends another file.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _receive(url, part)
        found = md5_of_file(part)
        if found != md5:
            raise Unavailable(f"{url}: refused, its md5 is {found} instead of the published {md5}")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _receive(url: str, part: Path) -> None:
    """Fetch ``url`` into ``part``, at the pace that ``download`` asks for."""
    started = time.monotonic()
    try:
        with _answer(url) as response, part.open("wb") as out:
            expected = response.headers.get("Content-Length")
            received = 0
            while block := response.read1(BLOCK_BYTES):
                out.write(block)
                received += len(block)
                _require_pace(url, received, time.monotonic() - started)
    except TimeoutError as error:
        raise Unavailable(f"{url}: no byte for {STALL_SECONDS:g} s") from error
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{url}: {getattr(error, 'reason', None) or error}") from error
    if expected is not None and received != int(expected):
        raise Unavailable(f"{url}: broke off after {received} of {expected} bytes")


def _require_pace(url: str, received: int, seconds: float) -> None:
    if seconds > LONGEST_SECONDS or (seconds > STALL_SECONDS and received / seconds < SLOWEST_RATE):
        raise Unavailable(f"{url}: too slow ({received} bytes in {seconds:.0f} s)")


def _answer(url: str) -> HTTPResponse:
    """The opened response to ``url`` within ANSWER_SECONDS.

    A socket's timeout bounds neither the name look-up nor the sum over a host's addresses, so a
    thread asks; one that still waits when its time is up is left behind and closes what it gets.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise Unavailable(f"{url}: only http and https are fetched")
    request = urllib.request.Request(url, headers={"User-Agent": "manifold-trajectories"})  # noqa: S310
    lock = threading.Lock()
    result: list[HTTPResponse | Exception] = []
    abandoned = False

    def ask() -> None:
        found: HTTPResponse | Exception
        try:
            found = urllib.request.urlopen(request, timeout=STALL_SECONDS)  # noqa: S310
        except Exception as error:  # handed over to the waiting thread
            found = error
            if isinstance(error, HTTPError):
                error.close()
        with lock:
            if not abandoned:
                result.append(found)
            elif isinstance(found, HTTPResponse):
                found.close()

    thread = threading.Thread(target=ask, name=f"mirror {urlsplit(url).hostname}", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    with lock:
        abandoned = not result
    if abandoned:
        raise Unavailable(f"{url}: no answer in {ANSWER_SECONDS:g} s")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]
