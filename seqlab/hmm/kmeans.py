"""k-means, to give Gaussians means to start from."""

from typing import NamedTuple

import numpy as np

from seqlab.errors import ShapeError
from seqlab.hmm.inputs import Floats, Ints

__all__ = ["Clusters", "kmeans"]

# The search looks at a random choice of this many rows; the labels are those of all.
SEARCHED_ROWS = 20_000


class Clusters(NamedTuple):
    """Centres (K, D), the nearest of them for every row, (N,), and the sum of the rows' squared distances."""

    centres: Floats
    labels: Ints
    inertia: float


def kmeans(
    X: Floats, num_clusters: int, random: np.random.RandomState, *, restarts: int = 10, max_iter: int = 300
) -> Clusters:
    """Return the best of several runs of Lloyd's algorithm (1982), each begun by k-means++.

    Args:
        X: (N, D).
        num_clusters: K ≤ N.
        random: a generator.
        restarts: number of runs.
        max_iter: most rounds of a run; it ends when no centre moves.

    Raises:
        ShapeError: there are fewer rows than clusters.
    """
    if len(X) < num_clusters:
        raise ShapeError(f"X must have at least {num_clusters} rows, one for each state, got {len(X)}")
    origin = X.mean(axis=0)
    rows = X - origin  # less cancellation in the distances
    searched = rows[random.choice(len(rows), SEARCHED_ROWS, replace=False)] if len(rows) > SEARCHED_ROWS else rows
    best = min((_lloyd(searched, num_clusters, random, max_iter) for _ in range(restarts)), key=lambda run: run.inertia)
    labels, inertia = _nearest(rows, best.centres)
    return Clusters(best.centres + origin, labels, inertia)


def _lloyd(X: Floats, K: int, random: np.random.RandomState, max_iter: int) -> Clusters:
    """Move each centre to the mean of the rows nearest to it until nothing changes."""
    centres = _plus_plus(X, K, random)
    labels, inertia = _nearest(X, centres)
    for _ in range(max_iter):
        members = (labels[:, None] == np.arange(K)).astype(np.float64)  # (N, K)
        sizes = members.sum(axis=0)[:, None]
        centres = np.where(sizes > 0, members.T @ X / np.maximum(sizes, 1.0), centres)
        before = labels
        labels, inertia = _nearest(X, centres)
        if (labels == before).all():
            break
    return Clusters(centres, labels, inertia)


def _plus_plus(X: Floats, K: int, random: np.random.RandomState) -> Floats:
    """Choose rows as centres, each far from those before: with probability ∝ squared distance.

    Of a few candidates the one that lowers the inertia most is taken (Arthur and Vassilvitskii 2007, section 7).
    """
    centres = X[[random.randint(len(X))]]
    distances = _distances(X, centres)[:, 0]
    for _ in range(1, K):
        total = distances.sum()
        weights = distances / total if total > 0 else None
        candidates = random.choice(len(X), 2 + int(np.log(K)), p=weights)
        tried = np.minimum(distances[:, None], _distances(X, X[candidates]))  # (N, candidates)
        chosen = tried.sum(axis=0).argmin()
        centres, distances = np.vstack([centres, X[candidates[chosen]]]), tried[:, chosen]
    return centres


def _distances(X: Floats, centres: Floats) -> Floats:
    """Return |x − c|², (N, K)."""
    squares = (X * X).sum(axis=1)[:, None] - 2.0 * X @ centres.T + (centres * centres).sum(axis=1)
    return np.asarray(np.maximum(squares, 0.0))


def _nearest(X: Floats, centres: Floats) -> tuple[Ints, float]:
    distances = _distances(X, centres)
    labels = distances.argmin(axis=1)
    return labels, float(distances[np.arange(len(X)), labels].sum())
