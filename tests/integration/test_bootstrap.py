"""Set-up for real: venv and pip against small indexes served here, whose wheels are stand-ins made here too."""

import base64
import contextlib
import errno
import hashlib
import http.server
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs import bootstrap

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the CPU index is for Linux"),
]

# Says what is installed, so that a test can compare it with what was wanted.
CLI = """
import importlib.metadata as m, tiny
names = {d.name for d in m.distributions()} - {"pip", "setuptools"}
print(tiny.TEXT, *sorted(f"{n}=={m.version(n)}" for n in names))
"""

FACTS = """\
version = "2.13.0"
python = ["3.11", "3.14"]
wheels = "any"
[[build]]
name = "cuda"
driver = 9999
index = ""
download_gb = 3
disk_gb = 0.001
[[build]]
name = "cpu"
driver = 0
index = "{index}"
download_gb = 0.1
disk_gb = 0.001
"""


def make_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of one module; its bytes depend on name and version only."""
    module = f'TEXT = "{name} {version}"\n' + "x = 1\n" * 2000
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"{name}.py": module, f"{info}/METADATA": metadata, f"{info}/WHEEL": tags}
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    target = folder / name / f"{name}-{version}-py3-none-any.whl"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return target


class Index:
    """A package index over http: each folder's listing is a project page."""

    def __init__(self, folder: Path, status: int = 200) -> None:
        self.asked: list[str] = []
        index = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                index.asked.append(self.path)
                if status == 200:
                    super().do_GET()
                else:
                    self.send_error(status)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Checkout:
    """A checkout with a small lock, its two indexes, and an environment in which only these are known."""

    def __init__(self, folder: Path, wheels: Path, plain: Index, cpu: Index) -> None:
        self.root, self.wheels, self.plain, self.cpu = folder / "路径 with space", wheels, plain, cpu
        for name in ("inv", "envs/__init__.py", "envs/errors.py", "envs/bootstrap.py", "envs/torch_builds.py"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        shutil.copytree(ROOT / "seqlab", self.root / "seqlab", ignore=lambda _d, names: set(names) - KEPT)
        (self.root / "envs/cli.py").write_text(CLI)
        (self.root / "envs/torch.toml").write_text(FACTS.format(index=cpu.url))
        self.lock("tiny==1", "other==1")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "SEQLAB_"))}
        self.environ |= {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_CACHE_DIR": str(folder / "cache"),
            "PIP_RETRIES": "0",
            "PIP_USER": "1",  # some users have it in pip.conf; it must do no harm
            "PYTHONPATH": str(wheels),
            "SEQLAB_PIP_INDEX": plain.url,
            "SEQLAB_PYTHON": sys.executable,
        }

    def lock(self, *requirements: str, digest: str | None = None) -> None:
        lines = []
        for requirement in requirements:
            name, version = requirement.split("==")
            wheel = self.wheels / name / f"{name}-{version}-py3-none-any.whl"
            right = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{requirement} \\\n    --hash=sha256:{digest or right}\n")
        (self.root / "envs/requirements.lock").write_text("".join(lines))

    def inv(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [self.root / "inv", *arguments]
        return subprocess.run(command, env=self.environ | environ, capture_output=True, text=True, timeout=60)

    def forget_torch(self) -> None:
        """Leave an environment made by hand, in which torch is missing."""
        for path in self.root.glob(".venv/lib/python*/site-packages/torch*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.root / ".venv/.lock-installed").unlink(missing_ok=True)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.root / "inv", env=self.environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip


KEPT = {"__init__.py", "errors.py"}
READY = "tiny 1 other==1 tiny==1 torch==2.13.0+cpu\n"


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Index, Index]]:
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in (("tiny", "1"), ("tiny", "2"), ("other", "1"), ("torch", "2.13.0")):
        make_wheel(folder / "plain", name, version)
    make_wheel(folder / "cpu", "torch", "2.13.0+cpu")
    plain, cpu = Index(folder / "plain"), Index(folder / "cpu")
    yield folder / "plain", plain, cpu
    plain.close()
    cpu.close()


@pytest.fixture
def fresh(indexes: tuple[Path, Index, Index], tmp_path: Path) -> Checkout:
    """A checkout without an environment."""
    return Checkout(tmp_path, *indexes)


