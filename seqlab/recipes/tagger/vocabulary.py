"""Characters as numbers, shared by the tagger and its baseline."""

from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["PAD", "UNKNOWN", "Vocabulary"]

PAD, UNKNOWN = 0, 1


class Vocabulary:
    """Numbers for characters: 0 is padding, 1 any unknown character, then `characters` in order."""

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        self._numbers = {character: number for number, character in enumerate(self.characters, start=2)}

    @classmethod
    def of(cls, texts: Iterable[str], min_count: int) -> "Vocabulary":
        """The characters that occur at least `min_count` times in `texts`, the most frequent first."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        frequent = [character for character, count in counts.items() if count >= min_count]
        return cls(sorted(frequent, key=lambda character: (-counts[character], character)))

    def __len__(self) -> int:
        return len(self.characters) + 2

    def encode(self, text: str) -> list[int]:
        """One number for each character of `text`."""
        return [self._numbers.get(character, UNKNOWN) for character in text]
