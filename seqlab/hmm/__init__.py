"""Hidden Markov models with the interface of `hmmlearn.hmm`, computed by `seqlab.chain`.

Like hmmlearn these classes speak numpy: the sequences lie behind each other in one array, and `lengths` says
how long each is; None is one sequence. Missing observations are rows of NaN, or masked (`numpy.ma`); symbols and
counts, being integers, can only be masked.

Beyond hmmlearn: `fit_supervised` (known states), `fit(…, states=…)` (some known), `partial_fit` (online),
`decode_k_best`, `to_chain` (the scores for `seqlab.chain`, on any device) and `endprob_` (an end distribution).

The pieces: `base` (rounds of training, scoring, decoding), `em` and `variational` (the two ways to train), one
module for each family of emissions, `covariances` (Gaussian densities and moments), `kmeans` (initial means).
"""

from seqlab.hmm.base import DECODER_ALGORITHMS
from seqlab.hmm.categorical import CategoricalHMM
from seqlab.hmm.counts import MultinomialHMM, PoissonHMM
from seqlab.hmm.em import BaseHMM
from seqlab.hmm.estimator import NotFittedError
from seqlab.hmm.gaussian import GaussianHMM
from seqlab.hmm.mixture import GMMHMM
from seqlab.hmm.monitor import ConvergenceMonitor
from seqlab.hmm.variational import VariationalBaseHMM, VariationalCategoricalHMM
from seqlab.hmm.variational_gaussian import VariationalGaussianHMM

__all__ = [
    "DECODER_ALGORITHMS",
    "GMMHMM",
    "BaseHMM",
    "CategoricalHMM",
    "ConvergenceMonitor",
    "GaussianHMM",
    "MultinomialHMM",
    "NotFittedError",
    "PoissonHMM",
    "VariationalBaseHMM",
    "VariationalCategoricalHMM",
    "VariationalGaussianHMM",
]
