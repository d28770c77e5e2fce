"""A Markov chain forgets: ten flips of a fair coin, and a lazy dog that sleeps, eats and poops.

The next state depends on the present one alone. So the eleventh flip is still fair, whatever came before; and what
the dog does after many steps no longer depends on how its day began.

    python examples/markov_dog_and_coin.py [--draw FOLDER]
"""

import argparse
import math
from pathlib import Path

import numpy as np

from seqlab.markov import MarkovChain

coin = MarkovChain(["heads", "tails"], [[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5])
flips = ["heads"] * 10
print(f"ten heads in a row: {coin.probability(flips):.10f} = 0.5^10")
assert math.isclose(coin.probability(flips), 0.5**10)

eleventh = coin.probability([*flips, "heads"]) / coin.probability(flips)
print(f"and the eleventh:   {eleventh:.1f}")
assert math.isclose(eleventh, 0.5)

dog = MarkovChain(
    ["sleeping", "eating", "pooping"],
    [[0.4, 0.2, 0.4], [0.45, 0.45, 0.1], [0.45, 0.25, 0.3]],
    start=[0.35, 0.35, 0.3],
)
day = ["sleeping", "pooping", "eating"]
print(f"\nP({' → '.join(day)}) = 0.35 · 0.4 · 0.25 = {dog.probability(day):.4f}")
assert math.isclose(dog.probability(day), 0.35 * 0.4 * 0.25)

for steps in (1, 2, 20):
    rows = [dog.after(steps, start) for start in dog.states]
    print(f"after {steps:2d} steps, from each state:", *(np.round(row, 3) for row in rows))
print("in the long run:            ", np.round(dog.stationary(), 3))
assert np.allclose([dog.after(50, start) for start in dog.states], dog.stationary())

print(f"from eating it takes {dog.hitting_times(['pooping'])[1]:.2f} steps on average until it poops")

parser = argparse.ArgumentParser(description="A Markov chain forgets.")
parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw the dog's chain there")
folder = parser.parse_args().draw
if folder is not None:
    from seqlab.pictures import draw_graph

    folder.mkdir(parents=True, exist_ok=True)
    draw_graph(dog.graph(), folder / "dog-chain.png")
    print(f"drawn: {folder / 'dog-chain.png'}")
