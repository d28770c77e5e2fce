"""Everything seqlab raises on purpose, as one tree.

SeqlabError                     base: its message is for a person and ends the command without a stack trace
├── ConfigError                 a setting's name, type or value is wrong
├── DataError                   input text or a data file cannot be used
├── CheckpointError             no checkpoint can be loaded
├── ShapeError (ValueError)     a tensor argument has the wrong shape, type or contents
└── envs.errors.KitError        the kit around the library: see there

A message says what was expected, what came, and what to do next.
"""

__all__ = ["CheckpointError", "ConfigError", "DataError", "SeqlabError", "ShapeError"]


class SeqlabError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line ends with.

    2 means that running the same command again cannot help.
    """

    exit_code = 1


class ConfigError(SeqlabError):
    """A setting's name, type or value is wrong."""

    exit_code = 2


class DataError(SeqlabError):
    """Input text or a data file cannot be used."""

    exit_code = 2


class CheckpointError(SeqlabError):
    """No checkpoint can be loaded."""

    exit_code = 2


class ShapeError(SeqlabError, ValueError):
    """A tensor argument has the wrong shape, type or contents."""
