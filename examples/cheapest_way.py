"""The cheapest way through a small layered graph, by Viterbi's recursion and by Dijkstra's algorithm.

Three nodes in each layer: of the 27 ways only the cheapest into each node has to be kept. That is dynamic
programming on a graph without cycles, and costs may even be negative. Dijkstra's algorithm knows nothing of layers;
it needs costs that are not negative, and is exact here too.

    python examples/cheapest_way.py [--draw FOLDER]
"""

import argparse
import heapq
import itertools
from pathlib import Path

from seqlab.lattice import cheapest_named_way

layers = [["A1", "A2", "A3"], ["B1", "B2", "B3"], ["C1", "C2", "C3"]]
edges = {
    ("A1", "B1"): 4, ("A1", "B2"): 2, ("A1", "B3"): 7, ("A2", "B1"): 3, ("A2", "B2"): 6, ("A2", "B3"): 1,
    ("A3", "B1"): 5, ("A3", "B2"): 4, ("A3", "B3"): 8, ("B1", "C1"): 2, ("B1", "C2"): 6, ("B1", "C3"): 5,
    ("B2", "C1"): 5, ("B2", "C2"): 1, ("B2", "C3"): 4, ("B3", "C1"): 3, ("B3", "C2"): 4, ("B3", "C3"): 9,
}  # fmt: skip

found = cheapest_named_way(layers, edges)
for layer, costs in zip(layers, found.best, strict=True):
    print("  ".join(f"{node}: {cost:2.0f}" for node, cost in zip(layer, costs, strict=True)))
print(f"cheapest way: {' → '.join(found.nodes)}, cost {found.cost:.0f}")


def dijkstra(starts: list[str], ends: list[str]) -> float:
    """Settle the nodes in the order of their distance; the first end to be settled is the nearest."""
    queue, settled = [(0.0, start) for start in starts], set[str]()
    while queue:
        cost, node = heapq.heappop(queue)
        if node in ends:
            return cost
        if node not in settled:
            settled.add(node)
            for (source, target), step in edges.items():
                if source == node:
                    heapq.heappush(queue, (cost + step, target))
    raise ValueError("no way leads to an end")


print(f"Dijkstra's answer: {dijkstra(layers[0], layers[-1]):.0f}")
assert found.nodes == ["A1", "B2", "C2"]
assert found.cost == dijkstra(layers[0], layers[-1]) == 3

parser = argparse.ArgumentParser(description="The cheapest way through three layers.")
parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw the graph there")
folder = parser.parse_args().draw
if folder is not None:
    from seqlab.pictures import draw_lattice

    folder.mkdir(parents=True, exist_ok=True)
    tables = [[[edges[a, b] for b in after] for a in before] for before, after in itertools.pairwise(layers)]
    draw_lattice(tables, folder / "cheapest-way.png", names=layers)
    print(f"drawn: {folder / 'cheapest-way.png'}")
