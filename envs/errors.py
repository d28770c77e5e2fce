"""Errors of the kit around the library, hung into seqlab's tree.

KitError (SeqlabError)          base of what the kit raises on purpose
├── MissingTool                 a program the task needs is not installed: names the command that installs it
├── RunError                    a run cannot be found, started, stopped or read
│   └── NameTaken               there is already something of that name
├── EnvironmentBroken           a virtual, node or container environment cannot be made or used
└── PublishError                a post or the site cannot be made
"""

from seqlab.errors import SeqlabError

__all__ = ["EnvironmentBroken", "KitError", "MissingTool", "NameTaken", "PublishError", "RunError"]


class KitError(SeqlabError):
    """Base of every error the kit raises on purpose."""


class MissingTool(KitError):
    """A program the task needs is not installed."""


class RunError(KitError):
    """A run cannot be found, started, stopped or read."""


class NameTaken(RunError):
    """There is already something of that name."""


class EnvironmentBroken(KitError):
    """A virtual, node or container environment cannot be made or used."""


class PublishError(KitError):
    """A post or the site cannot be made."""
