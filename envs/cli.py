"""The program behind `./inv`: Invoke, with our errors as plain messages and help that always answers.

It differs from plain Invoke in four ways: a `SeqlabError` ends with its message and exit code instead of a
stack trace (unless `--debug`); `TASK --help` works for tasks with a positional argument; settings may come from
`SEQLAB_…` environment variables; and tasks are found beside this file's folder, whatever the working directory.
"""

import difflib
import errno
import os
import signal
import sys
from pathlib import Path

# Until a task begins, Ctrl-C ends the process as it ends any program, without a stack trace.
signal.signal(signal.SIGINT, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python may put envs/ first on the path, where its modules would hide others of the same name.
sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry != str(ROOT / "envs"))]

from invoke import Exit, ParseError, Program  # noqa: E402
from invoke.config import Config  # noqa: E402
from invoke.util import yaml  # noqa: E402

from envs.settings import check_settings  # noqa: E402
from seqlab import __version__  # noqa: E402
from seqlab.errors import ConfigError, SeqlabError  # noqa: E402

__all__ = ["KitProgram", "main"]

INTERRUPTED = 130
REFUSED = 2
WELCOME = """
Start with   ./inv demo           the whole way once, from this machine to a page of results
             ./inv TASK --help    what a task does and takes
             ./inv doctor         what this machine has and lacks"""


class KitConfig(Config):
    """`invoke.yaml` beside `tasks.py`, overridden by `SEQLAB_SECTION_KEY` environment variables."""

    env_prefix = "SEQLAB"  # type: ignore[assignment]  # declared as None there


class KitProgram(Program):
    """Invoke's program over this project's tasks."""

    debugging = False

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        """Run the tasks named in `argv`; ends the process with the task's exit code."""
        try:
            super().run(argv, exit=exit)
        except BrokenPipeError:
            raise
        except SeqlabError as error:
            self._fail(error, str(error), error.exit_code)
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            self._fail(error, f"{error.strerror or error}{where}\n  next: {_mend(error)}", 1)
        except Exception as error:  # what nobody foresaw still ends in one line; --debug shows all of it
            said = f"{type(error).__name__}: {error}"
            self._fail(error, f"this should not happen: {said}\n  next: ./inv --debug …, and report what it shows", 1)

    def _fail(self, error: Exception, message: str, code: int) -> None:
        if self.debugging:
            raise error
        print(f"error: {message}", file=sys.stderr)
        sys.exit(code)

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse Invoke's own flags; keep compiled bytecode, which Invoke would throw away; check the settings."""
        super().parse_core(argv)
        sys.dont_write_bytecode = False
        self.debugging = bool(self.args.debug.value)
        check_settings(_settings_file(), os.environ)

    def no_tasks_given(self) -> None:
        """`./inv` alone shows what there is and where to begin."""
        self.list_format = "flat"
        self.list_tasks()
        print(WELCOME)
        raise Exit

    def execute(self) -> None:
        """Run the tasks; Ctrl-C ends with the shell's usual code instead of Invoke's 1."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            super().execute()
        except KeyboardInterrupt:
            raise Exit("interrupted", code=INTERRUPTED) from None

    def parse_tasks(self) -> None:
        """Parse the tasks' arguments, after turning `TASK … --help` into `--help TASK`."""
        unparsed: list[str] = self.core.unparsed
        words = unparsed[: unparsed.index("--")] if "--" in unparsed else unparsed
        asks = next((i for i, word in enumerate(words) if word in ("--help", "-h")), None)
        if asks is not None:
            named = [word for word in words[:asks] if word in self.collection.task_names]
            if named:
                self.args.help.set_value(named[-1], cast=False)
                self.core.unparsed = []
        try:
            self._parse_or_complete(unparsed)
        except ParseError as error:
            raise Exit(f"error: {error}{self._nearest(unparsed)}", code=REFUSED) from None

    def _parse_or_complete(self, unparsed: list[str]) -> None:
        """Parse; a positional argument that was left out is empty, and the task itself says what it needs."""
        try:
            super().parse_tasks()
        except ParseError as error:
            if "required positional" not in str(error):
                raise
            self.core.unparsed = [*unparsed, ""]
            super().parse_tasks()

    def _nearest(self, words: list[str]) -> str:
        """The task that a misspelt first word may have meant."""
        near = difflib.get_close_matches(words[0], self.collection.task_names, 1) if words else []
        known = not words or words[0] in self.collection.task_names
        return "\n  next: ./inv --list" if not near else "" if known else f"\n  next: ./inv {near[0]}?"


def _settings_file() -> object:
    """What `invoke.yaml` holds, or None without one."""
    path = ROOT / "invoke.yaml"
    try:
        held = path.read_text(encoding="utf-8") if path.exists() else ""
        return yaml.safe_load(held)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read:\n{error}") from None


def _mend(error: OSError) -> str:
    """The command that helps with an operating system error no task expected."""
    if error.errno == errno.ENOSPC:
        return "free some disk space (`df -h .`), then run the same command again; nothing was lost"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check who owns the folder (`ls -ld`), or point `runs:` in invoke.yaml to one you can write"
    return "`./inv doctor` looks for what is wrong; add --debug before the task for the stack trace"


def main() -> None:
    """Run `./inv`'s arguments."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter shows its code, and the task goes on
            stream.reconfigure(errors="backslashreplace")
    program = KitProgram(version=__version__, name="seqlab", binary="./inv", config_class=KitConfig)
    # The tasks file is always this project's; a user's own --search-root comes later and wins.
    try:
        program.run([sys.argv[0], "--search-root", str(ROOT), *sys.argv[1:]])
    except BrokenPipeError:
        # The reader (`| head`) has gone: point stdout elsewhere so that Python's own flush stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
