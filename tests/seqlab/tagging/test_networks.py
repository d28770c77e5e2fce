"""BiLSTM and encoder taggers on a small text; the training loop."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from seqlab.errors import CheckpointError, ConfigError, DataError, SeqlabError, ShapeError
from seqlab.tagging import Tagger, TransformersEncoder, storage
from seqlab.tagging.attributes import Attributes
from seqlab.tagging.recurrent import rows_of
from seqlab.tagging.training import LoopSettings, one_thread, train

SMALL = {"epochs": 30, "hidden": 8, "embedding": 8, "batch_sentences": 3, "learning_rate": 0.02, "average": 0.5}


class TinyTransformer(nn.Module):
    """A random transformer over the characters of words, in the form that an encoder must have."""

    def __init__(self, width=16):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(97, width)
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.calls = 0

    def forward(self, sentences):
        self.calls += 1
        longest = max(map(len, sentences))
        rows = [[sum(map(ord, word)) % 97 for word in [*s, *[""] * (longest - len(s))]] for s in sentences]
        padding = torch.tensor([[i >= len(s) for i in range(longest)] for s in sentences])
        return self.layers(self.table(torch.tensor(rows)), src_key_padding_mask=padding)


def test_a_bilstm_learns_and_comes_back(text, tmp_path):
    sentences, tags = text
    tagger = Tagger("bilstm", min_freq=1, **SMALL).fit(sentences, tags)
    assert tagger.predict(sentences) == tags
    again = Tagger.load(tagger.save(tmp_path / "网络.safetensors"))
    assert again.predict_marginals(sentences) == tagger.predict_marginals(sentences)
    assert again.predict([]) == []
    with pytest.raises(ConfigError, match="only emissions='features' has weights with names, this is 'bilstm'"):
        tagger.top_features()


def test_the_mean_of_two_models(text):
    sentences, tags = text
    model = Tagger("bilstm", **SMALL).fit(sentences, tags).model
    described = [[["w=我"], ["w=银行", "new"]]]
    both, linear = model.scores(described), model.linear.scores(described)
    model.linear = None
    network = model.scores(described)
    for mean, a, b in zip(both, network, linear, strict=True):
        np.testing.assert_allclose(mean, (a + b) / 2)
    assert Tagger("bilstm", pool=False, **SMALL).fit(sentences, tags).model.linear is None


def test_the_seed_decides_and_the_callers_generator_is_left_alone(text):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    short = SMALL | {"epochs": 2}
    first, second, other = (
        Tagger("bilstm", seed=seed, **short).fit(*text).probabilities(text[0])[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.rand(3), expected)


def test_the_number_of_threads_changes_no_bit(text):
    sentences, tags = ([row * 6 for row in rows] * 8 for rows in text)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            tagger = Tagger("bilstm", epochs=2, hidden=64).fit(sentences, tags)
            found.append((tagger.model.network.state_dict(), np.concatenate(tagger.probabilities(sentences))))
            assert torch.get_num_threads() == threads
        for threads in (1, 2):  # one tagger, used with other numbers of threads
            torch.set_num_threads(threads)
            assert np.array_equal(np.concatenate(tagger.probabilities(sentences)), found[0][1])
    finally:
        torch.set_num_threads(before)
    (weights, first), (others, second) = found
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert np.array_equal(first, second)


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()

    def fail():
        with one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert torch.get_num_threads() == before


def test_constraints_hold_in_a_network():
    tagger = Tagger("bilstm", constrained=True, **SMALL).fit(["大大", "小"], [["B", "E"], ["S"]])
    for row in tagger.predict(["大小大", "小", "小大小大"]):
        assert row[0] in "BS"
        assert row[-1] in "ES"


def test_validation_stops_early_and_keeps_the_best(text):
    sentences, tags = text
    tagger = Tagger("bilstm", patience=2, **SMALL).fit(sentences * 4, tags * 4, validation=0.25)
    assert tagger.iterations < 30
    assert Tagger("bilstm", patience=2, **SMALL).fit(sentences, tags, (sentences, tags)).score(sentences, tags) == 1.0
    with pytest.raises(ConfigError, match=r"validation must leave sentences on both sides, got 0\.01 of 6"):
        Tagger("bilstm").fit(sentences, tags, validation=0.01)
    with pytest.raises(DataError, match="validation sentences 0: expected 1 tags"):
        Tagger("bilstm").fit(sentences, tags, validation=([["a"]], [["X", "Y"]]))


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_an_encoder_frozen_or_trained(text, tmp_path, rate):
    sentences, tags = text
    encoder = TinyTransformer()
    before = encoder.table.weight.detach().clone()
    settings = {
        "epochs": 40,
        "batch_sentences": 2,
        "learning_rate": 0.05,
        "average": 0.5,
        "encoder_learning_rate": rate,
    }
    tagger = Tagger("encoder", encoder=encoder, **settings).fit(sentences, tags)
    assert tagger.score(sentences, tags) > 0.9
    assert torch.equal(before, encoder.table.weight) == (rate == 0.0)
    if rate == 0.0:
        assert encoder.calls < 10  # each sentence was encoded once
    path = tagger.save(tmp_path / "编码器.safetensors")
    fresh = TinyTransformer()
    again = Tagger.load(path, encoder=fresh)
    assert again.predict(sentences) == tagger.predict(sentences)
    assert again.predict([[], []]) == [[], []]
    with pytest.raises(ConfigError, match="encoder goes with"):
        Tagger.load(path)


@pytest.mark.parametrize(
    ("card", "change"),
    [
        ({}, {"project.bias": lambda w: w * np.float32(np.nan)}),
        ({}, {"project.weight": lambda w: w.astype(np.float16)}),
        ({}, {"project.weight": lambda w: w[:, 1:].copy()}),
        ({"width": "16"}, {}),
        ({"width": -1}, {}),
        ({"width": None}, {}),
    ],
)
def test_a_file_that_does_not_fit_its_encoder(text, tmp_path, card, change):
    path = Tagger("encoder", encoder=TinyTransformer(), epochs=1).fit(*text).save(tmp_path / "t")
    right, arrays = storage.read_model(path)
    arrays |= {name: function(arrays[name]) for name, function in change.items()}
    storage.write_model(path, right | {"model": right["model"] | card}, arrays)
    with pytest.raises(CheckpointError, match="does not hold a whole tagger"):
        Tagger.load(path, encoder=TinyTransformer())


def test_an_encoder_must_return_vectors_for_every_token(text):
    sentences, tags = text

    class Wrong(nn.Module):
        def __init__(self, result):
            super().__init__()
            self.result = result

        def forward(self, sentences):
            return self.result

    for result, message in (
        (torch.zeros(2, 3), r"floating vectors \(B, T, D\), got \(2, 3\)"),
        ([1], "got list"),
        (torch.zeros(1, 2, 4), r"\(1, ≥ 3, D\) for 1 sentences of up to 3 tokens, got \(1, 2, 4\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            Tagger("encoder", encoder=Wrong(result)).fit(sentences, tags)
    with pytest.raises(DataError, match="an encoder takes sentences of tokens"):
        Tagger("encoder", encoder=TinyTransformer()).fit([[["w=a"]]], [["X"]])


class StandInTokenizer:
    """Stands in for a fast tokenizer of transformers: pieces are characters, between [CLS] and [SEP]."""

    is_fast = True

    def __call__(self, words, *, is_split_into_words, padding, truncation, return_tensors):
        assert is_split_into_words
        assert padding
        assert not truncation
        assert return_tensors == "pt"
        owners = [[None, *[i for i, word in enumerate(row) for _ in word], None] for row in words]
        pieces = [[1, *[ord(c) % 50 + 3 for word in row for c in word], 2] for row in words]
        longest = max(map(len, pieces))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in pieces])

        class Batch(dict):
            def word_ids(self, row):
                return owners[row] + [None] * (longest - len(owners[row]))

        return Batch(input_ids=ids, attention_mask=(ids > 0).long())


class StandInModel(nn.Module):
    """Stands in for a model of transformers: a piece's vector is its number, twice."""

    config = SimpleNamespace(max_position_embeddings=8)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=torch.stack([input_ids, input_ids], dim=2).float())


