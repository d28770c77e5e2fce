"""The tagger's settings. Imports no torch."""

from dataclasses import dataclass, field

from seqlab.train.config import LoopConfig, setting

__all__ = ["DataConfig", "EncoderConfig", "HmmConfig", "TaggerConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Which lines are used."""

    max_length: int = setting(100, "characters in a line; longer lines are left out", above=0, at_most=10**6)
    train_lines: int | None = setting(130_000, "at most this many lines to train on", above=0, at_most=10**9)
    valid_lines: int | None = setting(3_000, "at most this many lines to validate on", above=0, at_most=10**9)
    test_lines: int | None = setting(8_000, "at most this many lines to test on", above=0, at_most=10**9)
    min_count: int = setting(3, "characters rarer in training become <unk>; 2 with --data", above=0, at_most=10**9)


@dataclass(frozen=True)
class EncoderConfig:
    """What turns characters into emission scores."""

    embedding: int = setting(32, "size of a character's vector", above=0, at_most=65_536)
    bigram_buckets: int = setting(4096, "hashed character pairs; 0 for none", at_least=0, at_most=10**8)
    hidden: int = setting(96, "LSTM units per direction", above=0, at_most=65_536)
    layers: int = setting(1, "stacked LSTM layers", above=0, at_most=16)
    dropout: float = setting(0.0, "of the vectors into and out of the LSTM; 0.5 with --data", at_least=0, below=1)
    char_dropout: float = setting(
        0.005, "share of characters that training hides as <unk>; 0.1 with --data", at_least=0, below=1
    )


@dataclass(frozen=True)
class HmmConfig:
    """The baseline."""

    smoothing: tuple[float, ...] = setting(
        (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0), "pseudo-counts tried on the validation part", above=0
    )


@dataclass(frozen=True)
class TaggerConfig:
    """Settings of `seqlab.recipes.tagger`."""

    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    hmm: HmmConfig = field(default_factory=HmmConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=2, min_steps=1_000, lr=0.005, eval_every=300))
    batch_chars: int = setting(2_000, "characters in a batch, padding included", above=0, at_most=10**8)
