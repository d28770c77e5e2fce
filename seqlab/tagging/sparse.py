"""Sparse rows: for every token the columns (features) it has, and how much of each.

Both things that a linear tagger needs are one product with a dense matrix of K columns: the emissions of the
tokens are `rows.dot(weights)`, the gradient of the weights is `rows.transposed().dot(slope of the emissions)`. Each
row of the result is summed by one thread in a fixed order, so the sum has the same bits whatever the number of
threads.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag

from seqlab import kernels

__all__ = ["SparseRows"]

Floats = NDArray[Any]
BLOCKS = 64  # shares of about equal work, so that a few long rows hold nobody up


class SparseRows(NamedTuple):
    """An (N, F) matrix by rows (compressed sparse rows).

    Attributes:
        columns: (nnz,), int32; row i has entries `offsets[i]` … `offsets[i + 1] − 1`. A column may come twice: its
            values add up.
        values: (nnz,), floating.
        offsets: (N + 1,), int64.
        num_columns: F.
    """

    columns: NDArray[np.int32]
    values: Floats
    offsets: NDArray[np.int64]
    num_columns: int

    def dot(self, dense: Floats) -> Floats:
        """Return the (N, K) product with `dense` (F, K), in the type of `dense`."""
        values = self.values.astype(dense.dtype, copy=False)
        if not kernels.enabled():
            columns, table, offsets, shares = (
                torch.from_numpy(part) for part in (self.columns.astype(np.int64), dense, self.offsets, values)
            )
            found = embedding_bag(
                columns, table, offsets, mode="sum", per_sample_weights=shares, include_last_offset=True
            )
            return found.numpy()
        from seqlab.tagging.sparse_kernels import sparse_dot

        result = np.zeros((len(self.offsets) - 1, dense.shape[1]), dense.dtype)
        bounds = np.searchsorted(self.offsets, np.linspace(0, len(values), BLOCKS + 1)).astype(np.int64)
        bounds[0], bounds[-1] = 0, len(result)
        parts = (bounds, self.columns, values, self.offsets, np.ascontiguousarray(dense), result)
        kernels.run(sparse_dot, BLOCKS, 2.0 * len(values) * dense.shape[1], *parts)
        return result

    def transposed(self) -> "SparseRows":
        """Return the (F, N) matrix; within a row the columns rise."""
        order = np.argsort(self.columns, kind="stable")
        row_of_entry = np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))
        offsets = np.zeros(self.num_columns + 1, np.int64)
        np.cumsum(np.bincount(self.columns, minlength=self.num_columns), out=offsets[1:])
        return SparseRows(row_of_entry[order], self.values[order], offsets, len(self.offsets) - 1)

    def kept(self, entries: NDArray[np.bool_]) -> "SparseRows":
        """Return the matrix with those entries (nnz,) only."""
        before = np.zeros(len(entries) + 1, np.int64)
        np.cumsum(entries, out=before[1:])
        return self._replace(columns=self.columns[entries], values=self.values[entries], offsets=before[self.offsets])
