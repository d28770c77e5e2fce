"""Sequence models on torch, readable enough to learn the algorithms from.

Conventions, stated once:

* Shapes use the names of the literature: B sequences in a batch, T time steps, K tags or states.
* Time comes first unless `batch_first=True`, as in `torch.nn`.
* Scores are natural logarithms ("log space") unless a name says `prob`.
* A mask is True (or 1) where there is a token and False where there is padding.

Importing `seqlab` imports no torch; the submodules do.
"""

__version__ = "0.1.0"
