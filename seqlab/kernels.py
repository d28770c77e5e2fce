"""What every Numba kernel of seqlab shares: whether Numba is there, how to compile, how to use the cores.

A kernel is a function `kernel(begin, end, *arrays)` that works on the rows `begin` … `end − 1` and writes into
arrays given to it. It releases the GIL, so that `run` can give each core its share of rows on a plain Python
thread. Numba's own parallel loops are not used: their OpenMP layer kills a forked DataLoader worker, and a row's
result must not depend on the number of threads. The number of threads is `torch.get_num_threads()`.

Only modules called `…_kernels` import Numba, and only when `enabled()` says that it is there and wanted:
`SEQLAB_BACKEND=torch` in the environment, or `with use_backend("torch"):`, does without.
"""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

from seqlab.errors import ConfigError

__all__ = ["enabled", "jit", "run", "use_backend"]

BACKENDS = ("auto", "numba", "torch", "triton")
# A thread that has to wait for a busy core costs more than this many multiply-adds on one core.
WORTH_A_THREAD = 20_000_000

FROM_ENVIRONMENT = os.environ.get("SEQLAB_BACKEND", "auto")
_chosen: ContextVar[str] = ContextVar("seqlab_backend", default=FROM_ENVIRONMENT)
_pool: ThreadPoolExecutor | None = None
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

    fastmath = {"contract", "reassoc", "arcp", "nsz"}
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder to keep the machine code in: a read-only system
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


def run(kernel: Callable[..., None], rows: int, work: float, *arguments: Any) -> None:
    """Call `kernel(begin, end, *arguments)` so that together the calls cover 0 … rows − 1.

    Args:
        kernel: what `jit` made.
        rows: number of rows, all of about the same work.
        work: rough number of multiply-adds in all; small work stays on this thread.
        arguments: handed on to each call.
    """
    threads = max(1, min(torch.get_num_threads(), rows, int(work / WORTH_A_THREAD)))
    if threads == 1:
        kernel(0, rows, *arguments)
        return
    bounds = [rows * part // threads for part in range(threads + 1)]
    others = [_executor().submit(kernel, bounds[i], bounds[i + 1], *arguments) for i in range(1, threads)]
    try:
        kernel(bounds[0], bounds[1], *arguments)
    finally:
        for other in others:
            other.result()


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="seqlab")
    return _pool


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget_pool)
