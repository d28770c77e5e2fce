"""Markov chains against enumeration, matrix powers and simulation."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import ConfigError, ShapeError
from seqlab.markov import MarkovChain

DOG = MarkovChain(["睡觉", "吃饭", "便便"], [[0.4, 0.2, 0.4], [0.45, 0.45, 0.1], [0.45, 0.25, 0.3]], [0.35, 0.35, 0.3])
# The gambler: 0 and 3 end the game, a fair coin decides in between.
GAMBLER = MarkovChain(range(4), [[1, 0, 0, 0], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0, 0, 0, 1]])


def random_chain(K, seed, zeros=0.0):
    draw = np.random.default_rng(seed)
    moves = draw.dirichlet(np.ones(K), size=K) * (draw.random((K, K)) >= zeros)
    moves[np.arange(K), draw.integers(K, size=K)] += 0.1
    return MarkovChain(range(K), moves / moves.sum(axis=1, keepdims=True), draw.dirichlet(np.ones(K)))


def test_ten_fair_flips_and_the_eleventh():
    coin = MarkovChain(["正", "反"], [[0.5, 0.5], [0.5, 0.5]])
    flips = ["正"] * 10
    assert coin.probability(flips) == pytest.approx(0.5**10, rel=1e-12)
    assert coin.probability([*flips, "反"]) / coin.probability(flips) == pytest.approx(0.5)


def test_path_probabilities_add_up_to_one():
    paths = list(itertools.product(DOG.states, repeat=4))
    assert math.fsum(DOG.probability(path) for path in paths) == pytest.approx(1)
    assert DOG.probability(["睡觉", "便便"]) == pytest.approx(0.35 * 0.4)
    assert DOG.log_probability([]) == 0
    assert GAMBLER.log_probability([0, 1]) == -math.inf


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_after_n_steps_by_enumeration(steps):
    found = dict.fromkeys(DOG.states, 0.0)
    for path in itertools.product(DOG.states, repeat=steps + 1):
        found[path[-1]] += DOG.probability(path)
    np.testing.assert_allclose(DOG.after(steps), list(found.values()))


@given(st.integers(1, 6), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.7]))
@settings(max_examples=60, deadline=None)
def test_stationary_distributions_stay(K, seed, zeros):
    chain = random_chain(K, seed, zeros)
    found = chain.stationary_distributions()
    assert len(found) >= 1
    np.testing.assert_allclose(found @ chain.transitions, found, atol=1e-10)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # Averages of the n-step distributions converge even for a periodic chain.
    average, at = np.zeros(K), chain.start
    for _ in range(4000):
        average, at = average + at / 4000, at @ chain.transitions
    mixture = np.linalg.lstsq(found.T, average, rcond=None)[0]
    np.testing.assert_allclose(mixture @ found, average, atol=0.02)


def test_hardly_connected_states_keep_all_their_digits():
    tiny = 1e-13
    chain = MarkovChain("ab", [[1 - tiny, tiny], [2 * tiny, 1 - 2 * tiny]])
    np.testing.assert_allclose(chain.stationary(), [2 / 3, 1 / 3], rtol=1e-12)
    # A walk up a ladder that falls back with probability 1 − 1e-9: π_{n+1} / π_n = 1e-9 but for the ends.
    K, up = 40, 1e-9
    ladder = np.diag(np.full(K - 1, up), 1) + np.diag(np.full(K - 1, 1 - up), -1)
    ladder[0, 0], ladder[-1, -1] = 1 - up, up
    found = MarkovChain(range(K), ladder).stationary()
    np.testing.assert_allclose(found[1:34] / found[:33], up / (1 - up), rtol=1e-12)


def test_a_large_chain():
    chain = random_chain(300, 5)
    found = chain.stationary()
    np.testing.assert_allclose(found @ chain.transitions, found, rtol=1e-12)


def test_tensors_and_arrays_are_sequences_of_numbers():
    rows = [[0, 1, 1], [1, 0, 1]]
    expected = MarkovChain.fit(rows, states=[0, 1]).transitions
    for same in (torch.tensor(rows), np.array(rows), [torch.tensor(row) for row in rows]):
        np.testing.assert_array_equal(MarkovChain.fit(same, states=[0, 1]).transitions, expected)


def test_a_path_may_be_a_tensor_too():
    chain = MarkovChain.fit(torch.tensor([[0, 1, 1], [1, 0, 1]]), states=torch.tensor([1, 0]))
    assert chain.states == [1, 0]
    path = torch.tensor([0, 1, 1])
    for same in (path, path.numpy(), list(path)):
        assert chain.log_probability(same) == chain.log_probability([0, 1, 1]) < 0
    np.testing.assert_array_equal(chain.after(2, path[0]), chain.after(2, 0))
    np.testing.assert_array_equal(chain.hitting_times(path[1]), chain.hitting_times(1))
    np.testing.assert_array_equal(chain.hitting_times(path[:1]), chain.hitting_times([0]))


def test_rows_printed_to_six_digits_are_made_exact():
    third = MarkovChain("abc", np.full((3, 3), 0.333333), np.full(3, 0.333333))
    np.testing.assert_allclose([third.after(n).sum() for n in (0, 1, 10**6, 10**30)], 1, rtol=1e-15)
    np.testing.assert_allclose(third.transitions, 1 / 3, rtol=1e-15)
    assert MarkovChain("ab", [[0.999999, 0], [0.5, 0.5]]).absorption().absorbing == ["a"]
    with pytest.raises(ShapeError, match="sum to 1"):
        MarkovChain("abc", np.full((3, 3), 0.333))


def test_times_and_ends_of_a_chain_that_hardly_moves():
    tiny = 1e-13
    slow = MarkovChain("ab", [[1 - tiny, tiny], [0, 1]])
    np.testing.assert_allclose(slow.hitting_times("b"), [1 / tiny, 0], rtol=1e-14)
    np.testing.assert_allclose(slow.hitting_probabilities("b"), 1, rtol=1e-14)
    moves = [[1 - 2 * tiny, tiny, tiny, 0], [tiny, 1 - 3 * tiny, tiny, tiny], [0, 0, 1, 0], [0, 0, 0, 1]]
    found = MarkovChain("abcd", moves).absorption()
    np.testing.assert_allclose(found.probabilities, [[0.8, 0.2], [0.6, 0.4]], rtol=1e-14)
    np.testing.assert_allclose(found.visits * tiny, [[0.6, 0.2], [0.2, 0.4]], rtol=1e-14)
    np.testing.assert_allclose(found.steps * tiny, [0.8, 0.6], rtol=1e-14)


def test_a_periodic_chain():
    ring = MarkovChain("abc", [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(ring.stationary(), 1 / 3)
    assert ring.period("a") == 3
    assert DOG.period("睡觉") == 1
    assert GAMBLER.period(1) == 2
    assert MarkovChain("ab", [[0, 1], [0, 1]]).period("a") == 0


def test_classes():
    assert GAMBLER.classes() == [[0], [3], [1, 2]]
    with pytest.raises(ShapeError, match="2 closed classes"):
        GAMBLER.stationary()
    assert DOG.classes() == [DOG.states]


def test_the_gamblers_ruin():
    found = GAMBLER.absorption()
    assert (found.transient, found.absorbing) == ([1, 2], [0, 3])
    np.testing.assert_allclose(found.probabilities, [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    np.testing.assert_allclose(found.steps, [2, 2])
    np.testing.assert_allclose(GAMBLER.hitting_probabilities([3]), [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(GAMBLER.hitting_times([0, 3]), [0, 2, 2, 0])
    np.testing.assert_allclose(GAMBLER.hitting_times([3]), [np.inf, np.inf, np.inf, 0])


def test_hitting_times_by_simulation():
    times = []
    for path in DOG.simulate(400, count=4000, seed=3):
        times.append(path.index("便便"))
    expected = DOG.start @ DOG.hitting_times(["便便"])
    assert np.mean(times) == pytest.approx(expected, abs=4 * np.std(times) / math.sqrt(len(times)))


def test_a_time_behind_a_target_does_not_count():
    """From b one always meets a first; that a may fall into the trap c afterwards does not matter."""
    chain = MarkovChain("abc", [[0.5, 0, 0.5], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(chain.hitting_times(["a"]), [0, 1, np.inf])


def test_no_absorbing_state():
    with pytest.raises(ShapeError, match="absorbing"):
        DOG.absorption()


def test_fit_counts():
    chain = MarkovChain.fit([["a", "b", "a"], ["b"], []], smoothing=1.0)
    assert chain.states == ["a", "b"]
    np.testing.assert_allclose(chain.start, [0.5, 0.5])
    np.testing.assert_allclose(chain.transitions, [[1 / 3, 2 / 3], [2 / 3, 1 / 3]])


def test_a_state_never_left_gets_a_uniform_row_with_a_warning():
    with pytest.warns(UserWarning, match=r"no move was counted from \['c'\]"):
        chain = MarkovChain.fit([["a", "b", "c"], ["b", "a"]])
    np.testing.assert_allclose(chain.transitions[2], 1 / 3)


def test_simulation_recovers_the_chain():
    paths = DOG.simulate(50, count=2000, seed=1)
    found = MarkovChain.fit(paths, states=DOG.states)
    np.testing.assert_allclose(found.transitions, DOG.transitions, atol=0.01)
    np.testing.assert_allclose(found.start, DOG.start, atol=0.04)
    assert DOG.simulate(50, count=3, seed=1) == paths[:3]
    assert DOG.simulate(50, seed=1) == paths[0]
    assert DOG.simulate(5, count=0) == []
    assert DOG.simulate(0, count=2) == [[], []]
    assert GAMBLER.probability(GAMBLER.simulate(30, seed=5)) > 0


def test_tables_go_in_and_out():
    table = DOG.to_table()
    for same in (
        MarkovChain.from_table(table),
        MarkovChain.from_table(dict(table), dict(zip(DOG.states, DOG.start, strict=True))),
    ):
        np.testing.assert_array_equal(same.transitions, DOG.transitions)
        np.testing.assert_array_equal(same.start, DOG.start)
    np.testing.assert_allclose(MarkovChain.from_table(dict(table)).start, 1 / 3)
    assert GAMBLER.to_table().start is None
    assert MarkovChain.from_table({"a": {"b": 1}, "b": {"a": 1}}).to_table().start is None
    assert GAMBLER.to_table()[0] == {0: 1.0}


def test_pandas_goes_in_and_out(monkeypatch):
    pytest.importorskip("pandas", reason="pip install pandas")
    frame = DOG.to_pandas()
    assert frame.loc["睡觉", "便便"] == 0.4
    for same in (MarkovChain.from_table(frame), MarkovChain.from_table(frame.copy())):
        assert same.states == DOG.states
        np.testing.assert_array_equal(same.transitions, DOG.transitions)
        np.testing.assert_array_equal(same.start, DOG.start)
    assert "start" not in GAMBLER.to_pandas().attrs


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="to_pandas needs pandas: pip install pandas"):
        DOG.to_pandas()


def test_one_target_needs_no_list():
    np.testing.assert_array_equal(DOG.hitting_times("便便"), DOG.hitting_times(["便便"]))
    np.testing.assert_array_equal(GAMBLER.hitting_probabilities(3), GAMBLER.hitting_probabilities([3]))
    np.testing.assert_array_equal(GAMBLER.hitting_times(n for n in (0, 3)), GAMBLER.hitting_times([0, 3]))
    pairs = MarkovChain([("a", 1), ("a", 2)], [[0.5, 0.5], [0, 1]])
    np.testing.assert_allclose(pairs.hitting_times(("a", 2)), [2, 0])


def test_a_generator_as_seed():
    paths = DOG.simulate(9, count=3, seed=np.random.default_rng(5))
    assert paths == DOG.simulate(9, count=3, seed=np.random.default_rng(5))
    assert DOG.simulate(9, seed=np.random.default_rng(5)) == paths[0]
    generator = np.random.default_rng(5)
    assert DOG.simulate(9, seed=generator) != DOG.simulate(9, seed=generator)


def test_the_start_is_drawn_where_it_was_given():
    assert DOG.graph().start == pytest.approx([0.35, 0.35, 0.3])
    assert DOG.graph(start=False).start == []
    assert GAMBLER.graph().start == []
    assert GAMBLER.graph(start=True).start == [0.25] * 4
    assert MarkovChain.fit(["abab"]).graph().start == [1.0, 0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MarkovChain([], np.zeros((0, 0))), "at least one"),
        (lambda: MarkovChain("aa", np.eye(2)), "all different"),
        (lambda: MarkovChain("ab", np.eye(3)), r"transitions must have shape \(2, 2\)"),
        (lambda: MarkovChain("ab", [[0.5, 0.4], [0, 1]]), "sum to 1, got sums"),
        (lambda: MarkovChain("ab", np.eye(2), [np.nan, 1]), "start must not be negative"),
        (lambda: MarkovChain.fit([[]]), "at least one state"),
        (lambda: MarkovChain.fit("abab"), "got one text, 'abab'"),
        (lambda: MarkovChain.fit([0, 1, 0]), "got a list of states"),
        (lambda: MarkovChain.fit(["ab"], smoothing=-1), "0 ≤ smoothing < inf, got -1"),
        (lambda: MarkovChain.fit(["ab"], smoothing=math.nan), "0 ≤ smoothing < inf, got nan"),
        (lambda: MarkovChain.fit(["ab"], smoothing=math.inf), "0 ≤ smoothing < inf, got inf"),
        (lambda: MarkovChain.fit(["ab"], smoothing="1"), "smoothing must be a number"),
        (lambda: MarkovChain.fit(["abc"], states="ab"), "not in `states`"),
        (lambda: DOG.probability(["跑"]), "state must be one of"),
        (lambda: DOG.probability(7), "states must be a list, got 7"),
        (lambda: DOG.probability(torch.eye(2)), r"a state must be a name or a number, got \[1.0, 0.0\]"),
        (lambda: DOG.after(-1), "steps must be an integer ≥ 0, got -1"),
        (lambda: DOG.after(1.5), "steps must be an integer ≥ 0, got 1.5"),
        (lambda: DOG.simulate(-1), "steps must be an integer ≥ 0, got -1"),
        (lambda: DOG.simulate(3, count=-1), "count must be an integer ≥ 0, got -1"),
        (lambda: DOG.hitting_times([]), "at least one state"),
        (lambda: DOG.hitting_times("跑步"), "state must be one of .* got '跑步'"),
        (lambda: DOG.simulate(3, seed="a"), "seed must be an integer ≥ 0 or a numpy Generator, got 'a'"),
        (lambda: DOG.simulate(3, seed=-1), "seed must be"),
        (lambda: MarkovChain.from_table([[1.0]]), "or a pandas DataFrame, got list"),
        (lambda: MarkovChain.from_table({"a": 1.0}), "table must be"),
        (lambda: MarkovChain.from_table({"a": {"a": 1.0}}, start={"a": 1.0, "z": 0.5}), r"got \['z'\] too"),
        (lambda: MarkovChain.from_table({"a": {"a": 1.0}}, start=[1.0]), "start must be .* got list"),
        (lambda: MarkovChain("ab", [[1.0], [0.5, 0.5]]), "transitions must be numbers of shape"),
        (lambda: MarkovChain.order_test(["ab"], -1), "order must be an integer ≥ 0"),
        (lambda: MarkovChain.order_test(["a"], 1), "more than 2 states"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ShapeError, match=message):
        make()
