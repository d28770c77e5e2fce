"""A conditional random field by hand: every path of three characters, scored, summed, and the best one picked.

Word segmentation labels each character B (a word begins) or I (it goes on). With m labels and n characters
there are mⁿ paths; here 2³ = 8, few enough to list. The CRF gets the same numbers by dynamic programming.
"""

import itertools
import math

import torch

from seqlab.crf import CRF

LABELS = "BI"
text = "花蝴蝶"
emissions = torch.tensor([[[2.0, 0.0]], [[1.0, 0.5]], [[0.8, 0.6]]])  # (T, B, K) = (3, 1, 2)

crf = CRF(num_tags=2)
with torch.no_grad():
    crf.start_transitions.copy_(torch.tensor([0.0, -5.0]))  # a text hardly begins inside a word
    crf.transitions.copy_(torch.tensor([[-0.5, 0.5], [0.3, -1.0]]))  # from row to column
    crf.end_transitions.zero_()

start, moves = crf.start_transitions.tolist(), crf.transitions.tolist()
scores = {}
for path in itertools.product(range(2), repeat=3):
    scores[path] = start[path[0]] + sum(emissions[t, 0, tag].item() for t, tag in enumerate(path))
    scores[path] += sum(moves[i][j] for i, j in itertools.pairwise(path))
    print("".join(LABELS[tag] for tag in path), f"score {scores[path]:6.2f}")

by_hand = math.log(sum(math.exp(score) for score in scores.values()))
log_z = crf.log_partition(emissions).item()
best = crf.decode(emissions)[0]
gold = (0, 0, 1)  # 花 | 蝴蝶
likelihood = crf(emissions, torch.tensor(gold).unsqueeze(1)).item()
print(f"log-partition: {by_hand:.4f} by hand, {log_z:.4f} by dynamic programming")
print(f"log-likelihood of {''.join(LABELS[tag] for tag in gold)}: {scores[gold]:.4f} − {log_z:.4f} = {likelihood:.4f}")
print(f"best path: {''.join(LABELS[tag] for tag in best)}")

assert math.isclose(by_hand, log_z, rel_tol=1e-6)
assert math.isclose(likelihood, scores[gold] - by_hand, rel_tol=1e-5)
assert tuple(best) == max(scores, key=lambda path: scores[path])