@pytest.fixture(scope="module")
def shared(indexes: tuple[Path, Index, Index], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One checkout that is set up; the tests that use it change it and leave it working."""
    checkout = Checkout(tmp_path_factory.mktemp("shared"), *indexes)
    done = checkout.inv()
    assert done.stdout == READY, done.stderr
    assert "CPU build from http://127.0.0.1" in done.stderr
    assert done.stderr.endswith("ready\n")
    return checkout


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_cpu_index_is_used_and_the_plain_index_not_asked_for_torch(shared: Checkout) -> None:
    shared.forget_torch()
    asked_before = len(shared.plain.asked)
    done = shared.inv(SEQLAB_TORCH_INDEX=shared.cpu.url)
    assert done.stdout == READY, done.stderr
    asked = shared.plain.asked[asked_before:]
    assert not any("torch" in path for path in asked)
    assert shared.inv(SEQLAB_PIP_INDEX=f"http://127.0.0.1:{closed_port()}").stdout == READY  # needs no network now


def test_lock_change_updates_and_removes_what_it_dropped(shared: Checkout) -> None:
    shared.lock("tiny==2")
    done = shared.inv()
    assert done.stdout == "tiny 2 tiny==2 torch==2.13.0+cpu\n", done.stderr
    assert "the lock has changed" in done.stderr
    assert "no longer names: other" in done.stderr
    shared.lock("tiny==1", "other==1")
    assert shared.inv().stdout == READY


def test_failed_update_leaves_the_environment_as_it_was(shared: Checkout) -> None:
    shared.lock("tiny==2", digest="0" * 64)
    done = shared.inv()
    assert (done.returncode, done.stdout) == (1, "")
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr  # pip's own words
    assert "next: ask another index" in done.stderr
    assert "pip install --no-user" in done.stderr  # the command that failed
    assert "Traceback" not in done.stderr
    assert "Traceback" in shared.inv("--debug").stderr
    shared.lock("tiny==1", "other==1")
    back = shared.inv()
    assert (back.stdout, back.stderr) == (READY, "")


def test_made_again_when_its_python_is_gone(shared: Checkout) -> None:
    python = shared.root / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nonexistent/python3.11")
    done = shared.inv()
    assert done.stdout == READY, done.stderr
    assert "making .venv" in done.stderr


def test_moved_checkout_goes_on_working(shared: Checkout) -> None:
    moved = shared.root.with_name("moved 'there'")
    shared.root.rename(moved)
    done = subprocess.run(moved / "inv", env=shared.environ, capture_output=True, text=True, check=True)
    moved.rename(shared.root)
    assert (done.stdout, done.stderr) == (READY, "")


def where_seqlab_is(root: Path) -> str:
    command = [root / ".venv/bin/python", "-c", "import seqlab, sys; print(sys.path[-1], seqlab.__file__, sep='|')"]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


def test_scripts_import_seqlab_from_the_checkout_also_where_it_moved(shared: Checkout) -> None:
    assert where_seqlab_is(shared.root) == f"{shared.root}|{shared.root}/seqlab/__init__.py"
    moved = shared.root.with_name("搬 moved")
    shared.root.rename(moved)
    found = where_seqlab_is(moved)
    moved.rename(shared.root)
    assert found == f"{moved}|{moved}/seqlab/__init__.py"


def test_an_environment_of_before_gets_the_path_without_pip(shared: Checkout) -> None:
    (pth,) = shared.root.glob(".venv/lib/python*/site-packages/seqlab-checkout.pth")
    pth.unlink()
    done = shared.inv(SEQLAB_PIP_INDEX=f"http://127.0.0.1:{closed_port()}")
    assert (done.stdout, done.stderr) == (READY, "inv: ready\n")
    assert pth.exists()


def test_on_a_terminal_a_step_is_one_line_and_pip_is_quiet(shared: Checkout) -> None:
    shared.lock("tiny==2")
    terminal, end = os.openpty()
    call = subprocess.Popen(shared.root / "inv", env=shared.environ, stderr=end, stdout=subprocess.DEVNULL)
    os.close(end)
    said = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(terminal, 65536):
            said += piece
    os.close(terminal)
    assert call.wait(60) == 0
    shared.lock("tiny==1", "other==1")
    assert shared.inv().stdout == READY
    lines = [line.rpartition("\r\x1b[K")[2] for line in re.split(r"\r?\n", said.decode()) if line]
    assert all(line.startswith("inv: ") for line in lines), lines
    assert len(lines) == 5, lines


def test_hand_made_environment_is_kept_and_completed(shared: Checkout) -> None:
    (shared.root / ".venv/.lock-installed").unlink()
    (shared.root / ".venv/mine").write_text("kept")
    done = shared.inv()
    assert done.stdout == READY, done.stderr
    assert "completing the .venv" in done.stderr
    assert (shared.root / ".venv/mine").exists()


def test_two_calls_at_once(fresh: Checkout) -> None:
    calls = [fresh.start(), fresh.start()]
    outputs = [call.communicate(timeout=60) for call in calls]
    assert [output for output, _ in outputs] == [READY, READY], outputs
    errors = sorted((error for _, error in outputs), key=len)
    assert errors[0].endswith("another set-up of this checkout is at work: waiting for it\n")
    assert "installing" not in errors[0]
    assert errors[1].endswith("ready\n")


def test_repairs_itself_after_being_killed_anywhere(fresh: Checkout) -> None:
    """Kills set-up at ten moments: the whole group, only the Python above pip, or as Ctrl-C does; then calls again."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    kinds = itertools.cycle([(os.killpg, signal.SIGKILL), (os.kill, signal.SIGKILL), (os.killpg, signal.SIGINT)])
    for kill, number in itertools.islice(kinds, 10):
        call = fresh.start()
        time.sleep(chance.uniform(0.1, 4.0))
        target = call.pid
        if kill is os.kill:
            children = Path(f"/proc/{call.pid}/task/{call.pid}/children")
            running = children.read_text().split() if children.exists() else []
            target = int(running[0]) if running else target
        if call.poll() is None:
            kill(target, number)
        call.communicate(timeout=60)
        if (fresh.root / ".venv/.lock-installed").exists():  # done before the blow: begin again
            shutil.rmtree(fresh.root / ".venv")
    done = fresh.inv()
    assert done.stdout == READY, f"seed {seed}\n{done.stderr}"
    assert fresh.inv().stderr == ""


def test_terminated_set_up_takes_pip_with_it(shared: Checkout) -> None:
    shared.lock("tiny==2")
    call = shared.start()
    assert call.stderr is not None
    while "checking the packages" not in call.stderr.readline():
        pass
    bootstrap = int(Path(f"/proc/{call.pid}/task/{call.pid}/children").read_text().split()[0])
    os.kill(bootstrap, signal.SIGTERM)
    call.communicate(timeout=20)  # pip holds the pipe as long as it lives
    assert call.returncode == 128 + signal.SIGTERM
    shared.lock("tiny==1", "other==1")
    assert shared.inv().stdout == READY


def test_offline_says_how_to_name_a_mirror(shared: Checkout) -> None:
    shared.lock("tiny==2")
    done = shared.inv(SEQLAB_PIP_INDEX=f"http://user:secret@127.0.0.1:{closed_port()}/simple")
    shared.lock("tiny==1", "other==1")
    assert done.returncode == 1
    assert "No matching distribution found" in done.stderr  # pip's own words
    assert "is this machine online" in done.stderr
    assert "next: try a mirror: SEQLAB_PIP_INDEX=" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    index = Index(tmp_path_factory.mktemp("nothing"), status=404)
    yield index
    index.close()


@pytest.mark.parametrize("kind", ["refused", "hangs", "404"])
def test_cpu_index_that_does_not_answer(shared: Checkout, broken: Index, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        url = {
            "refused": f"http://127.0.0.1:{closed_port()}",
            "hangs": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "404": broken.url,
        }[kind]
        started = time.monotonic()
        (answer,) = probe(shared, [{"PIP_INDEX_URL": url}])
    assert answer == "False"
    assert time.monotonic() - started < 12


def test_cpu_index_that_answers(shared: Checkout) -> None:
    links = f"{shared.cpu.url}/torch/"
    assert probe(shared, [{"PIP_INDEX_URL": shared.cpu.url}, {"PIP_FIND_LINKS": links}, {}]) == [
        "True",
        "True",
        "False",
    ]


def probe(checkout: Checkout, ways: list[dict[str, str]]) -> list[str]:
    """What Environment._offers says of the CPU build for each way, asked of the real pip."""
    code = f"""
from pathlib import Path
from typing import Any
from envs.bootstrap import Environment
environment = Environment(Path({str(checkout.root)!r}), 2)
print(*[environment._offers("2.13.0+cpu", way) for way in {ways!r}])
"""
    environ = {name: value for name, value in checkout.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=checkout.root, env=environ, capture_output=True, text=True, check=True
    ).stdout.split()  # fmt: skip


def test_without_any_cpu_build_it_warns_and_goes_on(shared: Checkout) -> None:
    shared.forget_torch()
    done = shared.inv(SEQLAB_TORCH_INDEX=f"http://127.0.0.1:{closed_port()}")
    shared.forget_torch()
    assert done.stdout == "tiny 1 other==1 tiny==1 torch==2.13.0\n", done.stderr
    assert done.stderr.index("CUDA libraries: 3 GB to download") < done.stderr.index("installing torch")
    assert shared.inv().stdout == READY


def test_folder_that_cannot_be_written(fresh: Checkout) -> None:
    # root may write anywhere, so it becomes nobody, who may be unable to start our own Python
    other: dict[str, Any] = {"user": "nobody", "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    environ = fresh.environ | {"SEQLAB_PYTHON": "", "PATH": f"/usr/bin:/bin:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        root = Path(folder, "seqlab")
        shutil.copytree(fresh.root, root)
        for path in (Path(folder), root):
            path.chmod(0o555)
        done = subprocess.run(root / "inv", env=environ, capture_output=True, text=True, cwd="/", **other)
        for path in (Path(folder), root):
            path.chmod(0o755)
    if "needs Python" in done.stderr:
        pytest.skip("the user nobody can start no Python with venv: apt-get install python3-venv")
    assert done.returncode == 1
    assert "error: cannot write in" in done.stderr
    assert "next: make the folder yours" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to("/root-only/bin/python3.11")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    said = bootstrap._explain(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".venv.lock")))
    assert "its Python, /root-only/bin/python3.11, cannot be started by this user\ncannot write in" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk(indexes: tuple[Path, Index, Index], small_disk: Path) -> None:
    checkout = Checkout(small_disk, *indexes)
    done = checkout.inv(PIP_NO_CACHE_DIR="1")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "next: `df -h . /tmp`" in done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
