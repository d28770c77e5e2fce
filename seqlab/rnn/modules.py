"""The networks: flat weights, stacked layers, directions, packing.

What happens, from the outside in: `forward` brings the input to packed rows and the initial states to the
rows' order; `_stack` feeds each layer's output to the next, concatenates the two directions and drops out
between layers; `_direction` computes the input's share of all steps in one matrix product and hands over to
the loop over time (`loops.py`), whose body is the cell's formula.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from seqlab.errors import ConfigError, ShapeError
from seqlab.rnn.loops import Steps, gru_loop, lstm_loop, relu_loop, tanh_loop

__all__ = ["GRU", "LSTM", "RNN", "RecurrentBase"]

States = tuple[Tensor, ...]


class RecurrentBase(nn.Module):
    """What the three networks share: weights with torch's names, and the way through layers and directions.

    Layer k has for each direction (suffix "" or "_reverse") `weight_ih_l{k}` (G·H, input size) and
    `weight_hh_l{k}` (G·H, H), and with `bias` also `bias_ih_l{k}` and `bias_hh_l{k}` (G·H,), where G is the
    number of gates and H the hidden size.

    Args:
        input_size: I, the width of x_t.
        hidden_size: H, the width of h_t.
        num_layers: L.
        bias: whether the two biases exist.
        batch_first: whether input and output are (B, T, ·) instead of (T, B, ·). States never are.
        dropout: probability of zeroing an output between layers, in training.
        bidirectional: whether a second loop runs from the last step to the first; then D = 2, else 1.
        proj_size: must be 0; projections are not offered.
        device: of the weights.
        dtype: of the weights.

    Attributes:
        kernel: who runs the stack. "loop": the loops of this package, everywhere; "torch": torch's own kernel,
            everywhere; "auto": whichever was measured to be faster, see `_torch_is_faster`. The numbers are
            the same to rounding.

    Raises:
        ShapeError: a size is not positive, or `dropout` is no probability.
        ConfigError: `proj_size` is not 0.
    """

    gates: ClassVar[int]
    num_states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size <= 0:
                raise ShapeError(f"{name} must be greater than zero, got {size}")
        if not 0 <= dropout <= 1:
            raise ShapeError(f"dropout should be a number in range [0, 1], got {dropout}")
        if proj_size != 0:
            raise ConfigError(f"proj_size must be 0, got {proj_size}: use torch.nn.LSTM for projections")
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self.num_directions = 2 if bidirectional else 1
        self.kernel: Literal["auto", "loop", "torch"] = "auto"
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.num_directions
            for direction in range(self.num_directions):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (width,), "weight_hh": (hidden_size,)}
                shapes |= {"bias_ih": (), "bias_hh": ()} if bias else {}
                for name, inner in shapes.items():
                    values = torch.empty(self.gates * hidden_size, *inner, device=device, dtype=dtype)
                    self.register_parameter(_weight_name(name, layer, direction), nn.Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight uniformly from ±1/√H."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """Return the sizes and whatever differs from its default, as torch.nn writes them."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text

    def flatten_parameters(self) -> None:
        """Do nothing: here for torch.nn's sake, whose cuDNN weights must lie in one block."""

    def _run(self, input: Tensor | PackedSequence, states: States | None) -> tuple[Any, States]:
        """Bring input and states to packed rows, run the stack, and bring both back.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I) unbatched, or packed rows (N, I).
            states: one or two of (L·D, B, H), (L·D, H) unbatched; None: zeros.

        Returns:
            The output in the input's form, D·H wide, and the last states in the form of the initial ones.
        """
        if isinstance(input, PackedSequence):
            rows, sizes, order, back = input
            self._check_width(rows, 2)
            states = self._initial(states, rows, int(sizes[0]), order)
            output, last = self._stack(rows, states, tuple(sizes.tolist()))
            if back is not None:
                last = tuple(state.index_select(1, back) for state in last)
            return PackedSequence(output, sizes, order, back), last

        if input.dim() not in (2, 3):
            raise ShapeError(f"input must be 2-D (unbatched) or 3-D (batched), got shape {tuple(input.shape)}")
        self._check_width(input, input.dim())
        batched, unbatched_states = input.dim() == 3, states
        steps = input if batched else input.unsqueeze(1)  # (T, B, I) or (B, T, I)
        if batched and self.batch_first:
            steps = steps.transpose(0, 1)
        if not batched and unbatched_states is not None:
            states = tuple(self._unbatched_state(state) for state in unbatched_states)
        T, B, _ = steps.shape  # time steps, batch
        if T == 0:
            raise ShapeError("input must have at least one time step, got 0")
        states = self._initial(states, steps, B, None)
        rows, last = self._stack(steps.reshape(T * B, -1), states, (B,) * T)
        output = rows.view(T, B, -1)
        if not batched:
            return output.squeeze(1), tuple(state.squeeze(1) for state in last)
        return (output.transpose(0, 1) if self.batch_first else output), last

    def _stack(self, rows: Tensor, states: States, sizes: tuple[int, ...]) -> tuple[Tensor, States]:
        """Run all layers over packed rows (N, I); return (N, D·H) and the last states (L·D, B, H)."""
        if self.kernel == "torch" or (self.kernel == "auto" and self._torch_is_faster(rows, sizes)):
            return self._torch_stack(rows, states, sizes)
        last: list[States] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.num_directions):
                index = layer * self.num_directions + direction
                initial = tuple(state[index] for state in states)  # each (B, H)
                output, *final = self._direction(rows, initial, layer, direction, sizes)
                outputs.append(output)
                last.append(tuple(final))
            rows = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]  # (N, D·H)
            if layer < self.num_layers - 1 and self.dropout > 0:
                rows = functional.dropout(rows, self.dropout, self.training)
        return rows, tuple(torch.stack(state) for state in zip(*last, strict=True))

    def _direction(
        self, rows: Tensor, initial: States, layer: int, direction: int, sizes: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        """Run one layer in one direction: project all steps' inputs at once, then loop over time."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        w_ih, w_hh, *biases = (getattr(self, _weight_name(name, layer, direction)) for name in names)
        return self._loop(rows, initial, w_ih, w_hh, biases, Steps(sizes, reverse=direction == 1))

    def _loop(
        self, rows: Tensor, initial: States, w_ih: Tensor, w_hh: Tensor, biases: list[Tensor], steps: Steps
    ) -> tuple[Tensor, ...]:
        """Return all h_t (N, H), then the last states (B, H). Each network calls its own loop here."""
        raise ConfigError(f"{type(self).__name__} has no loop: use RNN, LSTM or GRU")

    def _torch_is_faster(self, rows: Tensor, sizes: tuple[int, ...]) -> bool:
        """Tell whether torch's kernel wins: cuDNN on a GPU; oneDNN's LSTM on a CPU if all rows are equally long."""
        equally_long = sizes[0] == sizes[-1]
        one_dnn = self.gates == 4 and equally_long and rows.dtype == torch.float32
        return rows.is_cuda or (one_dnn and bool(torch._C._has_mkldnn))

    def _torch_stack(self, rows: Tensor, states: States, sizes: tuple[int, ...]) -> tuple[Tensor, States]:
        """Do the same as `_stack` with the kernel behind torch.nn; its weights come in our order."""
        name = {1: f"rnn_{getattr(self, 'nonlinearity', '')}", 3: "gru", 4: "lstm"}[self.gates]
        hidden = states if self.num_states == 2 else states[0]
        options = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        weights = list(self.parameters())
        if sizes[0] == sizes[-1]:
            steps = rows.view(len(sizes), sizes[0], -1)  # (T, B, I)
            output, *last = getattr(torch, name)(steps, hidden, weights, *options, False)
        else:
            output, *last = getattr(torch, name)(rows, torch.tensor(sizes), hidden, weights, *options)
        return output.reshape(rows.size(0), -1), tuple(last)

    def _initial(self, states: States | None, like: Tensor, batch: int, order: Tensor | None) -> States:
        """Check the initial states, or make zeros; sort them as the packed rows are sorted."""
        expected = (self.num_layers * self.num_directions, batch, self.hidden_size)
        if states is None:
            return tuple(like.new_zeros(expected) for _ in range(self.num_states))
        for name, state in zip(("h_0", "c_0"), states, strict=False):
            if tuple(state.shape) != expected:
                raise ShapeError(f"{name} must have shape {expected}, got {tuple(state.shape)}")
        return states if order is None else tuple(state.index_select(1, order) for state in states)

    @staticmethod
    def _unbatched_state(state: Tensor) -> Tensor:
        if state.dim() != 2:
            raise ShapeError(f"unbatched input needs 2-D states (L·D, H), got shape {tuple(state.shape)}")
        return state.unsqueeze(1)

    def _check_width(self, values: Tensor, dims: int) -> None:
        if values.dim() != dims or values.size(-1) != self.input_size:
            raise ShapeError(f"input's last dimension must be {self.input_size}, got shape {tuple(values.shape)}")


class _HiddenStateOnly(RecurrentBase):
    """What RNN and GRU share: their only state is the hidden state."""

    def forward(
        self, input: Tensor | PackedSequence, h_0: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return (output, h_n)."""
        output, (h_n,) = self._run(input, None if h_0 is None else (h_0,))
        return output, h_n


class RNN(_HiddenStateOnly):
    """Elman network, `nonlinearity` "tanh" or "relu", with the interface of `torch.nn.RNN`.

    Arguments as in `RecurrentBase`; `nonlinearity` follows `num_layers` as in torch. Called with
    (input, h_0=None) it returns (output, h_n); shapes in `RecurrentBase._run`.
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ShapeError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )
        self.nonlinearity = nonlinearity

    def _loop(
        self, rows: Tensor, initial: States, w_ih: Tensor, w_hh: Tensor, biases: list[Tensor], steps: Steps
    ) -> tuple[Tensor, ...]:
        projected = functional.linear(rows, w_ih, biases[0] + biases[1] if biases else None)  # (N, H)
        loop = tanh_loop if self.nonlinearity == "tanh" else relu_loop
        return loop(projected, initial[0], w_hh, steps)


class LSTM(RecurrentBase):
    """Long short-term memory with the interface of `torch.nn.LSTM`.

    Arguments as in `RecurrentBase`. Called with (input, (h_0, c_0)=None) it returns (output, (h_n, c_n)).
    """

    gates = 4
    num_states = 2

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Return (output, (h_n, c_n))."""
        output, (h_n, c_n) = self._run(input, hx)
        return output, (h_n, c_n)

    def _loop(
        self, rows: Tensor, initial: States, w_ih: Tensor, w_hh: Tensor, biases: list[Tensor], steps: Steps
    ) -> tuple[Tensor, ...]:
        projected = functional.linear(rows, w_ih, biases[0] + biases[1] if biases else None)  # (N, 4H)
        return lstm_loop(projected, initial[0], initial[1], w_hh, steps)


class GRU(_HiddenStateOnly):
    """Gated recurrent unit with the interface of `torch.nn.GRU`.

    Arguments as in `RecurrentBase`. Called with (input, h_0=None) it returns (output, h_n).
    """

    gates = 3

    def _loop(
        self, rows: Tensor, initial: States, w_ih: Tensor, w_hh: Tensor, biases: list[Tensor], steps: Steps
    ) -> tuple[Tensor, ...]:
        b_ih, b_hh = biases if biases else (None, w_hh.new_zeros(w_hh.size(0)))
        return gru_loop(functional.linear(rows, w_ih, b_ih), initial[0], w_hh, b_hh, steps)


def _weight_name(name: str, layer: int, direction: int) -> str:
    """Return for example "weight_ih_l0_reverse"."""
    return f"{name}_l{layer}" + ("_reverse" if direction == 1 else "")
