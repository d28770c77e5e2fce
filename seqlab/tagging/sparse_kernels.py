"""The product of sparse rows with a dense matrix, compiled."""

from typing import Any

from seqlab.kernels import jit

__all__ = ["sparse_dot"]


@jit
def sparse_dot(
    begin: int, stop: int, bounds: Any, columns: Any, values: Any, offsets: Any, dense: Any, result: Any
) -> None:
    """Fill the rows of the blocks begin … stop − 1 of `result` (N, K), which is zero.

    Args:
        begin: first block.
        stop: block after the last.
        bounds: (blocks + 1,), the first row of each block.
        columns: (nnz,).
        values: (nnz,).
        offsets: (N + 1,).
        dense: (F, K).
        result: (N, K).
    """
    K = dense.shape[1]
    for i in range(bounds[begin], bounds[stop]):
        row = result[i]
        for entry in range(offsets[i], offsets[i + 1]):
            weight, source = values[entry], dense[columns[entry]]
            for k in range(K):
                row[k] += weight * source[k]
