"""Hidden Markov models with the interface of `hmmlearn.hmm`, computed by `seqlab.chain`.

Like hmmlearn these classes speak numpy: the sequences lie behind each other in one array, and `lengths` says
how long each is; None is one sequence.
"""

from seqlab.hmm.categorical import CategoricalHMM
from seqlab.hmm.common import ConvergenceMonitor

__all__ = ["CategoricalHMM", "ConvergenceMonitor"]
