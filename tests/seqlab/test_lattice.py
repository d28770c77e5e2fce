"""Layered graphs against enumeration, Dijkstra's algorithm and the chain engine."""

import heapq
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab import chain
from seqlab.errors import ShapeError
from seqlab.lattice import cheapest_named_way, cheapest_way


def random_costs(sizes, seed, lowest=0.0):
    draw = np.random.default_rng(seed)
    return [draw.uniform(lowest, 10.0, size=shape) for shape in itertools.pairwise(sizes)]


def enumerate_ways(costs):
    sizes = [len(costs[0]), *(table.shape[1] for table in costs)]
    ways = itertools.product(*map(range, sizes))
    return min((sum(t[a, b] for t, (a, b) in zip(costs, itertools.pairwise(w), strict=True)), w) for w in ways)


def dijkstra(costs):
    """The least cost from a source before the first layer to any node of the last; no cost may be negative."""
    queue = [(0.0, 0, node) for node in range(len(costs[0]))]
    settled = set()
    while queue:
        cost, layer, node = heapq.heappop(queue)
        if layer == len(costs):
            return cost
        if (layer, node) in settled:
            continue
        settled.add((layer, node))
        for there, step in enumerate(costs[layer][node].tolist()):
            heapq.heappush(queue, (cost + step, layer + 1, there))
    return None


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_like_enumeration_and_dijkstra(sizes, seed):
    costs = random_costs(sizes, seed)
    found = cheapest_way(costs)
    cost, way = enumerate_ways(costs)
    assert found.nodes == list(way)
    assert found.cost == pytest.approx(cost) == pytest.approx(dijkstra(costs))
    assert [len(layer) for layer in found.best] == sizes


def test_negative_costs_and_the_dearest_way():
    costs = random_costs([3, 3, 2, 3], 1, lowest=-10.0)
    assert cheapest_way(costs).cost == pytest.approx(enumerate_ways(costs)[0])
    dearest = cheapest_way(costs, largest=True)
    assert dearest.cost == pytest.approx(-enumerate_ways([-table for table in costs])[0])


def test_the_chain_engine_finds_the_same():
    table = random_costs([4, 4], 2)[0]
    zeros = torch.zeros(4).double()
    best = chain.viterbi(torch.zeros(6, 1, 4).double(), -torch.from_numpy(table), zeros, zeros)
    found = cheapest_way([table] * 5)
    assert found.nodes == best.tags[:, 0].tolist()
    assert found.cost == pytest.approx(-best.score.item())


def test_named_nodes():
    layers = [["A1", "A2"], ["B1", "B2"], ["终点"]]
    edges = {("A1", "B1"): 4, ("A1", "B2"): 1, ("A2", "B1"): 2, ("B1", "终点"): 1, ("B2", "终点"): 5}
    found = cheapest_named_way(layers, edges)
    assert found.nodes == ["A2", "B1", "终点"]
    assert found.cost == 3


def test_missing_edges():
    with pytest.raises(ShapeError, match="no way leads"):
        cheapest_way([[[np.inf, np.inf]], [[1.0], [1.0]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cheapest_way([]), "at least one matrix"),
        (lambda: cheapest_way([np.zeros((2, 3)), np.zeros((2, 2))]), r"costs\[1\] must be a matrix with 3 rows"),
        (lambda: cheapest_way([np.zeros(3)]), r"costs\[0\] must be a matrix"),
        (lambda: cheapest_way([[[np.nan]]]), "no NaN"),
        (lambda: cheapest_way([[[-np.inf]]]), "no infinite gain"),
        (lambda: cheapest_named_way([["a"], ["a"]], {}), "different names"),
        (lambda: cheapest_named_way([["a"], ["b"]], {("b", "a"): 1}), "from one layer to the next"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ShapeError, match=message):
        call()
