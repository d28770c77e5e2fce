"""Recurrent networks you can see through, with the interface of `torch.nn`.

Read from the outside in: `modules` (the networks: weights, stacked layers, directions, packing), `loops` (one
layer over time, with its gradient), `cells` (the formula of one step).

Conventions: T time steps, B sequences, I input size, H hidden size, L layers, D directions. Input and output
are (T, B, ·), or (B, T, ·) with `batch_first`; states are always (L·D, B, H), layer by layer, forward before
reverse. A `PackedSequence` goes in and comes out as one, sorted or not.

Speed on a CPU: the loops of RNN and GRU outrun torch's, on ragged (packed) batches those of LSTM too. On equally
long rows oneDNN's fused LSTM is faster than any loop in Python; `LSTM` then calls it. `kernel = "loop"` on a
network always takes the readable loops.
"""

from seqlab.rnn.cells import GRUCell, LSTMCell, RNNCell
from seqlab.rnn.modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]
