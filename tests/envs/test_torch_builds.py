"""Which torch is chosen, from the real facts; no network, no driver."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from envs.torch_builds import Torch, choose_torch, driver_version, read_indexes, read_mirrors, without_credentials
from seqlab.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent
FACTS: dict[str, Any] = tomllib.loads((ROOT / "envs/torch.toml").read_text("utf-8"))
VERSION = FACTS["version"]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def choose(
    *, driver: tuple[int, ...] | None = None, seen: str | None = None, platform: str = "linux", **indexes: str
) -> tuple[Torch, list[dict[str, str]]]:
    """The choice when only the place named `seen` has the CPU build ("" is pip's own configuration)."""
    asked: list[dict[str, str]] = []

    def offers(version: str, settings: dict[str, str]) -> bool:
        assert version == f"{VERSION}+cpu"
        asked.append(settings)
        return seen == next(iter(settings.values()), "")

    return choose_torch(FACTS, indexes, driver, offers, {}, platform), asked


def test_no_driver_takes_what_pip_already_sees() -> None:
    torch, asked = choose(seen="")
    assert (torch.requirement, torch.environment, torch.warning) == (f"torch=={VERSION}+cpu", {}, "")
    assert asked == [{}]


def test_no_driver_takes_pytorchs_cpu_index() -> None:
    torch, _ = choose(seen=CPU_INDEX)
    assert torch.requirement == f"torch=={VERSION}+cpu"
    assert torch.environment == {"PIP_INDEX_URL": CPU_INDEX}


@pytest.mark.parametrize("setting", ["torch", "torch_cpu"])
def test_a_named_index_is_asked_first(setting: str) -> None:
    torch, asked = choose(seen="https://m/cpu", **{setting: "https://m/cpu"})
    assert torch.environment == {"PIP_INDEX_URL": "https://m/cpu"} == asked[0]


def test_a_mirror_that_is_one_page_of_links() -> None:
    asked = []

    def offers(_version: str, settings: dict[str, str]) -> bool:
        asked.append(settings)
        return "PIP_FIND_LINKS" in settings

    torch = choose_torch(FACTS, {"torch_cpu": "https://m/p"}, None, offers, {"PIP_FIND_LINKS": "/wheels"}, "linux")
    assert torch.environment == {"PIP_FIND_LINKS": "/wheels https://m/p"}


def test_nothing_answers_warns_of_the_size() -> None:
    torch, asked = choose(seen=None)
    assert (torch.requirement, torch.environment) == (f"torch=={VERSION}", {})
    assert len(asked) == 3
    for words in ("3.5 GB to download", "9 GB on disk", "SEQLAB_TORCH_INDEX=", CPU_INDEX):
        assert words in torch.warning


@pytest.mark.parametrize(
    ("driver", "index"),
    [((610, 1), ""), ((580,), ""), ((579, 99), "cu126"), ((525, 60, 13), "cu126")],
)
def test_build_follows_the_driver(driver: tuple[int, ...], index: str) -> None:
    torch, asked = choose(driver=driver)
    assert torch.requirement == f"torch=={VERSION}"
    assert torch.environment.get("PIP_INDEX_URL", "").rpartition("/")[2] == index
    assert asked == []


def test_driver_too_old_for_cuda() -> None:
    torch, _ = choose(driver=(470, 57), seen=CPU_INDEX)
    assert torch.requirement == f"torch=={VERSION}+cpu"
    assert "driver 470 is too old for CUDA (needs 525)" in torch.reason


def test_macos_takes_the_plain_wheel() -> None:
    torch, asked = choose(platform="darwin")
    assert (torch.requirement, torch.environment, asked) == (f"torch=={VERSION}", {}, [])


def test_an_index_named_in_the_environment_wins_with_a_driver_too() -> None:
    torch, _ = choose(driver=(580,), torch="https://m/cu130")
    assert torch.environment == {"PIP_INDEX_URL": "https://m/cu130"}


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024", (535, 183, 1)),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (a@b)", (580, 65, 6)),
        ("something else", None),
    ],
)
def test_driver_from_proc(tmp_path: Path, line: str, version: tuple[int, ...] | None) -> None:
    (tmp_path / "version").write_text(f"{line}\nGCC version:  gcc version 12.3.0 (Ubuntu)\n")
    assert driver_version("no-such-library.so", tmp_path / "version") == version


def test_no_driver(tmp_path: Path) -> None:
    assert driver_version("no-such-library.so", tmp_path / "absent") is None


@pytest.mark.parametrize(("status", "version"), [(0, (581, 2)), (9, None)])
def test_driver_from_nvml(tmp_path: Path, status: int, version: tuple[int, ...] | None) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a stand-in NVML: apt-get install gcc")
    source = tmp_path / "nvml.c"
    source.write_text(
        "#include <string.h>\n"
        f"int nvmlInit_v2(void) {{ return {status}; }}\n"
        'int nvmlSystemGetDriverVersion(char *v, unsigned n) { strncpy(v, "581.02", n); return 0; }\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "nvml.so", source], check=True)
    assert driver_version(str(tmp_path / "nvml.so"), tmp_path / "absent") == version


def test_reads_the_mirrors_and_only_them() -> None:
    text = """\
# mirrors: a comment
runs: runs
mirrors:   # where from
  pip: "https://a/simple"   # quoted

  torch_cpu: https://b/cpu#fragment
  # npm: commented out
  npm: ''
  other: null
blog:
  pip: not-a-mirror
"""
    assert read_mirrors(text) == {"pip": "https://a/simple", "torch_cpu": "https://b/cpu#fragment"}
    assert read_mirrors(text.replace("\n", "\r\n")) == read_mirrors(text)
    assert read_mirrors("") == read_mirrors("mirrors: {}\n") == read_mirrors("mirrors:\n") == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mirrors: {pip: https://a}", 1),
        ("runs: x\nmirrors:\n  - https://a", 3),
        ("mirrors:\n  pip:https://a", 2),
        ("mirrors:\n  pip: https://a b", 2),
        ("mirrors:\n  pip: 'https://a", 2),
    ],
)
def test_names_the_line_it_cannot_read(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"invoke\.yaml line {line}: "):
        read_mirrors(text)


def test_the_projects_own_invoke_yaml_can_be_read() -> None:
    assert read_indexes(ROOT, {}) == {}


def test_environment_wins_over_invoke_yaml(tmp_path: Path) -> None:
    (tmp_path / "invoke.yaml").write_text("mirrors:\n  pip: https://file/simple\n  torch: https://not/a/setting\n")
    assert read_indexes(tmp_path, {"SEQLAB_PIP_INDEX": ""}) == {"pip": "https://file/simple"}
    named = {"SEQLAB_PIP_INDEX": "https://env", "SEQLAB_TORCH_INDEX": "file:///wheels", "SEQLAB_MIRRORS_PIP": "no"}
    assert read_indexes(tmp_path, named) == {"pip": "https://env", "torch": "file:///wheels"}


def test_bad_url_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the pip index must be .* not 'htps://host/simple'"):
        read_indexes(tmp_path, {"SEQLAB_PIP_INDEX": "htps://user:secret@host/simple"})


def test_without_credentials() -> None:
    assert without_credentials("https://u:p%40@h:8080/s?token=t#f") == "https://h:8080/s"
    assert without_credentials("/srv/wheels") == "/srv/wheels"


def test_needs_nothing_installed() -> None:
    code = "import envs.bootstrap, sys; print({'invoke', 'numpy', 'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
