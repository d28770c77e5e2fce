"""The BiLSTM-CRF.

A bidirectional LSTM reads vectors of characters and character pairs and gives every tag an emission score; a
linear-chain CRF whose transitions forbid ill-formed BIOES sequences scores whole paths.

Source: Huang, Xu and Yu, "Bidirectional LSTM-CRF Models for Sequence Tagging" (2015).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqlab.crf import CRF, bioes_constraints
from seqlab.recipes.tagger.config import EncoderConfig
from seqlab.recipes.tagger.vocabulary import PAD, UNKNOWN
from seqlab.rnn import LSTM

__all__ = ["Batch", "TaggerModel", "collate"]


class Batch(NamedTuple):
    """B sequences padded to T characters, the longest first."""

    chars: Tensor  # (B, T) int64, PAD after each sequence's end
    lengths: Tensor  # (B,) int64, on the CPU
    tags: Tensor  # (B, T) int64, 0 after each sequence's end


def collate(chars: Sequence[Sequence[int]], tags: Sequence[Sequence[int]] | None = None) -> Batch:
    """Pad encoded sequences, given longest first; without `tags` they are all 0."""
    width = len(chars[0])
    padded = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in chars])
    tagged = torch.zeros_like(padded)
    if tags is not None:
        tagged = torch.tensor([[*row, *[0] * (width - len(row))] for row in tags])
    return Batch(padded, torch.tensor([len(row) for row in chars]), tagged)


class TaggerModel(nn.Module):
    """Characters to tags.

    Args:
        num_chars: size of the vocabulary, padding and unknown included.
        labels: the K tags in order, of the BIOES family.
        config: sizes and dropout.
    """

    def __init__(self, num_chars: int, labels: Sequence[str], config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.num_chars = num_chars
        self.chars = nn.Embedding(num_chars, config.embedding, padding_idx=PAD)
        width = config.embedding
        self.pairs: nn.Embedding | None = None
        if config.bigram_buckets:
            self.pairs = nn.Embedding(config.bigram_buckets, config.embedding)
            width += config.embedding
        self.lstm = LSTM(
            width, config.hidden, num_layers=config.layers, dropout=config.dropout if config.layers > 1 else 0.0,
            batch_first=True, bidirectional=True,
        )  # fmt: skip
        self.dropout = nn.Dropout(config.dropout)
        self.emissions = nn.Linear(2 * config.hidden, len(labels))
        self.crf = CRF(len(labels), batch_first=True, constraints=bioes_constraints(labels))

    def forward(self, chars: Tensor, lengths: Tensor) -> Tensor:
        """Emission scores (B, T, K) for `chars` (B, T) with `lengths` (B,) in falling order."""
        if self.training and self.config.char_dropout:
            hidden = torch.rand_like(chars, dtype=torch.float) < self.config.char_dropout
            chars = chars.masked_fill(hidden & (chars != PAD), UNKNOWN)
        vectors = self.chars(chars)  # (B, T, E)
        if self.pairs is not None:
            vectors = torch.cat([vectors, self.pairs(self._buckets(chars))], dim=-1)  # (B, T, 2E)
        packed = pack_padded_sequence(self.dropout(vectors), lengths, batch_first=True)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # (B, T, 2H)
        scores: Tensor = self.emissions(self.dropout(states))
        return scores

    def loss(self, batch: Batch) -> Tensor:
        """Negative log-likelihood of the tags per character."""
        emissions = self(batch.chars, batch.lengths)
        log_likelihood: Tensor = self.crf(emissions, batch.tags, batch.chars != PAD, reduction="token_mean")
        return -log_likelihood

    @torch.no_grad()
    def decode(self, batch: Batch) -> list[list[int]]:
        """The best tag path of each sequence."""
        return self.crf.decode(self(batch.chars, batch.lengths), batch.chars != PAD)

    def _buckets(self, chars: Tensor) -> Tensor:
        """A hash bucket for each character with the one before it, (B, T)."""
        before = torch.nn.functional.pad(chars, (1, 0))[:, :-1]
        # A multiplier without common factors with the table's size spreads the pairs.
        return (before * 7919 + chars * 104729) % self.config.bigram_buckets
