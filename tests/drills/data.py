"""Data files that are damaged, cut off while they are fetched, or made to run code."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import random
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np

from drills.outcome import Outcome


def md5(content: bytes) -> str:
    """As publishers of data sets state it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def flipped_data_drill(folder: Path, flips: int, seed: int) -> Outcome:
    """Single bits flipped in files of a data set, packed and not."""
    from pipeline.data import idx
    from pipeline.data.published import TEST, TRAIN, IdxSet
    from pipeline.errors import DataError

    generator = random.Random(seed)  # noqa: S311
    values = np.random.default_rng(seed)
    shapes = {TRAIN[0]: (60, 8, 8), TRAIN[1]: (60,), TEST[0]: (20, 8, 8), TEST[1]: (20,)}
    arrays = {name: values.integers(0, 10, shape, dtype=np.uint8) for name, shape in shapes.items()}
    plain = {name: _idx_bytes(array) for name, array in arrays.items()}
    packed = {name: gzip.compress(content, mtime=0) for name, content in plain.items()}
    published = IdxSet(
        name="made_up",
        torchvision_class="MadeUp",
        md5={name: md5(content) for name, content in packed.items()},
        sha256={name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in arrays.items()},
    )
    raw = folder / "MadeUp/raw"
    raw.mkdir(parents=True, exist_ok=True)
    detected = 0
    for number in range(flips):
        contents = packed if number % 2 else plain
        for path in raw.iterdir():
            path.unlink()
        for name, content in contents.items():
            (raw / f"{name}{'.gz' if number % 2 else ''}").write_bytes(content)
        path = generator.choice(sorted(raw.iterdir()))
        damaged = bytearray(path.read_bytes())
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            idx.load_idx(published, folder, ["folder"])
        except DataError as error:
            detected += str(path) in str(error)
    return Outcome(
        *("a bit flipped in a file of a data set", flips, detected, flips - detected),
        "the file is named and left where it is; nothing is trained on it",
    )


def _idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@contextmanager
def breaking_server(body: bytes) -> Iterator[str]:
    """A server on loopback that breaks off after as many bytes as the path says."""

    class Breaking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: int(self.path.strip("/"))])

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Breaking)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def interrupted_download_drill(folder: Path, tries: int, seed: int) -> Outcome:
    """A download that breaks off after a random number of bytes."""
    from pipeline.data import mirrors
    from pipeline.data.files import Unavailable

    generator = random.Random(seed)  # noqa: S311
    body = random.Random(seed + 1).randbytes(200_000)  # noqa: S311
    path = folder / "file"
    detected = lost = 0
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "127.0.0.1"
    try:
        with breaking_server(body) as url:
            for _ in range(tries):
                try:
                    mirrors.download(f"{url}/{generator.randrange(len(body))}", path, md5(body))
                except Unavailable as error:
                    detected += url in str(error)
                lost += path.exists()
            mirrors.download(f"{url}/{len(body)}", path, md5(body))
            lost += path.read_bytes() != body
    finally:
        os.environ.pop("no_proxy")
        if before is not None:
            os.environ["no_proxy"] = before
    return Outcome(
        *("an interrupted download", tries, detected, lost),
        "nothing is left of it; the next source is tried, and the next run tries again",
    )


class _Code:
    """What runs code when it is unpickled: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def pickle_drill(folder: Path) -> Outcome:
    """Pickles with code in the place of a batch of CIFAR, of a data file and of a saved state."""
    import torch

    from pipeline.data import cifar
    from pipeline.errors import DataError
    from pipeline.training.resume import DIGEST, FORMAT, StateFile

    touched = folder / "touched"
    detected = tries = 0
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps({"data": _Code(touched), "labels": []}, protocol=protocol)
        path = folder / "data_batch_1"
        path.write_bytes(content)
        for stated in (md5(b"the published file"), md5(content)):  # even with the right checksum
            tries += 1
            try:
                cifar.read_batch(path, stated)
            except DataError:
                detected += 1
    state = io.BytesIO()
    torch.save({"format": FORMAT, "key": "key", "state": _Code(touched)}, state)
    for content in (state.getvalue(), DIGEST(state.getvalue()).digest() + state.getvalue()):
        tries += 1
        path = folder / "state.pt"
        path.write_bytes(content)
        detected += StateFile(path, "key").load() is None
    return Outcome(
        *("a pickle with code in place of data or of a saved state", tries, detected),
        int(touched.exists()),
        "refused before any of it runs, also where its checksum is right",
    )
