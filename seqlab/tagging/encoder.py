"""Emissions from an encoder that the user brings: a pretrained transformer, or any module from tokens to vectors.

An encoder is a torch module called with B sentences, each a list of token strings, that returns their vectors
(B, T, D), T at least the longest sentence; what lies beyond a sentence's end is not looked at. A linear layer
and a CRF go on top. The encoder stays as it is (each sentence is then encoded once), or is trained along.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqlab.crf import CRF
from seqlab.data.batches import length_batches
from seqlab.errors import ConfigError, DataError, ShapeError
from seqlab.tagging.scores import AllowedMoves, ChainScores, Floats, Ints, sizes_of
from seqlab.tagging.storage import check_weights
from seqlab.tagging.training import LoopSettings, train

__all__ = ["EncoderChain", "EncoderSettings", "TransformersEncoder"]

PREDICT_TOKENS = 2_000  # in a batch, padding included


@dataclass(frozen=True)
class EncoderSettings(LoopSettings):
    """A linear layer and a CRF on an encoder, and their training; also see `LoopSettings`.

    Attributes:
        epochs: see `LoopSettings`.
        encoder_learning_rate: of the encoder, mostly 1e-5 … 5e-5; 0 leaves it as it is.
        dropout: share of the encoder's outputs that training hides.
    """

    epochs: int = 20
    encoder_learning_rate: float = 0.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.encoder_learning_rate >= 0:
            raise ConfigError(f"encoder_learning_rate must be ≥ 0, got {self.encoder_learning_rate!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in 0 … 1, 1 excluded, got {self.dropout!r}")


class _Head(nn.Module):
    """Vectors to emissions, with the CRF; holds the encoder only if that is trained."""

    def __init__(self, width: int, num_tags: int, dropout: float, encoder: nn.Module | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(width, num_tags)
        self.crf = CRF(num_tags, batch_first=True)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return emissions (B, T, K) of vectors (B, T, D)."""
        emissions: Tensor = self.project(self.dropout(vectors))
        return emissions


class EncoderChain:
    """A trained model.

    Args:
        encoder: as in the module's docstring.
        head: what stands on it.
        allowed: which moves there are.
    """

    def __init__(self, encoder: nn.Module, head: _Head, allowed: AllowedMoves) -> None:
        self.encoder, self.head, self.allowed = encoder, head, allowed

    @classmethod
    def fit(
        cls,
        encoder: nn.Module,
        sentences: Sequence[Sequence[str]],
        gold: Ints,
        allowed: AllowedMoves,
        settings: EncoderSettings,
        *,
        validate: Callable[["EncoderChain"], float] | None = None,
        report: Callable[[int, float], None] | None = None,
    ) -> "EncoderChain":
        """Train on sentences of tokens, none of them empty. Arguments and errors as in `BiLstmChain.fit`.

        Raises:
            ShapeError: the encoder's vectors have a wrong shape.
        """
        encoder.eval()
        tuned = settings.encoder_learning_rate > 0
        with torch.no_grad():
            width = _vectors(encoder, sentences[:1]).size(2)
        head = _Head(width, len(allowed.start), settings.dropout, encoder if tuned else None)
        model = cls(encoder, head.to(_device(encoder)), allowed)
        sizes = sizes_of(sentences)
        targets = torch.split(torch.from_numpy(gold), sizes.tolist())
        kept = None if tuned else model.encode(sentences)

        def loss_of(chosen: Sequence[int]) -> Tensor:
            if kept is None:
                vectors = _vectors(encoder, [sentences[number] for number in chosen])  # (B, T, D)
            else:
                vectors = pad_sequence([kept[number] for number in chosen], batch_first=True)
            tags = pad_sequence([targets[number] for number in chosen], batch_first=True).to(vectors.device)
            mask = torch.arange(tags.size(1)) < torch.from_numpy(sizes[chosen]).unsqueeze(1)
            emissions = head(vectors[:, : tags.size(1)])
            loss: Tensor = -head.crf(emissions, tags, mask.to(vectors.device), reduction="token_mean")
            return loss

        own = [parameter for name, parameter in head.named_parameters() if not name.startswith("encoder.")]
        groups: list[dict[str, object]] = [{"params": own}]
        if tuned:
            groups.append({"params": list(encoder.parameters()), "lr": settings.encoder_learning_rate})
        score = None if validate is None else (lambda: validate(model))
        train(head, loss_of, len(sentences), settings, groups=groups, validate=score, report=report)
        return model

    @torch.no_grad()
    def encode(self, sentences: Sequence[Sequence[str]]) -> list[Tensor]:
        """Return each sentence's vectors, (n, D), without gradient."""
        self.encoder.eval()
        found: list[Tensor] = [torch.empty(0)] * len(sentences)
        sizes = sizes_of(sentences).tolist()
        for batch in length_batches(sizes, budget=PREDICT_TOKENS, seed=None):
            vectors = _vectors(self.encoder, [sentences[number] for number in batch])
            for number, row in zip(batch, vectors, strict=True):
                found[number] = row[: sizes[number]]
        return found

    @torch.no_grad()
    def scores(self, sentences: Sequence[Sequence[str]]) -> ChainScores:
        """Score sentences of tokens.

        Raises:
            ShapeError: the encoder's vectors have a wrong shape.
        """
        filled = [sentence for sentence in sentences if len(sentence)]
        crf, K = self.head.crf, self.head.crf.num_tags
        emissions = np.zeros((0, K), np.float32)
        if filled:
            emissions = self.head(torch.cat(self.encode(filled)).unsqueeze(0))[0].float().cpu().numpy()  # (N, K)
        moves = (crf.transitions, crf.start_transitions, crf.end_transitions)
        pairs, start, end = (part.cpu().numpy() for part in moves)
        return ChainScores(emissions, pairs + self.allowed.pairs, start + self.allowed.start, end + self.allowed.end)

    def state(self) -> tuple[dict[str, Any], Mapping[str, Floats]]:
        """Return what `restore` needs; the encoder's weights are in it only if it was trained."""
        weights = {name: values.cpu().numpy() for name, values in self.head.state_dict().items()}
        return {"width": self.head.project.in_features}, weights

    @classmethod
    def restore(
        cls,
        card: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        encoder: nn.Module,
        allowed: AllowedMoves,
        settings: EncoderSettings,
    ) -> "EncoderChain":
        """Undo `state`; a trained encoder's weights are put into `encoder`.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: the weights do not fit, or are not finite.
        """
        check_weights({name: values for name, values in arrays.items() if not name.startswith("encoder.")})
        tuned = settings.encoder_learning_rate > 0
        head = _Head(card["width"], len(allowed.start), settings.dropout, encoder if tuned else None)
        head.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})
        return cls(encoder, head.to(_device(encoder)).eval(), allowed)


