"""Conditional random fields with the interface of `torchcrf.CRF` (pytorch-crf), and their semi-Markov kind.

A CRF (Lafferty, McCallum and Pereira, 2001) gives a tag sequence y for the input x the probability

    p(y | x) = exp s(y) / Z(x),   s(y) = emissions along y + transitions along y,   Z(x) = Σ_y exp s(y)

so the log-likelihood is the path score minus the log-partition. The emissions come from a network (a BiLSTM,
BERT, …); the transitions are the CRF's own parameters and are what lets neighbouring tags influence each
other. The dynamic programming lives in `seqlab.chain`, that of segments in `seqlab.crf.segments`.
"""

from seqlab.crf.constraints import TransitionConstraints, bioes_constraints, forbid, label_constraints
from seqlab.crf.decoder import ViterbiDecoder
from seqlab.crf.module import CRF, UNKNOWN, ScoredPath
from seqlab.crf.semi_markov import Segment, SegmentTags, SemiMarkovCRF

__all__ = [
    "CRF",
    "UNKNOWN",
    "ScoredPath",
    "Segment",
    "SegmentTags",
    "SemiMarkovCRF",
    "TransitionConstraints",
    "ViterbiDecoder",
    "bioes_constraints",
    "forbid",
    "label_constraints",
]
