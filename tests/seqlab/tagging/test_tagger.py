"""The API: what goes in, what comes out, what is refused; the file a tagger is saved to."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from seqlab.errors import CheckpointError, ConfigError, DataError, SeqlabError, ShapeError
from seqlab.tagging import Tagger, bmes_tags, character_features, storage, word_features
from tests.seqlab.tagging.conftest import SENTENCES, TAGS

WORDS = [["我们", "喜欢", "图书馆"], ["图书馆", "很", "大"], ["我", "喜欢", "大", "图书馆"]]


@pytest.fixture
def tagger(text):
    return Tagger(c2=0.01).fit(*text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The files of a trained linear chain and of a trained network."""
    folder, small = tmp_path_factory.mktemp("trained"), {"epochs": 1, "hidden": 4, "embedding": 4}
    taggers = {"features": Tagger(), "bilstm": Tagger("bilstm", **small)}
    return {name: tagger.fit(SENTENCES, TAGS).save(folder / name) for name, tagger in taggers.items()}


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
        ([["a"]], [["X"], ["Y"]], DataError, r"tags must be as many lists as sentences \(1\), got 2"),
        ([["a", "b"]], [["X"]], DataError, "sentences 0: expected 2 tags, one for each token, got 1"),
        (["我", "在"], ["PRON", "ADP"], DataError, "expected a list of sentences.* begin with the text '我'"),
        ([], [], DataError, "at least one token"),
        ([[]], [[]], DataError, "at least one token"),
        ([["a"]], [[1]], DataError, "tags must be strings, got 1"),
        ([["a", ["b"]]], [["X", "Y"]], DataError, "got both"),
        ([[3]], [["X"]], DataError, "list of strings or a dict, got int"),
        (None, None, DataError, "sentences must be a list with a list for each sentence, got NoneType"),
        ([["a"]], None, DataError, "tags must be a list with a list for each sentence, got NoneType"),
        (
            iter([["a"]]),
            [["X"]],
            DataError,
            "sentences must be a list with a list for each sentence, got list_iterator",
        ),
        ([None], [["X"]], DataError, "sentences 0 must be a list, got NoneType"),
        ([["a"]], [3], DataError, "tags 0 must be a list, got int"),
        ([[np.array([1.0, 2.0])]], [["X"]], DataError, "list of strings or a dict, got ndarray"),
        ([[[np.array(["a"])]]], [["X"]], DataError, "must hold strings: got ndarray"),
        (
            [[{"b": 1, "a": np.array([1.0, 2.0])}]],
            [["X"]],
            DataError,
            r"feature 'a': expected .* got array\(\[1\., 2\.\]\)",
        ),
        ([[{"a": torch.zeros(2)}]], [["X"]], DataError, "feature 'a': expected a string, a finite number"),
        ([[{"a": 10**400}]], [["X"]], DataError, "feature 'a': expected a string, a finite number"),
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
    for options, message in (
        ({"seed": "x"}, "seed must be an integer, got 'x'"),
        ({"constrained": "no"}, "constrained must be True or False, got 'no'"),
        ({"verbose": None}, "verbose must be True or False, got None"),
        ({"features": "words"}, "features must be a function of a sentence, got 'words'"),
        ({"emissions": "encoder", "encoder": len}, "encoder must be a torch module, got builtin"),
    ):
        with pytest.raises(ConfigError, match=message):
            Tagger(**options)
    for validation in ("a tenth", (sentences,)):
        with pytest.raises(ConfigError, match=r"validation must be \(sentences, tags\) or a share"):
            Tagger("bilstm").fit(sentences, tags, validation)
    with pytest.raises(ConfigError, match="validation is for networks"):
        Tagger().fit(sentences, tags, validation=0.1)
    with pytest.raises(DataError, match="expected a list of sentences, got str"):
        tagger.predict("我")
    with pytest.raises(DataError, match="each a list of tokens"):
        tagger.predict([3])
    with pytest.raises(DataError, match="sentence 0 has 2 tokens, but features describes 1"):
        Tagger(features=lambda words: [["a"]]).fit([["a", "b"]], [["X", "Y"]])
    with pytest.raises(DataError, match="tags must be as many lists"):
        tagger.score(sentences, tags[1:])


