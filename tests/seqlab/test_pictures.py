"""Graphs as text and drawing: every edge is there, names cannot break out, files are what their names say."""

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from seqlab import pictures
from seqlab.chain.explain import explain_viterbi
from seqlab.errors import ConfigError, SeqlabError, ShapeError
from seqlab.hmm import CategoricalHMM
from seqlab.lattice import cheapest_way
from seqlab.markov import MarkovChain
from seqlab.pictures import curves, fonts

DOG = MarkovChain(["sleeping", "eating", "pooping"], [[0.4, 0.2, 0.4], [0.45, 0.45, 0.1], [0.45, 0.25, 0.3]])
HEALTH = pictures.hmm_graph(
    [[0.7, 0.3], [0.4, 0.6]], [[0.2, 0.6, 0.2], [0.4, 0.1, 0.5]], ["healthy", "sick"], DOG.states
)
BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def test_mermaid():
    text = pictures.mermaid(DOG.graph())
    assert text.startswith("flowchart LR\n")
    assert '    s0(("sleeping"))' in text
    assert '    s1 -->|"0.1"| s2' in text
    assert text.count("-->") == 9
    assert pictures.mermaid(HEALTH).count("-.->") == 6


def test_dot():
    text = pictures.dot(HEALTH)
    assert '    s0 [shape=circle, label="healthy"];' in text
    assert '    s1 -> o2 [label="0.5", style=dashed];' in text
    assert text.count("->") == 10
    assert text.endswith("}\n")


def test_small_edges_can_be_left_out():
    assert len(DOG.graph(least=0.25).moves) == 6
    assert len(MarkovChain("ab", np.eye(2)).graph().moves) == 2


def test_names_cannot_break_out():
    graph = pictures.chain_graph(np.eye(2), ['a"]; click s0 "javascript:x"', "b\\\n--> 坏"])
    text = pictures.mermaid(graph)
    assert '"]; click' not in text
    assert text.count("\n") == 5
    assert 'label="a\\"]; click s0 \\"javascript:x\\""' in pictures.dot(graph)


def test_networkx():
    pytest.importorskip("networkx", reason="pip install networkx")
    graph = pictures.to_networkx(HEALTH)
    assert graph.number_of_edges() == 10
    assert graph.nodes["o1"] == {"label": "eating", "level": 1}
    assert graph.edges["s0", "s1"]["probability"] == 0.3


@pytest.mark.parametrize("kind", sorted(BEGINNINGS))
def test_drawings(tmp_path, kind):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    walk = explain_viterbi(np.log([[0.2, 0.4], [0.6, 0.1]]), np.log([[0.7, 0.3], [0.4, 0.6]]), np.log([0.5, 0.5]))
    for name, draw, what in (
        ("chain", pictures.draw_graph, DOG.graph()),
        ("one", pictures.draw_graph, MarkovChain("a", [[1.0]]).graph()),
        ("hmm", pictures.draw_graph, HEALTH),
        ("trellis", pictures.draw_trellis, walk),
        ("lattice", pictures.draw_lattice, [[[1, 2, np.inf]], [[1], [-2], [0]]]),
        ("names", pictures.draw_graph, MarkovChain(["$a_$", "", "a very long name, " * 9], np.eye(3)).graph()),
    ):
        path = tmp_path / f"{name}.{kind}"
        draw(what, path)
        assert path.read_bytes().startswith(BEGINNINGS[kind])
        first = path.read_bytes()
        draw(what, path)
        assert kind == "pdf" or path.read_bytes() == first


def test_chinese_names_without_a_font_stay_text_in_an_svg(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    monkeypatch.setattr(fonts, "_installed", list)
    for kind in ("svg", "png"):
        with pytest.warns(UserWarning, match="no installed font has 睡觉: .*fonts-noto-cjk") as caught:
            pictures.draw_graph(pictures.chain_graph([[1.0]], ["睡觉"]), tmp_path / f"狗.{kind}")
        assert len(caught) == 1
        assert caught[0].filename == __file__
    texts = ElementTree.parse(tmp_path / "狗.svg").iter("{http://www.w3.org/2000/svg}text")
    assert "睡觉" in [text.text for text in texts]
    assert fonts.drawable("睡觉 zzz", {"睡", "觉"}) == "?? zzz"


def test_the_first_font_that_has_the_characters(monkeypatch):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    has = {"base": "ab", "thai": "ก", "all": "睡觉ก"}
    monkeypatch.setattr(fonts, "_base_file", lambda: "base")
    monkeypatch.setattr(fonts, "_installed", lambda: [("Thai", "thai"), ("All", "all"), ("Never", "none")])
    monkeypatch.setattr(fonts, "_covered", lambda file, wanted: wanted & set(has[file]))
    assert fonts.families_for(["ab"]) == (["DejaVu Sans"], set())
    assert fonts.families_for(["a睡觉"]) == (["DejaVu Sans", "All"], set())
    monkeypatch.setattr(fonts, "_installed", lambda: [("Thai", "thai")])
    assert fonts.families_for(["ก睡"]) == (["DejaVu Sans", "Thai"], {"睡"})


def test_a_font_that_has_chinese_characters_is_found():
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    families, missing = fonts.families_for(["睡觉"])
    if missing:
        pytest.skip("no font with Chinese characters: apt-get install fonts-noto-cjk")
    assert len(families) == 2
    assert not families[1].startswith("Last Resort")


def test_bad_input(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        pictures.draw_graph(DOG.graph(), tmp_path / "dog.gif")
    with pytest.raises(ShapeError, match=r"transitions must have shape \(2, 2\)"):
        pictures.chain_graph(np.eye(3), "ab")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (0.5, "0.5"), (1 / 3, "0.33"), (0.004, "0.004"), (0.9996, "0.9996"), (3e-12, "3e-12"),
     (1 - 1e-9, "≈1")],
)  # fmt: skip
def test_a_probability_is_never_rounded_to_certainty(value, text):
    assert pictures.probability_text(value) == text