class TransformersEncoder(nn.Module):
    """A model and a fast tokenizer of the `transformers` library as an encoder of words.

    A word is cut into pieces; its vector is that of its first piece (Devlin et al. 2019, section 5.3) or the mean of
    all. A word that the tokenizer drops (a control character, say) gets zeros.

    Args:
        model: called with the tokenizer's tensors, returns `last_hidden_state` (B, pieces, D).
        tokenizer: called with lists of words and `is_split_into_words=True`; its result has `word_ids(row)`.
        pooling: "first" or "mean".
        max_pieces: the most pieces that the model takes; None: its `config.max_position_embeddings`.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, pooling: Literal["first", "mean"] = "first",
        max_pieces: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if pooling not in ("first", "mean"):
            raise ConfigError(f"pooling must be 'first' or 'mean', got {pooling!r}")
        if not getattr(tokenizer, "is_fast", True):
            raise ConfigError(
                "tokenizer must be a fast one (use_fast=True): slow ones cannot tell which word a piece is of"
            )
        self.model, self.tokenizer, self.pooling = model, tokenizer, pooling
        self.max_pieces = max_pieces or getattr(getattr(model, "config", None), "max_position_embeddings", None)

    def forward(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Return the words' vectors (B, T, D).

        Raises:
            DataError: a sentence has more pieces than the model takes.
        """
        words = [list(sentence) for sentence in sentences]
        batch = self.tokenizer(words, is_split_into_words=True, padding=True, truncation=False, return_tensors="pt")
        B, pieces = batch["input_ids"].shape
        if self.max_pieces is not None and pieces > self.max_pieces:
            raise DataError(f"a sentence has {pieces} pieces, the encoder takes {self.max_pieces}: split it")
        device = _device(self.model)
        hidden = self.model(**{name: values.to(device) for name, values in batch.items()}).last_hidden_state
        T = max(map(len, words))
        share = torch.zeros(B, T, pieces)  # of each piece in each word
        for row in range(B):
            for piece, word in enumerate(batch.word_ids(row)):
                if word is not None and not (self.pooling == "first" and share[row, word].any()):
                    share[row, word, piece] = 1.0
        share /= share.sum(dim=2, keepdim=True).clamp(min=1.0)
        vectors: Tensor = share.to(hidden) @ hidden  # (B, T, D)
        return vectors


def _vectors(encoder: nn.Module, sentences: Sequence[Sequence[str]]) -> Tensor:
    vectors = encoder([list(sentence) for sentence in sentences])
    longest = max(map(len, sentences))
    if not isinstance(vectors, Tensor) or vectors.dim() != 3 or not vectors.is_floating_point():
        found = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
        raise ShapeError(f"the encoder must return floating vectors (B, T, D), got {found}")
    if vectors.size(0) != len(sentences) or vectors.size(1) < longest:
        raise ShapeError(
            f"the encoder must return ({len(sentences)}, ≥ {longest}, D) for {len(sentences)} sentences of up to "
            f"{longest} tokens, got {tuple(vectors.shape)}"
        )
    return vectors


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
