"""One linear-chain engine for conditional random fields, hidden Markov models and Markov chains.

A linear chain gives every path y_1 … y_n through K states the score

    s(y) = start[y_1] + Σ_t emissions[t, y_t] + Σ_t transitions[y_t, y_{t+1}] + end[y_n]

Because only neighbours interact, sums and maxima over all K^n paths need just n·K² steps (dynamic
programming). With log-probabilities as scores the chain is an HMM; with learned scores it is the CRF of
Lafferty, McCallum and Pereira (2001).

Conventions, the same in every function:

* `emissions` is (T, B, K), time first; `transitions` is (K, K), from row i to column j; `start` and `end`
  are (K,). Scores are in log space; −inf forbids.
* `lengths` is (B,), int64, 0 ≤ length ≤ T; None means that every row has length T. What lies beyond a row's
  length is never read: it may be anything, NaN included.
* A row of length 0 has one empty path: score 0, log-partition 0.
* A row in which every path is forbidden has log-partition −inf, marginals 0 and gradient 0.
* Sums are accumulated in float64; what comes back has the dtype of the inputs, at least float32.

The pieces: `score` (one path), `messages` (the two forward recursions), `partition` (log-partition, its gradient,
marginals, expected counts, log-likelihood), `viterbi` (the best path), `kbest` (the k best), `sampling`, `entropy`
(and the divergence of two chains), `packed` (numpy arrays of sequences behind one another), `inputs` (checks, masks
and lengths). What a module describes in eager torch its neighbour `…_kernels` does compiled: see `seqlab.kernels`.
"""

from seqlab.chain.entropy import entropy, kl
from seqlab.chain.inputs import lengths_from_mask, mask_from_lengths
from seqlab.chain.kbest import KBest, k_best
from seqlab.chain.partition import (
    ExpectedCounts,
    expected_counts,
    log_likelihood,
    log_partition,
    log_share,
    marginals,
)
from seqlab.chain.sampling import sample
from seqlab.chain.score import path_score
from seqlab.chain.viterbi import BestPath, viterbi

__all__ = [
    "BestPath",
    "ExpectedCounts",
    "KBest",
    "entropy",
    "expected_counts",
    "k_best",
    "kl",
    "lengths_from_mask",
    "log_likelihood",
    "log_partition",
    "log_share",
    "marginals",
    "mask_from_lengths",
    "path_score",
    "sample",
    "viterbi",
]