def test_pieces_become_words():
    words = [["ab", "c"], ["", "cd", "a"]]
    number = {c: ord(c) % 50 + 3 for c in "abcd"}
    first = TransformersEncoder(StandInModel(), StandInTokenizer())(words)
    mean = TransformersEncoder(StandInModel(), StandInTokenizer(), pooling="mean")(words)
    assert first.shape == mean.shape == (2, 3, 2)
    assert first[:, :, 0].tolist() == [[number["a"], number["c"], 0], [0, number["c"], number["a"]]]
    halves = (number["a"] + number["b"]) / 2, (number["c"] + number["d"]) / 2
    assert mean[:, :, 1].tolist() == [[halves[0], number["c"], 0], [0, halves[1], number["a"]]]
    with pytest.raises(DataError, match="a sentence has 9 pieces, the encoder takes 8: split it"):
        TransformersEncoder(StandInModel(), StandInTokenizer())([["abcdabc"]])
    with pytest.raises(ConfigError, match="pooling must be 'first' or 'mean', got 'last'"):
        TransformersEncoder(StandInModel(), StandInTokenizer(), pooling="last")


def test_rows_of_chosen_sentences():
    sentences = [[["a"], ["b", "c"]], [], [["c", "a"]], [["d"], [], ["a"]]]
    attributes, rows = Attributes.learn(sentences)
    sizes = np.array([2, 0, 1, 3])
    found, expected = rows_of(rows, sizes, [3, 0]), attributes.rows([sentences[3], sentences[0]])
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_loop_that_diverges_says_so():
    network = nn.Linear(1, 1)
    with pytest.raises(SeqlabError, match="the loss became nan in epoch 1: lower learning_rate"):
        train(network, lambda _: network.weight.sum() * float("nan"), 4, LoopSettings(epochs=2))


def test_averaged_weights_are_kept():
    def trained(average):
        network = nn.Linear(1, 1, bias=False)
        nn.init.ones_(network.weight)
        settings = LoopSettings(epochs=5, average=average, weight_decay=0.0, learning_rate=0.1)
        train(network, lambda _: (network.weight**2).sum(), 1, settings)
        assert not network.training
        return network.weight.item()

    assert trained(0.0) < trained(0.9) < 1.0  # the weight falls at every step


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"average": 1.0}, "average must lie in 0 … 1"),
        ({"dropout": 1.0}, "dropout must lie in 0 … 1"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        Tagger("bilstm", **settings)