@pytest.mark.parametrize(
    ("emissions", "settings", "message"),
    [
        ("bilstm", {"epochs": "3"}, "epochs must be an integer, got '3'"),
        ("bilstm", {"hidden": 8.0}, "hidden must be an integer, got 8.0"),
        ("bilstm", {"pool": "no"}, "pool must be True or False, got 'no'"),
        ("features", {"c1": None}, "c1 must be a number, got None"),
        ("features", {"c2": True}, "c2 must be a number, got True"),
        ("features", {"c2": "x"}, "c2 must be a number, got 'x'"),
        ("features", {"c2": float("nan")}, "c2 must be a number ≥ 0, got nan"),
        ("features", {"c2": 10**400}, "c2 must be a number, got one that is too large"),
        ("features", {"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
    ],
)
def test_settings_of_a_wrong_type_are_named(emissions, settings, message):
    with pytest.raises(ConfigError, match=message):
        Tagger(emissions, **settings)


def test_numpy_numbers_are_settings_too(text, tmp_path):
    tagger = Tagger(c2=np.float32(0.5), max_iterations=np.int64(7), all_possible_states=np.True_).fit(*text)
    assert (tagger.settings.c2, type(tagger.settings.max_iterations)) == (0.5, int)
    assert Tagger.load(tagger.save(tmp_path / "t")).settings == tagger.settings


@pytest.mark.parametrize("path", [".", "", "/", ".."])
def test_a_folder_is_no_file_to_save_to(tagger, path):
    with pytest.raises(ConfigError, match="path must name a file"):
        tagger.save(path)


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
    monkeypatch.setattr(storage, "VERSION", 2)
    later = tagger.save(tmp_path / "later")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has version 2, this seqlab reads 1: update seqlab"):
        Tagger.load(later)
    path = tagger.save(tmp_path / "t")
    card, arrays = storage.read_model(path)
    for change in ({"tags": ["A", "B"]}, {"settings": {"c2": "much"}}, {"emissions": "bilstm"}):
        storage.write_model(tmp_path / "changed", card | change, arrays)
        with pytest.raises(CheckpointError):
            Tagger.load(tmp_path / "changed")


def names_as(text):
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize("emissions", ["features", "bilstm"])
@pytest.mark.parametrize(
    ("card", "changed"),
    [
        ({"tags": [0, 1, 2, 3, 4]}, {}),
        ({"tags": [0, 1, 2, 3, 4], "constrained": True}, {}),
        ({"tags": ["A", "A", "B", "C", "D"]}, {}),
        ({"tags": "ABCDE"}, {}),
        ({"tags": []}, {}),
        ({"tags": None}, {}),
        ({"emissions": ["features"]}, {}),
        ({"emissions": "svm"}, {}),
        ({"features": "magic"}, {}),
        ({"features": ["magic"]}, {}),
        ({"constrained": "no"}, {}),
        ({"seed": 0.5}, {}),
        ({"iterations": "many"}, {}),
        ({"settings": {"c2": 10**400}}, {}),
        ({"settings": [1]}, {}),
        ({"settings": {"hidden": 2**70}}, {}),
        ({}, {"transitions": lambda w: w[:3]}),
        ({}, {"transitions": lambda w: w.astype(np.float64)}),
        ({}, {"states": lambda w: w.astype(np.float16)}),
        ({}, {"states": lambda w: w.astype(np.int32)}),
        ({}, {"states": lambda w: w.T.copy()}),
        ({}, {"states": lambda w: np.where(w == w.max(), np.inf, w).astype(np.float32)}),
        ({}, {"transitions": lambda w: w * np.float32(np.nan)}),
        ({}, {"states": lambda w: None}),
        ({}, {"attributes": lambda _: names_as("[1, 2, 3]")}),
        ({}, {"attributes": lambda w: names_as(json.dumps(["a"] * len(json.loads(w.tobytes()))))}),
        ({}, {"attributes": lambda _: names_as("3")}),
        ({}, {"attributes": lambda _: names_as("[" * 100_000)}),
        ({}, {"attributes": lambda _: np.full(9, 0xFF, np.uint8)}),
    ],
)
def test_a_file_with_a_right_checksum_and_wrong_contents(trained, tmp_path, emissions, card, changed):
    right, arrays = storage.read_model(trained[emissions])
    prefix = {"features": "", "bilstm": "linear/"}[emissions]
    for name, change in changed.items():
        arrays[prefix + name] = change(arrays[prefix + name])
    storage.write_model(tmp_path / "t", right | card, {k: values for k, values in arrays.items() if values is not None})
    with pytest.raises(CheckpointError, match="does not hold a whole tagger"):
        Tagger.load(tmp_path / "t")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("network/direct", lambda w: w.astype(np.float16)),
        ("network/direct", lambda w: w[:-1]),
        ("network/project.bias", lambda w: w + np.float32(np.inf)),
        ("network/crf.transitions", lambda w: None),
        ("attributes", lambda _: names_as("{}")),
        ("linear/states", lambda _: None),
        ("magic/states", lambda _: np.zeros(3, np.float32)),
    ],
)
def test_a_network_with_wrong_weights(trained, tmp_path, name, change):
    card, arrays = storage.read_model(trained["bilstm"])
    arrays[name] = change(arrays.get(name))
    storage.write_model(tmp_path / "t", card, {k: values for k, values in arrays.items() if values is not None})
    with pytest.raises(CheckpointError, match="does not hold a whole tagger"):
        Tagger.load(tmp_path / "t")


def test_a_network_without_its_linear_chain(trained, tmp_path):
    card, arrays = storage.read_model(trained["bilstm"])
    network = {name: values for name, values in arrays.items() if not name.startswith("linear/")}
    storage.write_model(tmp_path / "t", card, network)
    with pytest.raises(CheckpointError, match="pool is True, but there are 0 arrays of a linear chain"):
        Tagger.load(tmp_path / "t")


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "[]", "3", "null"])
def test_a_card_that_is_no_json_object(trained, tmp_path, monkeypatch, text):
    card, arrays = storage.read_model(trained["features"])
    monkeypatch.setattr(storage.json, "dumps", lambda *_, **__: text)
    storage.write_model(tmp_path / "t", card, arrays)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="cannot be read as a tagger: its card"):
        Tagger.load(tmp_path / "t")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_numbers_that_numpy_lacks(tmp_path, dtype):
    save_torch_file({"states": torch.zeros(3).to(dtype)}, tmp_path / "t", {"format": "seqlab-tagger", "version": "1"})
    # Where ml_dtypes is installed numpy can read bfloat16, and the missing checksum is what tells.
    with pytest.raises(CheckpointError, match=r"cannot be read as a tagger|is damaged"):
        Tagger.load(tmp_path / "t")


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
