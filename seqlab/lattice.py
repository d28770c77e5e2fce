"""The cheapest way through a layered graph: Viterbi's recursion without probabilities.

The nodes stand in layers, and edges lead from one layer to the next only. The cheapest way into a node of layer
t + 1 goes through the cheapest way into some node of layer t, so it is enough to keep one number for each node:

    best_1(j) = 0,   best_{t+1}(j) = min_i best_t(i) + cost_t[i, j]

and to read the way backwards from the cheapest end. With n nodes in each of T layers that is T·n² steps instead of
n^T ways. When does which algorithm apply?

* This one is dynamic programming over a directed acyclic graph (Bellman 1957; Viterbi 1967 for codes). It needs an
  order in which every edge leads forward, which layers give. Costs may be negative; every edge is looked at once.
* Dijkstra's (1959) needs no such order, cycles are welcome, but no cost may be negative. On a layered graph it is
  exact too; its queue costs a logarithm, and may save the far parts of the graph when only one target is wanted.
* With cycles and negative costs neither applies: Bellman and Ford's does, as long as no cycle has a negative sum.
"""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError

__all__ = ["Way", "cheapest_named_way", "cheapest_way"]


class Way(NamedTuple):
    """A way through the layers.

    Attributes:
        nodes: one node a layer: its number, or its name.
        cost: the sum of its edges.
        best: for each layer the (nodes,) costs of the cheapest ways into its nodes.
    """

    nodes: list[Any]
    cost: float
    best: list[NDArray[np.float64]]


def cheapest_way(costs: Sequence[ArrayLike], *, largest: bool = False) -> Way:
    """Return the cheapest way from any node of the first layer to any node of the last.

    Among equally cheap ways it is the one whose last node, then last but one, and so on, comes first.

    Args:
        costs: one matrix for each gap between layers, (nodes before, nodes after); inf: no edge. The layers may
            differ in size.
        largest: look for the dearest way instead; then −inf means no edge.

    Raises:
        ShapeError: there is no matrix, two do not fit each other, a cost is NaN or of the wrong infinity, or no way
            leads through.
    """
    tables = [np.asarray(table, dtype=np.float64) for table in costs]
    if not tables:
        raise ShapeError("costs must hold at least one matrix, got none")
    sizes = [len(tables[0])] if tables[0].ndim else [0]
    for number, table in enumerate(tables):
        if table.ndim != 2 or 0 in table.shape or len(table) != sizes[-1]:
            raise ShapeError(f"costs[{number}] must be a matrix with {sizes[-1]} rows, got shape {table.shape}")
        scores = table if largest else -table
        if not (scores < np.inf).all():
            raise ShapeError(f"costs[{number}] must hold no NaN and no infinite gain")
        sizes.append(table.shape[1])
    best = [np.zeros(sizes[0])]
    for table in tables:
        joint = best[-1][:, None] + table  # (before, after)
        best.append(joint.max(axis=0) if largest else joint.min(axis=0))
    pick = np.argmax if largest else np.argmin
    nodes = [int(pick(best[-1]))]
    cost = float(best[-1][nodes[0]])
    if not np.isfinite(cost):
        raise ShapeError("no way leads from the first layer to the last")
    for before, table in zip(best[-2::-1], tables[::-1], strict=True):
        nodes.append(int(pick(before + table[:, nodes[-1]])))
    return Way(nodes[::-1], cost, best)


def cheapest_named_way(layers: Sequence[Sequence[Hashable]], edges: Mapping[tuple[Any, Any], float]) -> Way:
    """Do the same for named nodes.

    Args:
        layers: the names in each layer, all different.
        edges: (from, to) → cost; each leads from one layer to the next.

    Raises:
        ShapeError: as in `cheapest_way`; a name occurs twice, or an edge leads elsewhere.
    """
    place = {name: (number, row) for number, layer in enumerate(layers) for row, name in enumerate(layer)}
    if len(layers) < 2 or sum(map(len, layers)) != len(place):
        raise ShapeError(f"layers must be at least two, with different names, got {[list(x) for x in layers]}")
    costs = [np.full((len(a), len(b)), np.inf) for a, b in itertools.pairwise(layers)]
    for (source, target), cost in edges.items():
        here, there = place.get(source), place.get(target)
        if here is None or there is None or there[0] != here[0] + 1:
            raise ShapeError(f"edges must lead from one layer to the next, got {source!r} → {target!r}")
        costs[here[0]][here[1], there[1]] = cost
    found = cheapest_way(costs)
    names = [layer[node] for layer, node in zip(layers, found.nodes, strict=True)]
    return Way(names, found.cost, found.best)
