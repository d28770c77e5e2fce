"""Is the dog healthy or sick? Viterbi on a hidden Markov model with two states.

Nobody sees the dog's health; what one sees is that it sleeps, eats or poops. From fifteen such observations
the Viterbi algorithm finds the most probable course of its health.
"""

import math

import numpy as np

from seqlab.hmm import CategoricalHMM

STATES = ["healthy", "sick"]
ACTS = ["sleeping", "eating", "pooping"]

model = CategoricalHMM(n_components=2)
model.startprob_ = np.array([0.5, 0.5])
model.transmat_ = np.array([[0.7, 0.3], [0.4, 0.6]])
model.emissionprob_ = np.array([[0.2, 0.6, 0.2], [0.4, 0.1, 0.5]])

seen = np.array([1, 1, 2, 1, 0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 1])
log_probability, path = model.decode(seen)

for day, (act, state) in enumerate(zip(seen, path, strict=True), start=1):
    print(f"day {day:2d}  {ACTS[act]:8s}  {STATES[state]}")
print(f"probability of this course and these observations: {math.exp(log_probability):.8e}")

assert path.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
assert math.isclose(math.exp(log_probability), 9.36970868e-10, rel_tol=1e-8)
