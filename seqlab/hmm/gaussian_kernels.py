"""Gaussian densities and moments, compiled: `covariances` says what they compute.

Rows are taken `LANES` at a time and turned, so that every inner loop runs over contiguous rows, whatever the number of
features or Gaussians.
"""

import numpy as np

from seqlab.hmm.inputs import Floats
from seqlab.kernels import jit

__all__ = ["LANES", "diagonal_density", "full_density", "moments"]

LANES = 64


@jit
def _turn(X: Floats, first: int, last: int, turned: Floats) -> None:
    """Copy rows first … last − 1 of (N, D) into (D, LANES); what is left over is 0."""
    for d in range(turned.shape[0]):
        for n in range(turned.shape[1]):
            turned[d, n] = X[first + n, d] if first + n < last else 0.0


@jit
def diagonal_density(
    begin: int, end: int, X: Floats, whiten: Floats, shift: Floats, constant: Floats, out: Floats
) -> None:
    """Write −½ (|whiten_g x_n − shift_g|² + constant_g) to out, (N, G), for the blocks begin … end − 1 of rows."""
    (N, D), G = X.shape, out.shape[1]
    turned, total = np.empty((D, LANES)), np.empty(LANES)
    for block in range(begin, end):
        first, last = block * LANES, min(N, (block + 1) * LANES)
        _turn(X, first, last, turned)
        for g in range(G):
            for n in range(LANES):
                total[n] = constant[g]
            for d in range(D):
                scale, offset = whiten[g, d], shift[g, d]
                for n in range(LANES):
                    z = turned[d, n] * scale - offset
                    total[n] += z * z
            for n in range(last - first):
                out[first + n, g] = -0.5 * total[n]


@jit
def full_density(begin: int, end: int, X: Floats, whiten: Floats, shift: Floats, constant: Floats, out: Floats) -> None:
    """The same with lower triangular matrices `whiten`, (G, D, D)."""
    (N, D), G = X.shape, out.shape[1]
    turned, total, z = np.empty((D, LANES)), np.empty(LANES), np.empty(LANES)
    for block in range(begin, end):
        first, last = block * LANES, min(N, (block + 1) * LANES)
        _turn(X, first, last, turned)
        for g in range(G):
            for n in range(LANES):
                total[n] = constant[g]
            for i in range(D):
                for n in range(LANES):
                    z[n] = -shift[g, i]
                for j in range(i + 1):
                    factor = whiten[g, i, j]
                    for n in range(LANES):
                        z[n] += factor * turned[j, n]
                for n in range(LANES):
                    total[n] += z[n] * z[n]
            for n in range(last - first):
                out[first + n, g] = -0.5 * total[n]


@jit
def moments(
    begin: int, end: int, weights: Floats, X: Floats, centre: Floats, full: bool, first_out: Floats, second_out: Floats
) -> None:
    """Add Σ w (x − c) to first_out, (parts, G, D), and second moments to second_out, for the parts begin … end − 1.

    Second moments are (parts, G, D, D), of which the lower triangle is written if `full`, else the diagonal.
    """
    (N, D), G, parts = X.shape, weights.shape[1], first_out.shape[0]
    turned, shares, weighted = np.empty((D, LANES)), np.empty((G, LANES)), np.empty(LANES)
    blocks = (N + LANES - 1) // LANES
    for part in range(begin, end):
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            first, last = block * LANES, min(N, (block + 1) * LANES)
            _turn(X, first, last, turned)
            _turn(weights, first, last, shares)
            for d in range(D):
                for n in range(LANES):
                    turned[d, n] -= centre[d]
            for g in range(G):
                for i in range(D):
                    total = 0.0
                    for n in range(LANES):
                        weighted[n] = shares[g, n] * turned[i, n]
                        total += weighted[n]
                    first_out[part, g, i] += total
                    for j in range(0 if full else i, i + 1):
                        total = 0.0
                        for n in range(LANES):
                            total += weighted[n] * turned[j, n]
                        second_out[part, g, i, j] += total
