"""What every Numba kernel of seqlab shares: whether Numba is there, how to compile, how to use the cores.

A kernel is a function `kernel(begin, end, *arrays)` that works on the rows `begin` … `end − 1` and writes into
arrays given to it. It releases the GIL, so that `run` can share the rows out between plain Python threads. Numba's own
parallel loops are not used: their OpenMP layer kills a forked DataLoader worker, and a row's result must not depend on
the number of threads. The number of threads is `torch.get_num_threads()`.

Only modules called `…_kernels` import Numba, and only when `enabled()` says that it is there and wanted:
`SEQLAB_BACKEND=torch` in the environment, or `with use_backend("torch"):`, does without.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

from seqlab.errors import ConfigError

__all__ = ["enabled", "inlined", "jit", "run", "use_backend"]

BACKENDS = ("auto", "numba", "torch", "triton")
# To wake a helper takes about as long as this many multiply-adds.
WORTH_A_THREAD = 2_000_000
# Each thread's work comes in so many shares, and who is done first takes the next: a helper may come late.
SHARES = 4

# How a kernel is compiled, see `jit`.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract", "reassoc", "arcp", "nsz"},
    "error_model": "numpy",
}

FROM_ENVIRONMENT = os.environ.get("SEQLAB_BACKEND", "auto")
_chosen: ContextVar[str] = ContextVar("seqlab_backend", default=FROM_ENVIRONMENT)
_pool: "_Helpers | None" = None
Function = TypeVar("Function", bound=Callable[..., Any])


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def backend() -> str:
    """Return what the caller or the environment asks for: one of `BACKENDS`."""
    name = _chosen.get()
    if name not in BACKENDS:
        raise ConfigError(f"SEQLAB_BACKEND must be one of {', '.join(BACKENDS)}, got {name!r}")
    return name


def enabled() -> bool:
    """Tell whether CPU work should go to Numba.

    Raises:
        ConfigError: "numba" is asked for by name and not installed, or the name is unknown.
    """
    name = backend()
    if name == "numba" and not _installed():
        raise ConfigError("the numba backend is asked for but not installed: pip install 'seqlab[numba]'")
    return name in ("auto", "numba") and _installed()


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend for a block of code: "auto", "numba", "torch" or "triton"."""
    token = _chosen.set(name)
    try:
        backend()
        yield
    finally:
        _chosen.reset(token)


def jit(function: Function) -> Function:
    """Compile a kernel at its first call, without the GIL; the machine code is kept on disk where possible.

    Floating-point sums may be reassociated and fused, so that the loops become vector code; NaN and infinity
    keep their meaning. A kernel's inner functions are decorated too and are inlined by LLVM.
    """
    import numba

    try:
        compiled = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder to keep the machine code in: a read-only system
        return numba.njit(**OPTIONS)(function)  # type: ignore[no-any-return]
    keep = compiled._cache.save_overload

    def keep_if_possible(*arguments: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk
            keep(*arguments)

    compiled._cache.save_overload = keep_if_possible
    return compiled  # type: ignore[no-any-return]


def inlined(function: Function) -> Function:
    """Compile a kernel's inner function into its callers: for what a call would cost more than the work."""
    import numba

    return numba.njit(inline="always", **OPTIONS)(function)  # type: ignore[no-any-return]


def run(kernel: Callable[..., None], rows: int, work: float, *arguments: Any) -> None:
    """Call `kernel(begin, end, *arguments)` so that together the calls cover 0 … rows − 1.

    Args:
        kernel: what `jit` made.
        rows: number of rows, of about the same work or the longest first.
        work: rough number of multiply-adds in all; small work stays on this thread.
        arguments: handed on to each call.
    """
    threads = max(1, min(torch.get_num_threads(), rows, int(work / WORTH_A_THREAD)))
    if threads == 1:
        kernel(0, rows, *arguments)
        return
    parts = min(rows, SHARES * threads)
    shares = deque((rows * part // parts, rows * (part + 1) // parts) for part in range(parts))

    def work_off() -> None:
        while True:
            try:
                begin, end = shares.popleft()
            except IndexError:
                return
            kernel(begin, end, *arguments)

    others = _helpers().start(work_off, threads - 1)
    try:
        work_off()
    finally:
        for other in others:
            if not other.cancel():  # one that has not begun yet is not needed any more
                other.result()


class _Helpers:
    """Threads that work beside the caller's thread.

    Linux often wakes a thread on the processor of the one that wakes it, where it has to wait: the two then take turns
    while another processor is idle. So the helpers are kept off the caller's processor.
    """

    def __init__(self) -> None:
        self._threads: list[int] = []
        self._placed: tuple[int, int] = (-1, 0)  # the processor they are kept off, and how many they were
        self._executor = ThreadPoolExecutor(
            os.cpu_count() or 1, "seqlab", initializer=lambda: self._threads.append(threading.get_native_id())
        )

    def start(self, function: Callable[[], None], threads: int) -> list[Future[None]]:
        """Let `threads` helpers call the function."""
        processor = _processor()
        if processor is not None and (processor, len(self._threads)) != self._placed:
            self._placed = (processor, len(self._threads))
            others = os.sched_getaffinity(0) - {processor}
            for thread in self._threads:
                with contextlib.suppress(OSError):  # the set is empty, or not allowed any more
                    os.sched_setaffinity(thread, others)
        return [self._executor.submit(function) for _ in range(threads)]


def _find_processor() -> Callable[[], int] | None:
    try:
        return ctypes.CDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
    except (AttributeError, OSError):
        return None


_processor_of = _find_processor()


def _processor() -> int | None:
    """Return the number of the processor that this thread runs on, or None where nobody can tell."""
    number = -1 if _processor_of is None else _processor_of()
    return None if number < 0 else number


def _helpers() -> _Helpers:
    global _pool
    if _pool is None:
        _pool = _Helpers()
    return _pool


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget_pool)
