"""The program behind `./inv`: Invoke, with our errors as plain messages and help that always answers.

It differs from plain Invoke in four ways: a `SeqlabError` ends with its message and exit code instead of a
stack trace (unless `--debug`); `TASK --help` works for tasks with a positional argument; settings may come from
`SEQLAB_…` environment variables; and tasks are found beside this file's folder, whatever the working directory.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python may put envs/ first on the path, where its modules would hide others of the same name.
sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry != str(ROOT / "envs"))]

from invoke import Exit, ParseError, Program  # noqa: E402
from invoke.config import Config  # noqa: E402

from seqlab import __version__  # noqa: E402
from seqlab.errors import SeqlabError  # noqa: E402

__all__ = ["KitProgram", "main"]

INTERRUPTED = 130


class KitConfig(Config):
    """`invoke.yaml` beside `tasks.py`, overridden by `SEQLAB_SECTION_KEY` environment variables."""

    env_prefix = "SEQLAB"  # type: ignore[assignment]  # declared as None there


class KitProgram(Program):
    """Invoke's program over this project's tasks."""

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        """Run the tasks named in `argv`; ends the process with the task's exit code."""
        try:
            super().run(argv, exit=exit)
        except SeqlabError as error:
            if self.args.debug.value:
                raise
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except OSError as error:
            if self.args.debug.value or isinstance(error, BrokenPipeError):
                raise
            where = f": {error.filename}" if error.filename else ""
            print(f"error: {error.strerror or error}{where}\n  next: {_mend(error)}", file=sys.stderr)
            sys.exit(1)

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse Invoke's own flags; keep compiled bytecode, which Invoke would throw away."""
        super().parse_core(argv)
        sys.dont_write_bytecode = False

    def execute(self) -> None:
        """Run the tasks; Ctrl-C ends with the shell's usual code instead of Invoke's 1."""
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
            super().parse_tasks()
        except ParseError as error:
            if "required positional" not in str(error):
                raise
            # Left out, a positional argument is empty: the task itself says what it needs, with an example.
            self.core.unparsed = [*unparsed, ""]
            super().parse_tasks()


def _mend(error: OSError) -> str:
    """The command that helps with an operating system error no task expected."""
    import errno

    if error.errno == errno.ENOSPC:
        return "free some disk space (`df -h .`), then run the same command again; nothing was lost"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check who owns the folder (`ls -ld`), or point `runs:` in invoke.yaml to one you can write"
    return "`./inv doctor` looks for what is wrong; add --debug before the task for the stack trace"


def main() -> None:
    """Run `./inv`'s arguments."""
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
