"""The machine's NVIDIA GPUs, and one lock file for each so that two runs never share one by accident.

A lock is an `flock` on `<locks>/<gpu uuid>.lock`: the kernel frees it when its last holder dies, however it dies.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.errors import RunError
from seqlab.errors import ConfigError

__all__ = ["GPU", "GPURequest", "Unavailable", "check_possible", "list_gpus", "parse_request", "take"]

# A GPU on which someone else already uses more than this is not free.
BUSY_BYTES = 1 << 30


@dataclass(frozen=True)
class GPU:
    """One device as the driver reports it."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class GPURequest:
    """What `--gpu` asked for: these `indices`, or any `count`; `optional` takes none on a machine without."""

    count: int = 0
    indices: tuple[int, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Unavailable:
    """Why the list of GPUs cannot be read: no driver, or a broken one."""

    reason: str


def list_gpus() -> list[GPU] | Unavailable:
    """Ask NVML (the driver's management library) for the GPUs; never raises."""
    try:
        import pynvml
    except ImportError as error:
        return Unavailable(f"the NVML binding is not installed ({error})")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Unavailable(f"no usable NVIDIA driver ({error})")
    try:
        return [_describe(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return Unavailable(f"the NVIDIA driver does not answer properly ({error})")
    finally:
        pynvml.nvmlShutdown()


def _describe(index: int) -> GPU:
    """The properties of device `index`."""
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return GPU(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(memory.total),
        used_bytes=int(memory.used),
        capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
    )


def parse_request(text: str) -> GPURequest:
    """Read `--gpu`: `none`, `auto` (one if there is any), `2` (any two), `0,3` (these), `0,` (this one).

    Raises:
        ConfigError: it is none of these.
    """
    if text == "none":
        return GPURequest()
    if text == "auto":
        return GPURequest(count=1, optional=True)
    parts = text.split(",")
    digits = [part for part in parts if part]
    if not digits or not all(part.isascii() and part.isdigit() for part in digits):
        raise ConfigError(
            f"--gpu takes none, auto, a number of GPUs (2) or a list of them (0,3), not {text!r}\n"
            "  next: `./inv doctor` lists this machine's GPUs"
        )
    if len(parts) == 1:
        return GPURequest(count=int(text))
    return GPURequest(indices=tuple(dict.fromkeys(int(part) for part in digits)))


def check_possible(request: GPURequest, gpus: Sequence[GPU]) -> None:
    """Refuse a request that these GPUs could not satisfy even if all of them were free.

    Raises:
        RunError: naming what is wanted and what is there.
    """
    if request.optional and not gpus:
        return
    missing = sorted(set(request.indices) - {gpu.index for gpu in gpus})
    if missing or request.count > len(gpus):
        wanted = f"GPU {missing[0]}" if missing else f"{request.count} GPUs"
        raise RunError(
            f"{wanted} wanted, but this machine has {len(gpus)}\n"
            "  next: `./inv doctor` lists them; --gpu none uses the CPU"
        )


def take(request: GPURequest, gpus: Sequence[GPU], locks: Path | None = None) -> tuple[list[GPU], list[int]] | None:
    """Lock the GPUs of `request` and return them with the descriptors that hold the locks; None: wait and retry.

    Either all of the wanted GPUs are taken or none. Creates lock files in `locks` (default: a folder shared by
    all users in the system's temporary directory).

    Raises:
        RunError: the machine can never satisfy the request.
    """
    check_possible(request, gpus)
    if request.optional and not gpus:
        return [], []
    by_index = {gpu.index: gpu for gpu in gpus}
    if request.indices:
        candidates, count = [by_index[index] for index in request.indices], len(request.indices)
    else:
        quiet = [gpu for gpu in gpus if gpu.used_bytes < BUSY_BYTES]
        candidates, count = sorted(quiet, key=lambda gpu: (gpu.used_bytes, gpu.index)), request.count
    taken: list[tuple[GPU, int]] = []
    for gpu in candidates:
        if len(taken) == count:
            break
        descriptor = _lock(gpu, locks or _shared_folder())
        if descriptor is not None:
            taken.append((gpu, descriptor))
    if len(taken) < count:
        for _, descriptor in taken:
            os.close(descriptor)
        return None
    return [gpu for gpu, _ in taken], [descriptor for _, descriptor in taken]


def _lock(gpu: GPU, locks: Path) -> int | None:
    """A descriptor holding the lock of `gpu`, or None when someone else holds it."""
    descriptor = os.open(locks / f"{gpu.uuid}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    with contextlib.suppress(PermissionError):  # made by another user: it already has the mode they gave it
        os.fchmod(descriptor, 0o666)
    return descriptor


def _shared_folder() -> Path:
    """The folder of lock files all users of this machine share; SEQLAB_GPU_LOCKS names another."""
    folder = Path(os.environ.get("SEQLAB_GPU_LOCKS") or Path(tempfile.gettempdir()) / "seqlab-gpu-locks")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    return folder