def test_the_graph_of_a_model():
    model = SimpleNamespace(startprob_=[0.5, 0.5], transmat_=[[0.7, 0.3], [0.4, 0.6]])
    assert pictures.model_graph(model).symbols == ["what 0 emits", "what 1 emits"]
    model.means_ = np.array([[0.0, 1.25], [3.0, 4.0]])
    graph = pictures.model_graph(model, ["calm", "stormy"])
    assert graph.symbols == ["mean 0, 1.25", "mean 3, 4"]
    assert graph.emissions == [(0, 0, 1.0), (1, 1, 1.0)]
    model.emissionprob_ = np.array([[0.2, 0.6, 0.2], [0.4, 0.1, 0.5]])
    assert pictures.model_graph(model, ["healthy", "sick"], DOG.states) == HEALTH._replace(start=[0.5, 0.5])


def test_the_components_of_a_mixture_stand_apart():
    model = SimpleNamespace(startprob_=[1.0], transmat_=[[1.0]], means_=np.array([[[-0.223], [-0.792]]]))
    model.weights_ = np.array([[0.6, 0.4]])
    assert pictures.model_graph(model).symbols == ["mean -0.223 (0.6) | -0.792 (0.4)"]
    model.means_, model.weights_ = np.array([[[1.0, 2.0]]]), np.ones((1, 1))
    assert pictures.model_graph(model).symbols == ["mean 1, 2"]
    model.means_, model.weights_ = np.arange(8.0).reshape(1, 4, 2), np.array([[0.1, 0.3, 0.2, 0.4]])
    assert pictures.model_graph(model).symbols == ["mean 2, 3 (0.3) | 4, 5 (0.2) | 6, 7 (0.4) | …"]


def test_what_is_no_graph_is_named(tmp_path):
    for call in (
        lambda: pictures.draw_graph(DOG, tmp_path / "dog.svg"),
        lambda: pictures.mermaid(DOG),
        lambda: pictures.dot(DOG),
        lambda: pictures.to_networkx(DOG),
    ):
        with pytest.raises(ShapeError, match=r"must be a ChainGraph, got MarkovChain: pass chain\.graph\(\)"):
            call()
    with pytest.raises(ShapeError, match="a CategoricalHMM without startprob_ and transmat_: call fit"):
        pictures.model_graph(CategoricalHMM(2))


def test_a_missing_folder_is_made(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    pictures.draw_graph(DOG.graph(), tmp_path / "new" / "folder" / "dog.svg")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["dog.svg"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SeqlabError, match=r"while drawing .*dog\.svg"):
        pictures.draw_graph(DOG.graph(), tmp_path / "file" / "dog.svg")


def test_scores_that_are_no_probabilities_are_drawn_as_scores(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    walk = explain_viterbi([[-1.5, -2.5]], np.zeros((2, 2)), np.zeros(2))
    for name, what, logs in (("a", walk, False), ("b", walk, True), ("c", walk._replace(probabilities=True), False)):
        pictures.draw_trellis(what, tmp_path / f"{name}.svg", logs=logs)
    drawn = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn["a"] == drawn["b"] != drawn["c"]


def test_what_cannot_be_reached_is_drawn_without_arrows(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    with np.errstate(divide="ignore"):
        walk = explain_viterbi(np.log([[0.2, 0.4], [0.0, 0.0]]), np.log(np.eye(2)), np.log([1.0, 0.0]))
    pictures.draw_trellis(walk, tmp_path / "never.svg")
    pictures.draw_trellis(walk, tmp_path / "logs.svg", logs=True)


def test_the_number_of_an_edge_avoids_what_is_there():
    curve = curves.arc(np.array([0.0, 0.0]), np.array([10.0, 0.0]), 0.0)
    nothing, size = np.empty((0, 2)), (1.0, 0.5)
    assert curves.label_place(curve, size, [], nothing)[0] == pytest.approx(5, abs=0.1)
    x, y = curves.label_place(curve, size, [(4.0, -1.0, 6.0, 1.0)], nothing)
    assert abs(x - 5) >= 1.4
    assert y == 0
    assert abs(curves.label_place(curve, size, [], np.full((9, 2), [5.0, 0.0]))[0] - 5) >= 0.5


def test_two_way_edges_lie_apart():
    there = curves.arc(np.array([0.0, 0.0]), np.array([4.0, 0.0]), 0.5)
    back = curves.arc(np.array([4.0, 0.0]), np.array([0.0, 0.0]), 0.5)
    assert there[32, 1] > 0.45
    assert back[32, 1] < -0.45
    around = curves.loop(np.zeros(2), 0.4, np.array([0.0, 1.0]), 0.42)
    assert np.hypot(*around[[0, -1]].T) == pytest.approx(0.4, abs=0.01)
    assert around[:, 1].max() == pytest.approx(0.4 * 0.86 + 0.42, abs=0.01)


def test_bad_lattices(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    with pytest.raises(ShapeError, match="names must hold"):
        pictures.draw_lattice([[[1, 2]]], tmp_path / "a.svg", names=["ab", "c"])
    with pytest.raises(ShapeError, match=r"start must have shape \(1,\)"):
        pictures.chain_graph([[1.0]], "a", start=[0.5, 0.5])
    best = cheapest_way([[[1, 2]]])
    pictures.draw_lattice([[[1, 2]]], tmp_path / "a.svg", names=["a", "bc"], best=best)
