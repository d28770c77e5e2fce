"""What every benchmark here needs: the machine in words, and fair turns for both sides."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["hardware", "medians"]


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
    """Return each function's median time in ms; the functions take turns, after one run each to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, found in zip(functions, times, strict=True):
            begin = time.perf_counter()
            function()
            if turn > 0:
                found.append((time.perf_counter() - begin) * 1e3)
    return [statistics.median(found) for found in times]
