"""Settings: overrides, type checks, ranges, messages; and what may not be imported."""

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.errors import ConfigError
from seqlab.train.config import apply_overrides, from_dict, keys, setting, to_dict


@dataclass(frozen=True)
class Inner:
    hidden: int = setting(8, "units", above=0)
    kind: Literal["lstm", "gru"] = setting("lstm", "which cell")
    sizes: tuple[int, ...] = setting((1, 2), "sizes", above=0)
    pair: tuple[int, float] = setting((1, 0.5), "a pair")
    width: int = setting(4, "width", above=0, at_most=1024)


@dataclass(frozen=True)
class Outer:
    encoder: Inner = field(default_factory=Inner)
    rate: float = setting(0.1, "rate", at_least=0, below=1)
    name: str = setting("x", "name")
    tie: bool = setting(False, "tie")
    limit: int | None = setting(None, "limit", at_least=1)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("encoder.hidden=256", 256),
        ("encoder.kind=gru", "gru"),
        ("encoder.sizes=3, 4,5", (3, 4, 5)),
        ("encoder.sizes=(7)", (7,)),
        ("encoder.sizes=", ()),
        ("encoder.pair=2,1e-3", (2, 0.001)),
        ("rate=0", 0.0),
        ("name=a=b", "a=b"),
        ("tie=True", True),
        ("tie=off", False),
        ("limit=5", 5),
        ("limit=none", None),
    ],
)
def test_overrides(override, expected):
    config = apply_overrides(Outer(), [override])
    value = config
    for part in override.partition("=")[0].split("."):
        value = getattr(value, part)
    assert value == expected
    assert type(value) is type(expected)


def test_later_overrides_win_and_the_original_stays():
    original = Outer()
    assert apply_overrides(original, ["rate=0.2", "rate=0.3"]).rate == 0.3
    assert original.rate == 0.1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("encoder.hiden=3", ["encoder.hiden", "did you mean encoder.hidden?"]),
        ("encodr.hidden=3", ["encodr.hidden", "did you mean encoder.hidden?"]),
        ("hidden=3", ["'hidden'", "encoder.hidden"]),
        ("rate.x=3", ["rate.x"]),
        ("encoder.hidden.x=3", ["encoder.hidden.x"]),
        ("encoder=3", ["group", "encoder.hidden"]),
        ("encoder.hidden=big", ["encoder.hidden", "int", "'big'"]),
        ("encoder.hidden=1.5", ["encoder.hidden", "int", "'1.5'"]),
        ("encoder.hidden=0", ["encoder.hidden", "above 0", "got 0"]),
        ("encoder.kind=rnn", ["encoder.kind", "lstm|gru", "'rnn'"]),
        ("encoder.sizes=1,x", ["encoder.sizes", "int", "'x'"]),
        ("encoder.sizes=1,-1", ["encoder.sizes", "above 0", "-1"]),
        ("encoder.hidden=1_0", ["encoder.hidden", "int", "'1_0'"]),
        ("encoder.hidden=１２８", ["encoder.hidden", "int"]),
        ("encoder.hidden=٣", ["encoder.hidden", "int"]),
        ("rate=0.0_1", ["rate", "float"]),
        ("rate=٠", ["rate", "float"]),
        ("encoder.width=99999999999999999999", ["encoder.width", "at most 1024", "99999999999999999999"]),
        ("encoder.pair=1", ["encoder.pair", "2 values"]),
        ("rate=1", ["rate", "at least 0 and below 1"]),
        ("rate=nan", ["rate", "finite"]),
        ("rate=inf", ["rate", "finite"]),
        ("tie=maybe", ["tie", "bool", "'maybe'"]),
        ("limit=0", ["limit", "at least 1"]),
        ("limit=some", ["limit", "int", "'some'"]),
        ("rate", ["key=value", "'rate'"]),
        ("=3", ["unknown setting ''"]),
    ],
)
def test_a_wrong_override_names_key_type_value_and_nearest(override, words):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Outer(), [override])
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


def test_round_trip_through_json():
    config = apply_overrides(Outer(), ["encoder.sizes=4", "limit=2", "encoder.kind=gru"])
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"rates": 1}, ["'rates'", "did you mean rate?"]),
        ({"encoder": {"hiden": 1}}, ["encoder.hiden", "did you mean encoder.hidden?"]),
        ({"encoder": {"hidden": True}}, ["encoder.hidden", "int", "True"]),
        ({"encoder": {"hidden": 2.0}}, ["encoder.hidden", "int"]),
        ({"encoder": 3}, ["encoder", "object"]),
        ({"encoder": {"sizes": 3}}, ["encoder.sizes", "list of int"]),
        ({"encoder": {"kind": None}}, ["encoder.kind"]),
        ({"name": 3}, ["name", "str", "3"]),
        ({"tie": 1}, ["tie", "bool"]),
        ([], ["settings", "object"]),
    ],
)
def test_a_wrong_saved_config_is_refused(data, words):
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, data)
    for word in words:
        assert word in str(caught.value)


def test_keys_describe_every_leaf():
    assert [key.name for key in keys(Outer())] == [
        "encoder.hidden", "encoder.kind", "encoder.sizes", "encoder.pair", "encoder.width",
        "rate", "name", "tie", "limit",
    ]  # fmt: skip
    assert [key.type for key in keys(Outer())] == [
        "int", "lstm|gru", "list of int", "int,float", "int", "float", "str", "bool", "int or none",
    ]  # fmt: skip
    assert keys(Outer())[0].help == "units"


def test_every_default_is_shown_as_an_override_takes_it():
    for key in keys(Outer()):
        assert apply_overrides(Outer(), [f"{key.name}={key.default}"]) == Outer()
    assert {key.name: key.default for key in keys(Outer())}["encoder.pair"] == "1,0.5"


@pytest.mark.parametrize("name", ["encoder.width", "rate", "encoder.kind", "nothing", "tie"])
@pytest.mark.parametrize("value", ["9" * 5000, "9" * 300, "x" * 5000])
def test_long_values_are_cut_in_messages(name, value):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Outer(), [f"{name}={value}"])
    assert len(str(caught.value)) < 200
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Outer(), [f"{value}=1"])
    assert value not in str(caught.value)


def test_a_whole_number_beyond_any_float_is_refused():
    with pytest.raises(ConfigError, match="finite"):
        from_dict(Outer, {"rate": 10**400})


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_written_numbers_are_read_back(whole, real):
    config = apply_overrides(Inner(), [f"pair={whole},{real!r}"])
    assert config.pair == (whole, real)


@given(st.text())
def test_no_text_breaks_it_with_anything_but_a_config_error(text):
    with contextlib.suppress(ConfigError):
        apply_overrides(Outer(), [text])


def test_neither_torch_nor_numpy_is_imported():
    code = (
        "import sys, seqlab.train.config, seqlab.recipes as r, seqlab.recipes.tagger.config, seqlab.recipes.tagger\n"
        "r.resolve('tagger', ['encoder.hidden=4']); r.describe('tagger')\n"
        "import seqlab.train.command\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'safetensors', 'tensorboard'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
