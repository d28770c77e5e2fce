"""Pictures of Markov chains, hidden Markov models, Viterbi runs and lattices.

A `ChainGraph` says what there is to see of a chain or an HMM: states, symbols, and edges with probabilities. It becomes
a picture (`draw_graph`), text that GitHub, Mermaid and Graphviz draw (`mermaid`, `dot`), or a networkx graph
(`to_networkx`). A trellis, the run of Viterbi unrolled in time, is drawn by `draw_trellis`; a layered graph with its
costs by `draw_lattice`. Pictures are PNG, SVG or PDF, as the file's name ends.

A missing folder is made. Text needs nothing; drawing needs matplotlib (`pip install '.[plot]'` in a checkout), a graph
networkx (`pip install '.[graph]'`). Both are imported when first needed.
"""

from seqlab.pictures.drawing import draw_graph
from seqlab.pictures.graphs import (
    ChainGraph,
    chain_graph,
    dot,
    hmm_graph,
    mermaid,
    model_graph,
    probability_text,
    to_networkx,
)
from seqlab.pictures.trellis import draw_lattice, draw_trellis

__all__ = [
    "ChainGraph",
    "chain_graph",
    "dot",
    "draw_graph",
    "draw_lattice",
    "draw_trellis",
    "hmm_graph",
    "mermaid",
    "model_graph",
    "probability_text",
    "to_networkx",
]
