"""The conventions of a scikit-learn estimator, without scikit-learn.

A constructor stores its arguments unchanged under their own names; what is learnt ends with an underscore. That is
all `sklearn.base.clone`, a grid search or a pipeline asks for.
"""

import inspect
from typing import Any, Self, TypeAlias

import numpy as np

from seqlab.errors import ShapeError

__all__ = ["Estimator", "NotFittedError", "Random", "random_state"]

Random: TypeAlias = "int | np.integer[Any] | np.random.RandomState | None"


class NotFittedError(ShapeError, AttributeError):
    """A model is used before its parameters were learnt or set; like scikit-learn's, a ValueError."""


class Estimator:
    """Reads the names of the parameters from the constructor's signature."""

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        """Return the constructor's parameters and their defaults."""
        signature = inspect.signature(cls.__init__)
        return {name: parameter.default for name, parameter in list(signature.parameters.items())[1:]}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name; `deep` changes nothing, as no argument is an estimator."""
        return {name: getattr(self, name) for name in sorted(self._parameters())}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor by name.

        Raises:
            ShapeError: a name is not one of them.
        """
        for name, value in params.items():
            if name not in self._parameters():
                known = ", ".join(sorted(self._parameters()))
                raise ShapeError(f"{type(self).__name__} has no parameter {name!r}; it has {known}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = self._parameters()
        shown = [f"{name}={value!r}" for name, value in self.get_params().items() if _differs(value, defaults[name])]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags  # type: ignore[import-not-found,unused-ignore]

        return Tags(estimator_type=None, target_tags=TargetTags(required=False), input_tags=InputTags())


def _differs(value: Any, default: Any) -> bool:
    return repr(value) != repr(default)


def random_state(seed: Random) -> np.random.RandomState:
    """Return the generator of a seed, a generator as it is, and numpy's global one for None.

    Raises:
        ShapeError: the seed is something else.
    """
    if seed is None:
        return np.random.mtrand._rand
    if isinstance(seed, np.random.RandomState):
        return seed
    if isinstance(seed, int | np.integer):
        return np.random.RandomState(int(seed))
    raise ShapeError(f"random_state must be an integer, a numpy RandomState or None, got {seed!r}")
