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
