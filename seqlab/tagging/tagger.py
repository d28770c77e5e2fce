"""The tagger: from sentences and tags as a person has them to a trained model, and back."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from seqlab import metrics
from seqlab.errors import CheckpointError, ConfigError, DataError
from seqlab.tagging.encoder import EncoderChain, EncoderSettings
from seqlab.tagging.features import character_features, word_features
from seqlab.tagging.inputs import Extractor, Sentences, Tags, accuracy, are_tokens, check_pairs, described, split
from seqlab.tagging.linear import LinearChain, LinearSettings
from seqlab.tagging.recurrent import BiLstmChain, BiLstmSettings
from seqlab.tagging.scores import AllowedMoves, Floats, Ints, TaggingModel, sizes_of
from seqlab.tagging.storage import read_model, write_model

__all__ = ["Tagger", "Weight"]

Settings = LinearSettings | BiLstmSettings | EncoderSettings

SETTINGS: dict[str, type[Settings]] = {
    "features": LinearSettings,
    "bilstm": BiLstmSettings,
    "encoder": EncoderSettings,
}
EXTRACTORS: dict[str, Extractor] = {"word_features": word_features, "character_features": character_features}
SAY_EVERY_S = 2.0


class Weight(NamedTuple):
    """A weight of a linear chain: of `source` (a feature, or the tag before) with `tag`."""

    source: str
    tag: str
    weight: float


class Tagger:
    """Gives every token of a sentence a tag, by a conditional random field.

    A sentence is a list of tokens (strings; a string is a list of its characters), which `features` describes. Or
    its tokens come described, as CRFsuite takes them: each is a list of strings or a dict, see
    `seqlab.tagging.attributes`. A sentence may be empty.

    Args:
        emissions: what scores a token's tags. "features": a linear model on hand features, trained as CRFsuite
            does it. "bilstm": a bidirectional LSTM over the same features, averaged with that linear model.
            "encoder": the vectors of a module of your own, for example a pretrained transformer.
        features: describes a sentence of tokens; `word_features`, `character_features` (for word segmentation), or
            any function that returns one description for each token.
        encoder: for "encoder" only; see `seqlab.tagging.encoder`.
        constrained: whether tags are of the BIO, BIOES or BMES family and only well-formed sequences may come out.
        seed: of everything random; on the same machine the same seed gives the same tagger, to the bit, and it the same
            predictions, whatever the number of threads. With an encoder, which runs on all of torch's threads: for the
            same number of them.
        verbose: whether long training prints how far it is, to stderr.
        settings: those of `LinearSettings`, `BiLstmSettings` or `EncoderSettings`.

    Attributes:
        tags: the K tags by number, sorted; empty before `fit`.
        model: what was trained, or None.
        iterations: steps of L-BFGS, or epochs, that the training took.

    Raises:
        ConfigError: a setting has an unknown name or a wrong value.
    """

    def __init__(
        self,
        emissions: Literal["features", "bilstm", "encoder"] = "features",
        *,
        features: Extractor = word_features,
        encoder: nn.Module | None = None,
        constrained: bool = False,
        seed: int = 0,
        verbose: bool = False,
        **settings: Any,
    ) -> None:
        if emissions not in SETTINGS:
            raise ConfigError(f"emissions must be one of {', '.join(SETTINGS)}, got {emissions!r}")
        _check_code(emissions, features, encoder)
        _check_options(seed, constrained=constrained, verbose=verbose)
        known = [field.name for field in dataclasses.fields(SETTINGS[emissions])]
        for name in settings:
            if name not in known:
                raise ConfigError(f"no setting {name!r} for emissions={emissions!r}: there are {', '.join(known)}")
        self.emissions, self.features, self.encoder = emissions, features, encoder
        self.constrained, self.seed, self.verbose = bool(constrained), int(seed), bool(verbose)
        self.settings = SETTINGS[emissions](**settings)
        self.tags: list[str] = []
        self.model: TaggingModel | None = None
        self.iterations = 0

    def __repr__(self) -> str:
        changed = {
            field.name: value
            for field in dataclasses.fields(self.settings)
            if (value := getattr(self.settings, field.name)) != field.default
        }
        parts = [repr(self.emissions), *(f"{name}={value!r}" for name, value in changed.items())]
        return f"Tagger({', '.join(parts)})" + (f" of {len(self.tags)} tags" if self.tags else "")

    def fit(
        self, sentences: Sentences, tags: Tags, validation: tuple[Sentences, Tags] | float | None = None
    ) -> "Tagger":
        """Train from scratch; return self.

        Args:
            sentences: S sentences.
            tags: as many lists of tags, one tag for each token.
            validation: sentences and tags on which a network's best epoch is chosen, by the share of right tags;
                or the share of the sentences to hold out for it, chosen by the seed; None: train to the last epoch.
                A linear chain, whose optimum is unique, does not need it and refuses it.

        Raises:
            DataError: sentences and tags do not fit, hold no token, or a description has a wrong form; or one sentence
                came, not a list of them.
            ShapeError: `constrained`, but a tag is not of the BIO, BIOES or BMES family.
            SeqlabError: the training diverged.
        """
        if validation is not None and self.emissions == "features":
            raise ConfigError("validation is for networks: a linear chain is trained to its optimum")
        check_pairs(sentences, tags, "sentences", "tags")
        if isinstance(validation, float | int | Real):
            sentences, tags, validation = self._held_out(sentences, tags, float(validation))
        elif validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                kind = type(validation).__name__
                raise ConfigError(f"validation must be (sentences, tags) or a share of the sentences, got {kind}")
            check_pairs(*validation, "validation sentences", "validation tags")
        filled = [number for number, sentence in enumerate(sentences) if len(sentence)]
        if not filled:
            raise DataError("sentences must hold at least one token to train on")
        inputs = self._described([sentences[number] for number in filled])
        names = [tag for number in filled for tag in tags[number]]
        wrong = next((tag for tag in names if not isinstance(tag, str)), None)
        if wrong is not None:
            raise DataError(f"tags must be strings, got {wrong!r}")
        self.tags, self.model, self.iterations = sorted(set(names)), None, 0
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        gold = np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))
        allowed = AllowedMoves.of(self.tags, self.constrained)
        if self.constrained:
            allowed.refuse(gold, sizes_of(inputs), self.tags)
        self._train(inputs, gold, allowed, validation)
        return self

    def predict(self, sentences: Sentences) -> list[list[str]]:
        """Return the best tags of each sentence: one for each token.

        Raises:
            ConfigError: the tagger is not trained.
            DataError: sentences have a wrong form, or the constraints allow no tags of a sentence's length.
        """
        model, inputs = self._ready(sentences)
        return self._named(model, inputs)

    def predict_marginals(self, sentences: Sentences) -> list[list[dict[str, float]]]:
        """Return each token's probability of each tag, given the whole sentence. Errors as in `predict`."""
        model, inputs = self._ready(sentences)
        probabilities = self._probabilities(model, inputs).tolist()
        return split([dict(zip(self.tags, row, strict=True)) for row in probabilities], sizes_of(inputs))

    def probabilities(self, sentences: Sentences) -> list[Floats]:
        """Return the same as an array (n, K) for each sentence, columns as in `tags`. Errors as in `predict`."""
        model, inputs = self._ready(sentences)
        return np.split(self._probabilities(model, inputs), np.cumsum(sizes_of(inputs))[:-1]) if inputs else []

    def score(self, sentences: Sentences, tags: Tags) -> float:
        """Return the share of tokens that get the right tag, 0 if there are none.

        Raises:
            ConfigError: as in `predict`.
            DataError: as in `predict`, or sentences and tags do not fit.
        """
        check_pairs(sentences, tags, "sentences", "tags")
        return accuracy(tags, self.predict(sentences))

    def evaluate(self, sentences: Sentences, tags: Tags) -> metrics.Scores:
        """Return precision, recall and F1 of the segments that BIO, BIOES or BMES tags mark.

        Raises:
            ShapeError: tags are not of this family.
            ConfigError, DataError: as in `score`.
        """
        check_pairs(sentences, tags, "sentences", "tags")
        return metrics.evaluate(tags, self.predict(sentences))

    def top_features(self, count: int = 10, tag: str | None = None) -> list[Weight]:
        """Return the features with the largest weights, positive or negative, of one tag or of all.

        Raises:
            ConfigError: the tagger is not trained, is no linear chain, or has no such tag.
        """
        model = self._linear()
        if tag is not None and tag not in self.tags:
            raise ConfigError(f"no tag {tag!r}: there are {', '.join(self.tags)}")
        chosen = range(len(self.tags)) if tag is None else [self.tags.index(tag)]
        weights = model.states[:, list(chosen)]  # (F, chosen)
        largest = np.argsort(-np.abs(weights), axis=None, kind="stable")[:count]
        places = zip(*np.unravel_index(largest, weights.shape), strict=True)
        return [Weight(model.attributes.names[f], self.tags[chosen[k]], float(weights[f, k])) for f, k in places]

    def top_transitions(self, count: int = 10) -> list[Weight]:
        """Return the pairs of tags with the largest weights, positive or negative. Errors as in `top_features`."""
        weights = self._linear().transitions
        largest = np.argsort(-np.abs(weights), axis=None, kind="stable")[:count]
        places = zip(*np.unravel_index(largest, weights.shape), strict=True)
        return [Weight(self.tags[i], self.tags[j], float(weights[i, j])) for i, j in places]

    def save(self, path: str | Path) -> Path:
        """Write the trained tagger to one file (safetensors), in one move; return its path.

        A feature function or an encoder of your own is code and is not in it: give it to `load` again.

        Raises:
            ConfigError: the tagger is not trained, or `path` names no file.
            SeqlabError: the file could not be written; what was there stays.
        """
        card, arrays = self._trained().state()
        if not Path(path).name or Path(path).is_dir():
            raise ConfigError(f"path must name a file, got the folder {str(path)!r}: add a name, as in 'tagger.bin'")
        extractor = next((name for name, function in EXTRACTORS.items() if function is self.features), None)
        write_model(
            Path(path),
            {
                "emissions": self.emissions,
                "features": extractor,
                "constrained": self.constrained,
                "seed": self.seed,
                "settings": dataclasses.asdict(self.settings),
                "tags": self.tags,
                "iterations": self.iterations,
                "model": card,
            },
            arrays,
        )
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, features: Extractor | None = None, encoder: nn.Module | None = None) -> "Tagger":
        """Read what `save` wrote.

        Args:
            path: the file.
            features: the feature function, if it was your own.
            encoder: the encoder, if there was one; a trained one's weights are put into it.

        Raises:
            CheckpointError: there is no such file, it is damaged, or it does not fit this version or the encoder.
            ConfigError: the encoder is missing, or is given where there was none.
        """
        card, arrays = read_model(Path(path))
        _check_code(card.get("emissions"), features or word_features, encoder)
        try:
            extractor = features or (EXTRACTORS[card["features"]] if card["features"] else _missing_extractor)
            tagger = cls(
                card["emissions"], features=extractor, encoder=encoder, constrained=card["constrained"],
                seed=card["seed"], **card["settings"],
            )  # fmt: skip
            tagger.tags, tagger.iterations = _tags_of(card), int(card["iterations"])
            allowed = AllowedMoves.of(tagger.tags, tagger.constrained)
            tagger.model = tagger._restored(card["model"], arrays, allowed)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, MemoryError, ConfigError) as error:
            raise CheckpointError(f"{path} does not hold a whole tagger: {error}") from error
        return tagger

    def _restored(self, card: dict[str, Any], arrays: dict[str, Floats], allowed: AllowedMoves) -> TaggingModel:
        if isinstance(self.settings, LinearSettings):
            return LinearChain.restore(arrays, allowed)
        if isinstance(self.settings, BiLstmSettings):
            return BiLstmChain.restore(arrays, allowed, self.settings)
        assert self.encoder is not None
        return EncoderChain.restore(card, arrays, self.encoder, allowed, self.settings)

    def _train(
        self, inputs: Sentences, gold: Ints, allowed: AllowedMoves, validation: tuple[Sentences, Tags] | None
    ) -> None:
        report = self._reporter()
        if isinstance(self.settings, LinearSettings):
            self.model, found = LinearChain.fit(inputs, gold, allowed, self.settings, report)
            if self.verbose:
                print(f"stopped by {found.reason} after {found.iterations} steps: {found.value:.4f}", file=sys.stderr)
            return

        validate = None
        if validation is not None:
            held_out, right = self._described(validation[0]), validation[1]

            def validate(model: TaggingModel) -> float:
                return accuracy(right, self._named(model, held_out))

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            if isinstance(self.settings, BiLstmSettings):
                self.model = BiLstmChain.fit(inputs, gold, allowed, self.settings, validate=validate, report=report)
            else:
                assert self.encoder is not None
                self.model = EncoderChain.fit(
                    self.encoder, inputs, gold, allowed, self.settings, validate=validate, report=report
                )

    def _reporter(self) -> Callable[[int, float], None]:
        begin = said = time.monotonic()
        of = f"of {self.settings.epochs} epochs" if not isinstance(self.settings, LinearSettings) else "steps"

        def report(step: int, loss: float) -> None:
            nonlocal said
            self.iterations = step
            now = time.monotonic()
            if self.verbose and now - said >= SAY_EVERY_S:
                said = now
                print(f"{step} {of}: loss {loss:.4f}, {now - begin:.0f} s", file=sys.stderr, flush=True)

        return report

    def _held_out(
        self, sentences: Sentences, tags: Tags, share: float
    ) -> tuple[Sentences, Tags, tuple[Sentences, Tags]]:
        count = round(share * len(sentences))
        if not 0 < share < 1 or not 0 < count < len(sentences):
            raise ConfigError(f"validation must leave sentences on both sides, got {share} of {len(sentences)}")
        order = np.random.default_rng(self.seed).permutation(len(sentences)).tolist()
        parts = [
            ([sentences[i] for i in chosen], [tags[i] for i in chosen]) for chosen in (order[:count], order[count:])
        ]
        return *parts[1], parts[0]

    def _described(self, sentences: Sentences) -> Sentences:
        """Return what the model takes: for an encoder lists of tokens, else descriptions."""
        if self.emissions != "encoder":
            return described(sentences, self.features)
        if not are_tokens(sentences):
            raise DataError("an encoder takes sentences of tokens (strings), got descriptions")
        return sentences

    def _trained(self) -> TaggingModel:
        if self.model is None:
            raise ConfigError("the tagger is not trained: call fit, or Tagger.load")
        return self.model

    def _ready(self, sentences: Sentences) -> tuple[TaggingModel, Sentences]:
        return self._trained(), self._described(sentences)

    def _linear(self) -> LinearChain:
        model = self._trained()
        if not isinstance(model, LinearChain):
            raise ConfigError(f"only emissions='features' has weights with names, this is {self.emissions!r}")
        return model

    def _named(self, model: TaggingModel, inputs: Sentences) -> list[list[str]]:
        sizes = sizes_of(inputs)
        return split(list(map(self.tags.__getitem__, model.scores(inputs).best(sizes).tolist())), sizes)

    def _probabilities(self, model: TaggingModel, inputs: Sentences) -> Floats:
        return model.scores(inputs).marginals(sizes_of(inputs))


def _check_code(emissions: object, features: object, encoder: object) -> None:
    """Check what a file does not hold."""
    if not callable(features):
        raise ConfigError(f"features must be a function of a sentence, got {features!r}")
    if (encoder is not None) != (emissions == "encoder"):
        raise ConfigError(f"encoder goes with emissions='encoder' and only there, got {emissions!r} and {encoder!r}")
    if encoder is not None and not isinstance(encoder, nn.Module):
        raise ConfigError(f"encoder must be a torch module, got {type(encoder).__name__}")


def _check_options(seed: Any, **flags: Any) -> None:
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ConfigError(f"seed must be an integer, got {seed!r}")
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise ConfigError(f"{name} must be True or False, got {flag!r}")


def _tags_of(card: dict[str, Any]) -> list[str]:
    tags = card["tags"]
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags must be a list of strings")
    if len(set(tags)) != len(tags):
        raise ValueError("a tag occurs twice")
    return tags


def _missing_extractor(sentence: Sequence[str]) -> Sequence[Any]:
    raise ConfigError(
        "this tagger had a feature function of its own: Tagger.load(path, features=…), or describe tokens"
    )
