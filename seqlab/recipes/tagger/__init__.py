"""A BiLSTM-CRF that gives every character of a line a tag, measured against a supervised HMM.

Use a trained one:

    tagger = load("runs/…")
    tagger.predict(["x = 1"])  # [["S-name", "O", "S-operator", "O", "S-number"]]

Importing this package imports no torch; `load` does.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqlab.recipes.tagger.inference import Tagger

__all__ = ["load"]


def load(folder: str | Path) -> "Tagger":
    """The trained tagger in a run's folder (model.safetensors and model.json).

    Raises:
        CheckpointError: the files are missing, damaged or of another recipe.
    """
    from seqlab.recipes.tagger.inference import Tagger

    return Tagger.load(Path(folder))
