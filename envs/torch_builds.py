"""Which torch a machine gets and from which index: the rules over the facts in `envs/torch.toml`.

Standard library only, since `envs/bootstrap.py` needs it before anything is installed. Reads invoke.yaml, NVML and
/proc; it reaches the network only through the `offers` function handed in.
"""

import ctypes
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seqlab.errors import ConfigError

__all__ = ["Torch", "choose_torch", "driver_version", "read_indexes", "read_mirrors", "without_credentials"]

# setting -> the environment variables that win over `mirrors:` in invoke.yaml, strongest first
VARIABLES = {
    "pip": ("SEQLAB_PIP_INDEX", "SEQLAB_MIRRORS_PIP"),
    "torch_cpu": ("SEQLAB_MIRRORS_TORCH_CPU",),
    "torch": ("SEQLAB_TORCH_INDEX",),
}


def read_indexes(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the index URLs that are set: `pip`, `torch_cpu` and, only from the environment, `torch`.

    Raises:
        ConfigError: invoke.yaml's `mirrors:` block cannot be read, or an index is not a URL.
    """
    path = root / "invoke.yaml"
    mirrors = read_mirrors(path.read_text("utf-8")) if path.exists() else {}
    indexes = {name: url for name, url in mirrors.items() if name in ("pip", "torch_cpu")}
    for name, variables in VARIABLES.items():
        if value := next(filter(None, map(environ.get, variables)), None):
            indexes[name] = value
    for name, url in indexes.items():
        if urlsplit(url).scheme not in ("http", "https", "file"):
            shown = without_credentials(url)
            raise ConfigError(f"the {name} index must be an http, https or file URL, not {shown!r}; see docs/setup.md")
    return indexes


def read_mirrors(text: str) -> dict[str, str]:
    """Read the `mirrors:` block of invoke.yaml: indented `name: URL` lines, quoted or not, comments allowed.

    This much YAML is all that is understood: PyYAML is not installed yet. Empty values are left out.

    Raises:
        ConfigError: another kind of line stands in the block; the message gives its number.

    >>> read_mirrors('mirrors:\\n  pip: "https://a/simple"  # near\\n  npm: ""\\nruns: runs')
    {'pip': 'https://a/simple'}
    """
    mirrors: dict[str, str] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            inside = re.match(r"mirrors\s*:", line) is not None
            if inside and not re.fullmatch(r"mirrors\s*:\s*(\{\s*\}|null|~)?\s*(\s#.*)?", line):
                raise ConfigError(f"invoke.yaml line {number}: put each mirror on its own line below `mirrors:`")
        elif inside:
            pair = re.fullmatch(r"""\s+(\w+)\s*:(?:\s+("[^"]*"|'[^']*'|[^\s"'#{\[&*|>]\S*))?\s*(?:\s#.*)?""", line)
            if pair is None:
                raise ConfigError(f"invoke.yaml line {number}: expected `name: URL`, such as `pip: https://…/simple`")
            value = (pair[2] or "").strip("\"'")
            if value not in ("", "null", "~"):
                mirrors[pair[1]] = value
    return mirrors


def without_credentials(url: str) -> str:
    """Return `url` fit for printing: no user name, password or query.

    >>> without_credentials("https://me:secret@mirror.example/simple?token=1")
    'https://mirror.example/simple'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path


def driver_version(
    nvml: str = "libnvidia-ml.so.1", proc: Path = Path("/proc/driver/nvidia/version")
) -> tuple[int, ...] | None:
    """Return the NVIDIA driver's version, asked of NVML (which containers and WSL have too), else of /proc."""
    text = ""
    try:
        library = ctypes.CDLL(nvml)
        buffer = ctypes.create_string_buffer(80)
        if library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(buffer, 80) == 0:
            text = buffer.value.decode()
    except (OSError, AttributeError):  # no library, or a stub without these functions
        pass
    if not text and proc.exists():
        text = next(iter(re.findall(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", proc.read_text())), "")
    numbers = tuple(int(number) for number in re.findall(r"\d+", text))
    return numbers or None


@dataclass(frozen=True)
class Torch:
    """A build of torch: what pip is asked for, with which pip settings, and why."""

    requirement: str
    environment: dict[str, str]
    reason: str
    disk_gb: float
    warning: str = ""


def choose_torch(
    facts: dict[str, Any],
    indexes: Mapping[str, str],
    driver: tuple[int, ...] | None,
    offers: Callable[[str, dict[str, str]], bool],
    environ: Mapping[str, str],
    platform: str = sys.platform,
) -> Torch:
    """Choose the build for this machine.

    Args:
        facts: the contents of envs/torch.toml.
        indexes: what `read_indexes` returned.
        driver: the NVIDIA driver's version, None without one.
        offers: tells whether pip, with these additional settings, can see this version of torch.
        environ: the environment, for pip's settings in it.
        platform: `sys.platform`.
    """
    version, builds = facts["version"], facts["build"]
    index = indexes.get("torch", "")
    build = next(row for row in builds if (driver or (0,))[0] >= row["driver"])
    if platform != "linux" or build["driver"]:
        url = index if platform != "linux" else index or build["index"]
        reason = f"NVIDIA driver {'.'.join(map(str, driver))}: {build['name']}" if driver else f"for {platform}"
        return Torch(f"torch=={version}", {"PIP_INDEX_URL": url} if url else {}, reason, build["disk_gb"])
    why = "no NVIDIA driver"
    if driver:
        why = f"NVIDIA driver {driver[0]} is too old for CUDA (needs {min(r['driver'] for r in builds if r['driver'])})"
    return _cpu_build(facts, index or indexes.get("torch_cpu", ""), why, offers, environ)


def _cpu_build(
    facts: dict[str, Any],
    chosen: str,
    why: str,
    offers: Callable[[str, dict[str, str]], bool],
    environ: Mapping[str, str],
) -> Torch:
    """The CPU build where pip sees one: at the `chosen` index, as pip is configured, or at PyTorch's own index."""
    version, cuda, cpu = facts["version"], facts["build"][0], facts["build"][-1]
    url = chosen or cpu["index"]
    links = f"{environ.get('PIP_FIND_LINKS', '')} {url}".strip()  # some mirrors are one page of links
    ways: list[dict[str, str]] = [{"PIP_INDEX_URL": url}, {"PIP_FIND_LINKS": links}]
    for way in [*ways, {}] if chosen else [{}, *ways]:
        if offers(f"{version}+cpu", way):
            where = f"from {without_credentials(url)}" if way else "as pip is configured"
            return Torch(f"torch=={version}+cpu", way, f"{why}: CPU build {where}", cpu["disk_gb"])
    warning = (
        f"pip sees no CPU build of torch {version} at {without_credentials(url)}: taking the general build.\n"
        f"  On Linux it brings CUDA libraries: {cuda['download_gb']} GB to download, {cuda['disk_gb']} GB on disk.\n"
        "  To avoid that, press Ctrl-C and name an index that answers: SEQLAB_TORCH_INDEX=https://… ./inv --list"
    )
    return Torch(f"torch=={version}", {}, f"{why}; general build", cuda["disk_gb"], warning)
