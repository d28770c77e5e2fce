"""What every benchmark here needs: the machine in words, and fair turns for both sides."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["hardware", "medians"]

TURN_S = 0.1


def hardware() -> str:
    """Name the processor, and the versions that matter."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def medians(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return each function's median time of a run in ms.

    The functions take turns, so that a busy machine slows all of them; a turn is as many runs as fit into `TURN_S`, one
    at least. The first run of all, which compiles and fills caches, doesn't count.
    """
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for function, found in zip(functions, times, strict=True):
            turn = time.perf_counter()
            while True:
                begin = time.perf_counter()
                function()
                end = time.perf_counter()
                found.append((end - begin) * 1e3)
                if end - turn > TURN_S:
                    break
    return [statistics.median(found) for found in times]
