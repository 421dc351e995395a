"""What a job computes on: the device, the number of threads, whether code can be compiled."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Callable, Iterator

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pipeline.errors import TrainingError

DEVICES = ("auto", "cpu", "cuda")
_FLUSHING: list[bool] = []  # torch cannot be asked
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, from malloc.h


def chosen_device(device: str) -> str:
    """``cpu`` or ``cuda``; raises TrainingError for another name and for cuda where there is none."""
    available = torch.cuda.is_available()
    if device not in DEVICES:
        raise TrainingError(f"device is {device!r}; valid are: {', '.join(DEVICES)}.")
    if device == "cuda" and not available:
        raise TrainingError("device is cuda, but torch finds no CUDA device; use auto or cpu.")
    return "cuda" if available and device != "cpu" else "cpu"


def compiler_available() -> bool:
    """Whether torch.compile can build CPU code here."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def compiled(network: nn.Module, compile: bool | str, device: str) -> Callable[[Tensor], Tensor]:
    """The network as a function, compiled where ``compile`` is true; it shares its parameters.

    ``auto`` compiles nothing: measured on a CPU and in bfloat16, compiled networks of this size were
    no faster than what compiling cost. Raises TrainingError where there is no compiler.
    """
    if compile is not True:
        return network
    if device == "cpu" and not compiler_available():
        raise TrainingError(
            "compile is true, but no C++ compiler was found; install one, or set compile to auto."
        )
    function: Callable[[Tensor], Tensor] = torch.compile(network)
    return function


@contextlib.contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Let torch and BLAS use ``count`` threads: sums change bits with their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next arrays; False where that cannot be.

    By default glibc gives large arrays back to the system at once, and each new one costs a page fault per
    4 kB: up to 24 % of the time of a small convolutional network's update. Changes no bit.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Within: numbers below 1e-38 count as 0 on a CPU, which is many times slower with them.

    Gradients and momenta of a network that has learnt its samples fall that low.
    """
    _FLUSHING.append(True)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        _FLUSHING.pop()
        torch.set_flush_denormal(bool(_FLUSHING))


@contextlib.contextmanager
def kept_denormals() -> Iterator[None]:
    """Within: numbers below 1e-38 count again, as for roots of probabilities that are recorded."""
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(_FLUSHING))


@contextlib.contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Within: the same bits at every run on the same CUDA device; a CPU needs nothing for it.

    Operations that have no such version warn instead of failing.
    """
    if device != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@contextlib.contextmanager
def float32_products(precision: str, device: str) -> Iterator[None]:
    """Within: products of float32 in TF32 for ``tf32`` (CUDA only), else in float32 (torch's own
    default is TF32 for convolutions). It holds for backward passes too.

    Raises TrainingError for tf32 on a CPU.
    """
    if precision == "tf32" and device != "cuda":
        raise TrainingError(
            "precision is tf32, which only CUDA devices have, but training runs on a CPU; choose "
            "float32 or bf16."
        )
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    wanted = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
