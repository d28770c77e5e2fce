"""One step of each network: the formula as a function, and as a module with the interface of `torch.nn`.

The functions are the definition that the loops of `loops.py` are tested against; autograd differentiates them
any number of times. In all of them x is (B, I), h and c are (B, H), `weights` is (W_ih (G·H, I), W_hh (G·H, H))
followed by nothing or by (b_ih (G·H,), b_hh (G·H,)), and G is the number of gates.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.errors import ShapeError

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "gru_step", "lstm_step", "rnn_step"]


def rnn_step(x: Tensor, h: Tensor, weights: Sequence[Tensor], nonlinearity: str = "tanh") -> Tensor:
    """Return h' = tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh), or with max(0, ·) for "relu" (Elman 1990)."""
    from_input, from_hidden = _shares(x, h, weights)  # (B, H) each
    total = from_input + from_hidden
    return total.tanh() if nonlinearity == "tanh" else total.relu()


def lstm_step(x: Tensor, h: Tensor, c: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return (h', c') of the long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    [i, f, g, o] = x W_ihᵀ + b_ih + h W_hhᵀ + b_hh;  c' = σ(f) ∘ c + σ(i) ∘ tanh(g);  h' = σ(o) ∘ tanh(c').
    """
    from_input, from_hidden = _shares(x, h, weights)  # (B, 4H) each
    i, f, g, o = (from_input + from_hidden).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: Tensor, h: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return h' of the gated recurrent unit (Cho et al. 2014), the reset gate applied after the product.

    r and z are σ of the sums of both shares; n = tanh(input's share + r ∘ hidden's share);
    h' = (1 − z) ∘ n + z ∘ h.
    """
    from_input, from_hidden = _shares(x, h, weights)  # (B, 3H) each
    r_x, z_x, n_x = from_input.chunk(3, dim=1)
    r_h, z_h, n_h = from_hidden.chunk(3, dim=1)
    z = (z_x + z_h).sigmoid()
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return (1 - z) * n + z * h


def _shares(x: Tensor, h: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the input's and the hidden state's share of the pre-activations, (B, G·H) each."""
    w_ih, w_hh, *biases = weights
    b_ih, b_hh = biases if biases else (None, None)
    return functional.linear(x, w_ih, b_ih), functional.linear(h, w_hh, b_hh)


class CellBase(nn.Module):
    """The weights of one cell, named and initialised as in torch.nn.

    Args:
        input_size: I.
        hidden_size: H.
        bias: whether the two biases exist.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ShapeError: a size is not positive.
    """

    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if input_size <= 0 or hidden_size <= 0:
            raise ShapeError(f"sizes must be greater than zero, got {input_size} and {hidden_size}")
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (input_size,), "weight_hh": (hidden_size,)}
        for name, inner in (shapes | ({"bias_ih": (), "bias_hh": ()} if bias else {})).items():
            values = torch.empty(self.gates * hidden_size, *inner, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight uniformly from ±1/√H."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """Return the sizes, and `bias` if there is none."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")

    def _batch(self, input: Tensor, *states: Tensor | None) -> list[Tensor]:
        """Check input and states, replace None by zeros, and give unbatched ones a batch of 1."""
        if input.dim() not in (1, 2) or input.size(-1) != self.input_size:
            raise ShapeError(f"input must be (B, {self.input_size}) or unbatched, got {tuple(input.shape)}")
        expected = (*input.shape[:-1], self.hidden_size)
        batch = [input]
        for state in states:
            state = input.new_zeros(expected) if state is None else state
            if tuple(state.shape) != expected:
                raise ShapeError(f"hidden state must have shape {expected}, got {tuple(state.shape)}")
            batch.append(state)
        return batch if input.dim() == 2 else [tensor.unsqueeze(0) for tensor in batch]


class RNNCell(CellBase):
    """One Elman step: (input (B, I), h (B, H) or None) → h' (B, H). Unbatched: without B."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ShapeError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state."""
        x, h = self._batch(input, hx)
        return rnn_step(x, h, list(self.parameters()), self.nonlinearity).view(*input.shape[:-1], -1)


class LSTMCell(CellBase):
    """One LSTM step: (input (B, I), (h, c) or None) → (h', c'), each (B, H). Unbatched: without B."""

    gates = 4

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the next hidden and cell state."""
        x, h, c = self._batch(input, *(hx or (None, None)))
        h, c = lstm_step(x, h, c, list(self.parameters()))
        return h.view(*input.shape[:-1], -1), c.view(*input.shape[:-1], -1)


class GRUCell(CellBase):
    """One GRU step: (input (B, I), h (B, H) or None) → h' (B, H). Unbatched: without B."""

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next hidden state."""
        x, h = self._batch(input, hx)
        return gru_step(x, h, list(self.parameters())).view(*input.shape[:-1], -1)
