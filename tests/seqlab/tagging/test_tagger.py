"""The API: what goes in, what comes out, what is refused; the file a tagger is saved to."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seqlab.errors import CheckpointError, ConfigError, DataError, SeqlabError, ShapeError
from seqlab.tagging import Tagger, bmes_tags, character_features, word_features

WORDS = [["我们", "喜欢", "图书馆"], ["图书馆", "很", "大"], ["我", "喜欢", "大", "图书馆"]]


@pytest.fixture
def tagger(text):
    return Tagger(c2=0.01).fit(*text)


def test_it_learns_and_tags(tagger, text):
    sentences, tags = text
    assert tagger.tags == ["ADP", "NOUN", "PRON", "PROPN", "VERB"]
    assert tagger.predict(sentences) == tags
    assert tagger.predict([["你", "在", "银行"], []])[0][:2] == ["PRON", "ADP"]
    assert tagger.score(sentences, tags) == 1.0
    assert tagger.predict([]) == []
    assert tagger.predict([[], []]) == [[], []]
    assert tagger.iterations > 0
    assert repr(tagger) == "Tagger('features', c2=0.01) of 5 tags"


def test_words_never_seen_get_a_tag_too(tagger):
    assert all(tag in tagger.tags for tag in tagger.predict([["\U0001f600", "Ω", "", "龘"]])[0])


def test_marginals_are_probabilities(tagger, text):
    sentences, _ = text
    rows = tagger.predict_marginals(sentences)
    assert [len(row) for row in rows] == [len(sentence) for sentence in sentences]
    assert all(sum(token.values()) == pytest.approx(1, abs=1e-5) for row in rows for token in row)
    arrays = tagger.probabilities(sentences)
    assert arrays[0][1].tolist() == list(rows[0][1].values())
    assert [array.shape for array in arrays] == [(len(sentence), 5) for sentence in sentences]
    assert tagger.probabilities([]) == []


def test_described_tokens_and_own_features(text):
    sentences, tags = text
    plain = Tagger().fit(sentences, tags)
    described = [word_features(sentence) for sentence in sentences]
    assert np.allclose(Tagger().fit(described, tags).model.states, plain.model.states)
    as_dicts = [[dict.fromkeys(token, True) for token in sentence] for sentence in described]
    assert Tagger().fit(as_dicts, tags).predict(as_dicts) == tags
    own = Tagger(features=lambda words: [{"word": word, "long": len(word) > 1} for word in words], c2=0.01)
    assert own.fit(sentences, tags).predict(sentences) == tags


def test_segmentation_is_well_formed_when_constrained():
    sentences, tags = ["".join(words) for words in WORDS], [bmes_tags(words) for words in WORDS]
    tagger = Tagger(features=character_features, constrained=True, c2=0.01).fit(sentences, tags)
    assert tagger.predict(sentences) == tags
    scores = tagger.evaluate(sentences, tags)
    assert (scores.f1, scores.gold) == (1.0, 10)
    for row in tagger.predict(["馆图书", "书", "欢喜欢喜我"]):
        assert row[0] in "BS"
        assert row[-1] in "ES"
    assert tagger.predict_marginals(["书"])[0][0]["B"] == 0.0


def test_constraints_are_kept_in_training_and_prediction():
    with pytest.raises(DataError, match="sentence 1: the constraints forbid its tags: B B"):
        Tagger(constrained=True).fit(["大", "大大"], [["S"], ["B", "B"]])
    with pytest.raises(ShapeError, match="NOUN"):
        Tagger(constrained=True).fit([["a"]], [["NOUN"]])
    tagger = Tagger(constrained=True).fit(["大大"], [["B", "E"]])
    with pytest.raises(DataError, match="sentence 1: the constraints allow no sequence of tags"):
        tagger.predict(["大大", "大"])


def test_the_weights_can_be_read(tagger):
    assert all(weight.tag == "VERB" for weight in tagger.top_features(3, "VERB"))
    assert "喜" in tagger.top_features(1, "VERB")[0].source
    sizes = [abs(weight.weight) for weight in tagger.top_features(20)]
    assert sizes == sorted(sizes, reverse=True)
    first = tagger.top_transitions(1)[0]
    assert {first.source, first.tag} <= set(tagger.tags)
    with pytest.raises(ConfigError, match="no tag 'X': there are ADP"):
        tagger.top_features(3, "X")


@pytest.mark.parametrize(
    ("sentences", "tags", "error", "message"),
    [
        ([["a"]], [["X"], ["Y"]], ShapeError, r"tags must be as many lists as sentences \(1\), got 2"),
        ([["a", "b"]], [["X"]], ShapeError, "sentences 0: expected 2 tags, one for each token, got 1"),
        ([], [], DataError, "at least one token"),
        ([[]], [[]], DataError, "at least one token"),
        ([["a"]], [[1]], DataError, "tags must be strings, got 1"),
        ([["a", ["b"]]], [["X", "Y"]], DataError, "got both"),
        ([[3]], [["X"]], DataError, "list of strings or a dict, got int"),
        ([[{"a": float("inf")}]], [["X"]], DataError, "feature 'a'.* got inf"),
    ],
)
def test_bad_input_is_named(sentences, tags, error, message):
    with pytest.raises(error, match=message):
        Tagger().fit(sentences, tags)


def test_bad_use_is_named(tagger, text):
    sentences, tags = text
    with pytest.raises(ConfigError, match="not trained"):
        Tagger().predict(sentences)
    with pytest.raises(ConfigError, match="emissions must be one of features, bilstm, encoder, got 'svm'"):
        Tagger("svm")
    with pytest.raises(ConfigError, match="no setting 'hidden' for emissions='features': there are c1, c2"):
        Tagger(hidden=3)
    with pytest.raises(ConfigError, match="encoder goes with emissions='encoder'"):
        Tagger("encoder")
    with pytest.raises(ConfigError, match="validation is for networks"):
        Tagger().fit(sentences, tags, validation=0.1)
    with pytest.raises(DataError, match="expected a list of sentences, got str"):
        tagger.predict("我")
    with pytest.raises(DataError, match="each a list of tokens"):
        tagger.predict([3])
    with pytest.raises(DataError, match="sentence 0 has 2 tokens, but features describes 1"):
        Tagger(features=lambda words: [["a"]]).fit([["a", "b"]], [["X", "Y"]])
    with pytest.raises(ShapeError, match="tags must be as many lists"):
        tagger.score(sentences, tags[1:])


def test_training_says_how_far_it_is(text, capsys, monkeypatch):
    monkeypatch.setattr("seqlab.tagging.tagger.SAY_EVERY_S", 0.0)
    Tagger(verbose=True).fit(*text)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("1 steps: loss ")
    assert said[-1].startswith("stopped by ")


def test_a_saved_tagger_comes_back_the_same(tagger, text, tmp_path):
    path = tagger.save(tmp_path / "模型" / "词性.safetensors")
    assert [file.name for file in path.parent.iterdir()] == ["词性.safetensors"]
    again = Tagger.load(path)
    assert again.predict(text[0]) == tagger.predict(text[0])
    assert again.predict_marginals(text[0]) == tagger.predict_marginals(text[0])
    assert (again.tags, again.settings, again.iterations) == (tagger.tags, tagger.settings, tagger.iterations)
    assert again.features is word_features


def test_a_constrained_tagger_stays_so(tmp_path):
    tagger = Tagger(features=character_features, constrained=True).fit(["大大"], [["B", "E"]])
    again = Tagger.load(tagger.save(tmp_path / "t"))
    assert again.predict(["小小"]) == [["B", "E"]]


def test_own_features_are_given_again(text, tmp_path):
    def own(words):
        return [[word] for word in words]

    path = Tagger(features=own, c2=0.01).fit(*text).save(tmp_path / "t")
    assert Tagger.load(path, features=own).score(*text) > 0.8
    bare = Tagger.load(path)
    with pytest.raises(ConfigError, match="feature function of its own"):
        bare.predict(text[0])
    assert bare.predict([own(sentence) for sentence in text[0]]) == Tagger.load(path, features=own).predict(text[0])


def test_what_is_no_tagger_is_refused(tagger, tmp_path):
    with pytest.raises(ConfigError, match="not trained"):
        Tagger().save(tmp_path / "t")
    with pytest.raises(CheckpointError, match="cannot be read as a tagger"):
        Tagger.load(tmp_path / "missing")
    path = tagger.save(tmp_path / "t")
    whole = path.read_bytes()
    for position in (5, len(whole) // 2, len(whole) - 10):
        damaged = bytearray(whole)
        damaged[position] ^= 0x11
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            Tagger.load(path)
    for size in (0, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            Tagger.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="expected a file of format seqlab-tagger, got None"):
        Tagger.load(path)


def test_a_later_version_and_a_card_that_does_not_fit(tagger, tmp_path, monkeypatch):
    from seqlab.tagging import storage

    monkeypatch.setattr(storage, "VERSION", 2)
    later = tagger.save(tmp_path / "later")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has version 2, this seqlab reads 1: update seqlab"):
        Tagger.load(later)
    path = tagger.save(tmp_path / "t")
    card, arrays = storage.read_model(path)
    for change in ({"tags": ["A", "B"]}, {"settings": {"c2": "much"}}, {"emissions": "bilstm"}):
        storage.write_model(tmp_path / "changed", card | change, arrays)
        with pytest.raises(SeqlabError):
            Tagger.load(tmp_path / "changed")


def test_a_failed_save_leaves_the_old_file(tagger, tmp_path, monkeypatch):
    path = tagger.save(tmp_path / "t")
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seqlab.files.os.fsync", full)
    with pytest.raises(SeqlabError, match="no room left on the disk while saving a tagger"):
        tagger.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def test_the_file_holds_plain_arrays_and_json(tagger, tmp_path):
    path = tagger.save(tmp_path / "t")
    arrays = load_file(shutil.copy(path, tmp_path / "copy"))
    assert set(arrays) == {"states", "transitions", "attributes"}
    assert json.loads(arrays["attributes"].tobytes()) == tagger.model.attributes.names
