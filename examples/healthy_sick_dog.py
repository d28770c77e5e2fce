"""Is the dog healthy or sick? Viterbi on a hidden Markov model with two states, step by step.

Nobody sees the dog's health; what one sees is that it sleeps, eats or poops. From fifteen such observations
the Viterbi algorithm finds the most probable course of its health. It walks forward once: δ_t(j) is the probability of
the best course that ends in state j on day t, and ψ_t(j) the state the day before on that course. Then it follows the
ψ back from the best end.

    python examples/healthy_sick_dog.py [--draw FOLDER]
"""

import argparse
import math
from pathlib import Path

import numpy as np

from seqlab.hmm import CategoricalHMM

STATES = ["healthy", "sick"]
ACTS = ["sleeping", "eating", "pooping"]

model = CategoricalHMM(n_components=2)
model.startprob_ = np.array([0.5, 0.5])
model.transmat_ = np.array([[0.7, 0.3], [0.4, 0.6]])
model.emissionprob_ = np.array([[0.2, 0.6, 0.2], [0.4, 0.1, 0.5]])

seen = np.array([1, 1, 2, 1, 0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 1])
walk = model.explain(seen, states=STATES, steps=[ACTS[act] for act in seen])
print(walk)

log_probability, path = model.decode(seen)
print(f"probability of this course and these observations: {math.exp(log_probability):.8e}")

assert path.tolist() == walk.path.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
assert math.isclose(math.exp(log_probability), 9.36970868e-10, rel_tol=1e-8)
assert math.isclose(math.exp(walk.score), 9.36970868e-10, rel_tol=1e-8)
# Day 2 by hand: healthy yesterday (0.5 · 0.6), still healthy (0.7), eating (0.6).
assert math.isclose(math.exp(walk.deltas[1, 0]), 0.5 * 0.6 * 0.7 * 0.6)

parser = argparse.ArgumentParser(description="Viterbi on a dog's health.")
parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw the model and the trellis there")
folder = parser.parse_args().draw
if folder is not None:
    from seqlab.pictures import draw_graph, draw_trellis, model_graph

    folder.mkdir(parents=True, exist_ok=True)
    draw_graph(model_graph(model, STATES, ACTS), folder / "dog-hmm.png")
    draw_trellis(walk, folder / "dog-trellis.png")
    print(f"drawn: {folder / 'dog-hmm.png'}, {folder / 'dog-trellis.png'}")
