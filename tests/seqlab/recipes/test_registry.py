"""Recipes by name: what a command asks before it starts a training."""

import json

import pytest

from seqlab import recipes
from seqlab.errors import ConfigError


def test_names_and_descriptions():
    assert recipes.names() == ["tagger"]
    description = recipes.describe("tagger")
    assert description.summary
    assert "\n" not in description.summary
    keys = {key.name: key for key in description.keys}
    assert keys["encoder.hidden"].type == "int"
    assert all(key.help for key in description.keys)


def test_resolve_gives_json_with_seed_and_data(tmp_path):
    data = tmp_path / "a.conllu"
    data.write_text("")
    resolved = recipes.resolve("tagger", ["encoder.hidden=256"], str(data), 7)
    assert json.loads(json.dumps(resolved)) == resolved
    assert (resolved["recipe"], resolved["seed"], resolved["data"]) == ("tagger", 7, str(data))
    assert resolved["settings"]["encoder"]["hidden"] == 256
    assert recipes.resolve_saved(json.loads(json.dumps(resolved))) == resolved


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], (2, 1000)),
        (["loop.epochs=5"], (5, 0)),
        (["loop.epochs=5", "loop.min_steps=70"], (5, 70)),
        (["loop.min_steps=70", " loop.epochs = 5"], (5, 70)),
        (["loop.min_steps=70"], (2, 70)),
    ],
)
def test_epochs_asked_for_are_not_stretched(overrides, expected):
    loop = recipes.resolve("tagger", overrides)["settings"]["loop"]
    assert (loop["epochs"], loop["min_steps"]) == expected


def test_a_data_file_has_defaults_of_its_own_which_overrides_beat(tmp_path):
    data = tmp_path / "a.conllu"
    data.write_text("")
    own = recipes.resolve("tagger")["settings"]["encoder"]
    given = recipes.resolve("tagger", ["encoder.char_dropout=0"], str(data))["settings"]["encoder"]
    assert (own["dropout"], given["dropout"], given["char_dropout"]) == (0.0, 0.5, 0.0)


@pytest.mark.parametrize("override", ["encoder.hidden", "encoder.embedding", "loop.epochs", "batch_chars"])
def test_absurd_sizes_are_refused(override):
    with pytest.raises(ConfigError, match="at most"):
        recipes.resolve("tagger", [f"{override}=99999999999999999999"])


def test_a_path_too_long_is_refused_in_brief():
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        recipes.resolve("tagger", [], "a" * 5000)
    assert len(str(caught.value)) < 200


def test_defaults():
    resolved = recipes.resolve("tagger")
    assert resolved["seed"] == recipes.DEFAULT_SEED
    assert resolved["data"] is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("tager", [], None, None), "did you mean tagger?"),
        (("zzz", [], None, None), "known: tagger"),
        (("tagger", ["encoder.hidden=0"], None, None), "above 0"),
        (("tagger", [], "no such file", None), "does not exist"),
        (("tagger", [], ".", None), "is not a file"),
        (("tagger", [], None, -1), "seed"),
        (("tagger", [], None, 2**63), "seed"),
        (("tagger", [], None, True), "seed"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        recipes.resolve(*call)


@pytest.mark.parametrize("saved", [None, [], {}, {"recipe": 3}, {"recipe": "tagger", "data": 3}])
def test_a_saved_configuration_of_the_wrong_shape(saved):
    with pytest.raises(ConfigError):
        recipes.resolve_saved(saved)
