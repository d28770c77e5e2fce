"""List Viterbi, compiled. The recurrence is that of `seqlab.chain.kbest`; here is how a list is merged.

To find the k best of K sorted lists, only their heads need looking at: begin with the k best heads in a sorted
buffer. The first entry of the buffer is final. Its successor in its own list is the only new candidate it
makes possible: insert it behind, if it beats the buffer's last. Then the second entry is final, and so on. Of
K·k candidates at most K + k − 1 are looked at, and most heads fail the comparison with the buffer's last entry.

A candidate is inserted behind equal ones that come from a lower state, so that the order is (score, i, r).
"""

from typing import Any

import numpy as np

from seqlab.kernels import jit

__all__ = ["best_paths"]


@jit
def _insert(score: float, entry: int, low: int, size: int, scores: Any, entries: Any) -> int:
    """Insert into the sorted scores[low : size], whose room ends at len(scores); return the new size."""
    at = size
    if size == scores.size:
        at = size - 1  # the last one drops out
    else:
        size += 1
    while at > low and (score > scores[at - 1] or (score == scores[at - 1] and entry < entries[at - 1])):
        scores[at] = scores[at - 1]
        entries[at] = entries[at - 1]
        at -= 1
    scores[at] = score
    entries[at] = entry
    return size


@jit
def _merge(lists: Any, counts: Any, move: Any, state_of: Any, scores: Any, entries: Any) -> int:
    """Fill `scores` and `entries` with the best of lists[i, r] + move[i], entry i·k + r; return how many.

    `state_of[i·k + r]` is i: a division costs as much as an insertion.
    """
    K, k = lists.shape
    size = 0
    for i in range(K):
        if counts[i] > 0:
            head = lists[i, 0] + move[i]
            if head > -np.inf and (size < k or head > scores[k - 1]):
                size = _insert(head, i * k, 0, size, scores, entries)
    place = 0
    while place < size:
        follower = entries[place] + 1
        i = state_of[follower - 1]
        r = follower - i * k
        place += 1
        if r < counts[i] and place < k:
            score = lists[i, r] + move[i]
            # Entries are numbered by state, then rank: the lower number comes first among equal scores.
            wins = score > scores[k - 1] or (score == scores[k - 1] and follower < entries[k - 1])
            if score > -np.inf and (size < k or wins):
                size = _insert(score, follower, place, size, scores, entries)
    return size


@jit
def best_paths(
    begin: int, end: int, emissions: Any, into: Any, first: Any, last: Any, lengths: Any, tags: Any, scores: Any
) -> None:
    """Find the best paths of rows begin … end − 1.

    Args:
        emissions: (T, B, K), float64.
        into: (K, K), transitions from the second index to the first.
        first: (K,), start scores.
        last: (K,), end scores.
        lengths: (B,), int64.
        tags: (B, k, T), −1 everywhere; filled.
        scores: (B, k), −inf everywhere; filled.
    """
    T, _, K = emissions.shape
    k = scores.shape[1]
    lists, counts = np.empty((2, K, k)), np.zeros((2, K), np.int64)
    came_from = np.empty((T, K, k), np.int32)
    entries = np.empty(k, np.int32)
    state_of = np.arange(K * k) // k
    for b in range(begin, end):
        n = lengths[b]
        if n == 0:
            scores[b, 0] = 0.0
            continue
        for j in range(K):
            lists[0, j, 0] = first[j] + emissions[0, b, j]
            counts[0, j] = 1 if lists[0, j, 0] > -np.inf else 0
        for t in range(1, n):
            before, now = (t - 1) % 2, t % 2
            for j in range(K):
                emitted = emissions[t, b, j]
                size = 0
                if emitted > -np.inf:
                    size = _merge(lists[before], counts[before], into[j], state_of, lists[now, j], came_from[t, j])
                    for r in range(size):
                        lists[now, j, r] += emitted
                counts[now, j] = size
        size = _merge(lists[(n - 1) % 2], counts[(n - 1) % 2], last, state_of, scores[b], entries)
        for r in range(size):
            entry = entries[r]
            for t in range(n - 1, -1, -1):
                state = entry // k
                tags[b, r, t] = state
                entry = came_from[t, state, entry % k]
