"""The library stands alone: its wheel holds `seqlab` only, and imports without the kit around it."""

import importlib.util
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import seqlab

KIT = ("invoke", "libtmux", "docker", "rich", "pynvml", "nodeenv", "yaml", "envs", "blog", "tasks")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip wheel .` makes, with the build backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(root)]
    subprocess.run([sys.executable, *words], check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_library_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"seqlab", f"seqlab-{seqlab.__version__}.dist-info"}
    assert "seqlab/crf/module.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_every_module_imports_from_the_wheel_without_the_kit(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    names = [module.name for module in pkgutil.walk_packages([str(tmp_path / "seqlab")], "seqlab.")]
    assert "seqlab.crf" in names
    # numba and triton are extras, imported by the kernels only.
    if importlib.util.find_spec("numba") is None:
        names = [name for name in names if not name.endswith("_kernels")]
    if importlib.util.find_spec("triton") is None:
        names = [name for name in names if not name.endswith("triton_kernels")]
    script = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"for name in {KIT!r}: sys.modules[name] = None\n"
        f"for name in {[name for name in names if not name.endswith('__main__')]!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(tmp_path)!r})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_the_library_itself_imports_no_torch() -> None:
    script = "import seqlab, seqlab.errors, seqlab.recipes, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent)


def test_the_docker_folder_does_not_hide_the_docker_sdk(root: Path) -> None:
    assert not (root / "docker" / "__init__.py").exists()
    script = "import docker; print(docker.__file__)"
    found = subprocess.run([sys.executable, "-c", script], check=True, cwd=root, capture_output=True, text=True).stdout
    assert "site-packages" in found


def test_nothing_is_unpickled_from_disk(root: Path) -> None:
    for path in [*root.glob("seqlab/**/*.py"), *root.glob("envs/**/*.py"), *root.glob("blog/*.py")]:
        source = path.read_text(encoding="utf-8")
        for call in ("torch.load(", "pickle.load", "joblib", "yaml.load(", "shell=True", "os.system("):
            assert call not in source, f"{path}: {call}"
