"""Emissions from a bidirectional LSTM over hand features, averaged with a linear chain on the same features.

Each token's features choose rows of an embedding whose sum is the LSTM's input; the same features also score the
tags directly, so the network starts where a linear model ends:

    x_t = Σ_f v_tf · embedding[f],   h = BiLSTM(x),   emissions[t] = W h_t + Σ_f v_tf · direct[f]

A CRF scores whole paths (Huang, Xu and Yu 2015, "Bidirectional LSTM-CRF Models for Sequence Tagging"). In training a
share of the features of every token is hidden, so that the network cannot lean on the one rare string that gives a
training token away (Søgaard 2013, "Part-of-speech tagging with antagonistic adversaries").

On little data the linear chain, whose optimum is exact, and the network err differently. What comes out is their
geometric mean, p(y) ∝ √(p_linear(y) · p_network(y)): the mean of their scores (a logarithmic opinion pool, Smith,
Cohn and Osborne 2005).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding_bag
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from seqlab.crf import CRF
from seqlab.data.batches import length_batches
from seqlab.errors import ConfigError
from seqlab.rnn import LSTM
from seqlab.tagging.attributes import Attributes, Sentences
from seqlab.tagging.linear import LinearChain, LinearSettings
from seqlab.tagging.scores import AllowedMoves, ChainScores, Floats, Ints, sizes_of
from seqlab.tagging.sparse import SparseRows
from seqlab.tagging.storage import check_weights
from seqlab.tagging.training import LoopSettings, one_thread, train

__all__ = ["BiLstmChain", "BiLstmSettings"]

PREDICT_TOKENS = 4_000  # in a batch, padding included
INPUT_SCALE = 0.25  # a token has some 20 features: keeps their sum near 1


@dataclass(frozen=True)
class BiLstmSettings(LoopSettings):
    """A BiLSTM-CRF and its training; also see `LoopSettings`.

    Attributes:
        embedding: D, width of the LSTM's input.
        hidden: units of the LSTM per direction.
        layers: of the LSTM.
        dropout: share of the LSTM's inputs and outputs that training hides.
        feature_dropout: share of a token's features that training hides.
        min_freq: features seen fewer times are left out of the network.
        pool: whether a linear chain is trained too and the two are averaged.
        c2: L2 penalty of that linear chain.
    """

    embedding: int = 64
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.5
    feature_dropout: float = 0.5
    min_freq: float = 2.0
    pool: bool = True
    c2: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding", "hidden", "layers"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in ("dropout", "feature_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in 0 … 1, 1 excluded, got {getattr(self, name)!r}")


class _Network(nn.Module):
    """Sparse rows of features to emissions."""

    def __init__(self, num_features: int, num_tags: int, settings: BiLstmSettings) -> None:
        super().__init__()
        self.feature_dropout = settings.feature_dropout
        self.embedding = nn.Parameter(torch.randn(num_features, settings.embedding) * 0.3)
        self.direct = nn.Parameter(torch.zeros(num_features, num_tags))
        self.lstm = LSTM(
            settings.embedding, settings.hidden, num_layers=settings.layers, batch_first=True, bidirectional=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )  # fmt: skip
        self.dropout = nn.Dropout(settings.dropout)
        self.project = nn.Linear(2 * settings.hidden, num_tags)
        self.crf = CRF(num_tags, batch_first=True)

    def forward(self, rows: SparseRows, sizes: Ints) -> Tensor:
        """Return emissions (B, T, K) of B sentences behind one another."""
        lengths = sizes.tolist()
        inputs = self._sums(self.embedding, rows) * INPUT_SCALE  # (N, D)
        padded = self.dropout(padded_rows(inputs, lengths))  # (B, T, D)
        packed_inputs = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed_inputs)[0], batch_first=True)  # (B, T, 2H)
        direct = padded_rows(self._sums(self.direct, rows), lengths)  # (B, T, K)
        emissions: Tensor = self.project(self.dropout(states)) + direct
        return emissions

    def _sums(self, table: Tensor, rows: SparseRows) -> Tensor:
        """Return Σ_f v_tf · table[f] for each token, (N, width)."""
        values = torch.from_numpy(rows.values.astype(np.float32))
        if self.training and self.feature_dropout:
            kept = torch.rand(len(values)) >= self.feature_dropout
            values = values * kept / (1 - self.feature_dropout)
        columns, offsets = torch.from_numpy(rows.columns.astype(np.int64)), torch.from_numpy(rows.offsets)
        return embedding_bag(columns, table, offsets, mode="sum", per_sample_weights=values, include_last_offset=True)


class BiLstmChain:
    """A trained model.

    Args:
        network: the BiLSTM-CRF.
        attributes: the features it knows.
        allowed: which moves there are.
        linear: the chain it is averaged with, or None.
    """

    def __init__(
        self, network: _Network, attributes: Attributes, allowed: AllowedMoves, linear: LinearChain | None
    ) -> None:
        self.network, self.attributes, self.allowed, self.linear = network, attributes, allowed, linear

    @classmethod
    def fit(
        cls,
        sentences: Sentences,
        gold: Ints,
        allowed: AllowedMoves,
        settings: BiLstmSettings,
        *,
        validate: Callable[["BiLstmChain"], float] | None = None,
        report: Callable[[int, float], None] | None = None,
    ) -> "BiLstmChain":
        """Train on sentences of described tokens, none of them empty.

        Args:
            sentences: descriptions of the tokens.
            gold: (N,), the tags of all tokens in a row.
            allowed: which moves there are; those of `gold` must be among them.
            settings: of network and training.
            validate: returns a score of the model as it is, higher is better; None: no early stopping.
            report: told the number of each epoch and its loss per token.

        Raises:
            DataError: a description has a wrong form.
            SeqlabError: the training diverged.
        """
        linear = LinearChain.fit(sentences, gold, allowed, LinearSettings(c2=settings.c2))[0] if settings.pool else None
        attributes, rows = Attributes.learn(sentences, settings.min_freq)
        model = cls(_Network(len(attributes), len(allowed.start), settings), attributes, allowed, linear)
        sizes = sizes_of(sentences)
        targets = torch.split(torch.from_numpy(gold), sizes.tolist())

        def loss_of(chosen: Sequence[int]) -> Tensor:
            lengths = torch.from_numpy(sizes[chosen])
            emissions = model.network(rows_of(rows, sizes, chosen), sizes[chosen])  # (B, T, K)
            tags = pad_sequence([targets[number] for number in chosen], batch_first=True)  # (B, T)
            mask = torch.arange(emissions.size(1)) < lengths.unsqueeze(1)
            loss: Tensor = -model.network.crf(emissions, tags, mask, reduction="token_mean")
            return loss

        score = None if validate is None else (lambda: validate(model))
        with one_thread():
            train(model.network, loss_of, len(sentences), settings, validate=score, report=report)
        return model

    @torch.no_grad()
    def scores(self, sentences: Sentences) -> ChainScores:
        """Score sentences of described tokens.

        Raises:
            DataError: a description has a wrong form.
        """
        rows, sizes, crf = self.attributes.rows(sentences), sizes_of(sentences), self.network.crf
        found = np.zeros((int(sizes.sum()), crf.num_tags), np.float32)
        ends = np.cumsum(sizes)
        filled = np.flatnonzero(sizes)
        for batch in length_batches(sizes[filled].tolist(), budget=PREDICT_TOKENS, seed=None):
            chosen = filled[batch]
            with one_thread():
                emissions = self.network(rows_of(rows, sizes, chosen), sizes[chosen])
            for number, row in zip(chosen.tolist(), emissions, strict=True):
                found[ends[number] - sizes[number] : ends[number]] = row[: sizes[number]].numpy()
        scores = ChainScores(found, crf.transitions.numpy(), crf.start_transitions.numpy(), crf.end_transitions.numpy())
        if self.linear is not None:
            scores = ChainScores(*((a + b) / 2 for a, b in zip(scores, self.linear.scores(sentences), strict=True)))
        return scores._replace(
            transitions=scores.transitions + self.allowed.pairs,
            start=scores.start + self.allowed.start,
            end=scores.end + self.allowed.end,
        )

    def state(self) -> tuple[dict[str, Any], Mapping[str, Floats]]:
        """Return what `restore` needs."""
        arrays = {f"network/{name}": values.numpy() for name, values in self.network.state_dict().items()}
        arrays["attributes"] = self.attributes.to_bytes()
        if self.linear is not None:
            arrays |= {f"linear/{name}": values for name, values in self.linear.state()[1].items()}
        return {}, arrays

    @classmethod
    def restore(
        cls, arrays: Mapping[str, NDArray[Any]], allowed: AllowedMoves, settings: BiLstmSettings
    ) -> "BiLstmChain":
        """Undo `state`.

        Raises:
            KeyError, ValueError, RuntimeError: an array is missing, does not fit the others, or holds what no training
                gives.
        """
        parts: dict[str, dict[str, NDArray[Any]]] = {"network": {}, "linear": {}}
        for name, values in arrays.items():
            part, _, rest = name.partition("/")
            if rest:
                parts[part][rest] = values
        if bool(parts["linear"]) != settings.pool:
            raise ValueError(f"pool is {settings.pool}, but there are {len(parts['linear'])} arrays of a linear chain")
        check_weights(parts["network"])
        attributes = Attributes.from_bytes(arrays["attributes"])
        network = _Network(len(attributes), len(allowed.start), settings)
        network.load_state_dict({name: torch.from_numpy(values) for name, values in parts["network"].items()})
        network.eval()
        linear = LinearChain.restore(parts["linear"], allowed) if parts["linear"] else None
        return cls(network, attributes, allowed, linear)


def padded_rows(values: Tensor, lengths: list[int]) -> Tensor:
    """Return values (N, width) of sentences behind one another as (B, T, width)."""
    return pad_sequence(list(torch.split(values, lengths)), batch_first=True)


def rows_of(rows: SparseRows, sizes: Ints, chosen: Sequence[int] | Ints) -> SparseRows:
    """Return the rows of the chosen sentences only, behind one another."""
    ends = np.cumsum(sizes)
    tokens = np.concatenate([np.arange(ends[number] - sizes[number], ends[number]) for number in chosen])
    counts = np.diff(rows.offsets)[tokens]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    entries = np.arange(offsets[-1]) + np.repeat(rows.offsets[tokens] - offsets[:-1], counts)
    return SparseRows(rows.columns[entries], rows.values[entries], offsets, rows.num_columns)
