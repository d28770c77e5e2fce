"""The loops over time, each with its formula and its analytic gradient.

Every loop walks over *packed* rows, as in `torch.nn.utils.rnn.PackedSequence`: the N = Σ sizes rows of all
steps lie behind each other, step t has the `sizes[t]` first rows of a batch sorted by length. An ordinary
batch is the case in which every step has B rows. A state (B, H) is updated in its first `sizes[t]` rows only:
going forward, a row that has ended keeps its last state; in reverse, one that has not begun keeps its first.

The input's share of the pre-activations, x_t W_ihᵀ + b, does not depend on the recurrence: the layer computes
it for all steps at once. What remains in a step is one small matrix product and the gates. In the backward
pass likewise: factors known from the forward pass are computed for all steps at once, and the weight's
gradient is one matrix product over all N rows.

A second derivative (`create_graph=True`) raises a RuntimeError.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqlab.derivatives import first_derivative_only

__all__ = ["Steps", "gru_loop", "lstm_loop", "relu_loop", "tanh_loop"]


class Steps(NamedTuple):
    """How the N packed rows divide into steps, and in which direction they are walked.

    Attributes:
        sizes: rows per step, in order of time, not increasing.
        reverse: whether the last step comes first.
    """

    sizes: tuple[int, ...]
    reverse: bool

    def ranges(self, backwards: bool = False) -> Iterator[tuple[int, int]]:
        """Yield (first packed row, number of rows) in walking order, or `backwards` through it."""
        end, ranges = 0, []
        for size in self.sizes:
            ranges.append((end, size))
            end += size
        return reversed(ranges) if self.reverse != backwards else iter(ranges)

    def previous(self, first: Tensor, states: Tensor) -> Tensor:
        """Return for each of the N rows the state before it: `first` (B, H) or a row of `states` (N, H)."""
        pieces: list[Tensor] = []
        state = first
        for begin, size in self.ranges():
            # Walking in reverse, rows that begin here still have their first state.
            pieces.append(state[:size] if state.size(0) >= size else torch.cat([state, first[state.size(0) : size]]))
            state = states[begin : begin + size]
        return torch.cat(pieces[::-1] if self.reverse else pieces)


def tanh_loop(projected: Tensor, hidden: Tensor, weight: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
    """Run h_t = tanh(x̃_t + h_{t-1} W_hhᵀ) (Elman 1990).

    Args:
        projected: (N, H), x̃, the input's share including both biases.
        hidden: (B, H), h_0.
        weight: (H, H), W_hh.
        steps: the packing.

    Returns:
        All h_t (N, H) and every row's last (B, H).
    """
    result: tuple[Tensor, Tensor] = _ElmanLoop.apply(projected, hidden, weight, steps, True)  # type: ignore[no-untyped-call]
    return result


def relu_loop(projected: Tensor, hidden: Tensor, weight: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
    """Run h_t = max(0, x̃_t + h_{t-1} W_hhᵀ). Arguments and result as in `tanh_loop`."""
    result: tuple[Tensor, Tensor] = _ElmanLoop.apply(projected, hidden, weight, steps, False)  # type: ignore[no-untyped-call]
    return result


class _ElmanLoop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, hidden: Tensor, weight: Tensor, steps: Steps, tanh: bool
    ) -> tuple[Tensor, Tensor]:
        output, weight_t, state = projected.detach(), weight.T, hidden.clone()
        for begin, size in steps.ranges():
            new = output[begin : begin + size].addmm_(state[:size], weight_t)  # (size, H)
            state[:size] = new.tanh_() if tanh else new.relu_()
        ctx.save_for_backward(output, hidden, weight)
        ctx.steps, ctx.tanh = steps, tanh
        return output, state

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_output: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        output, hidden, weight = ctx.saved_tensors
        # The slope (N, H), which becomes the gradient of the pre-activation in place.
        grads = 1 - output * output if ctx.tanh else (output > 0).to(output.dtype)
        grad_state = grad_last.clone()  # (B, H)
        for begin, size in ctx.steps.ranges(backwards=True):
            rows, grad = slice(begin, begin + size), grad_state[:size]
            grad += grad_output[rows]
            torch.mm(grads[rows].mul_(grad), weight, out=grad)
        return grads, grad_state, grads.T @ ctx.steps.previous(hidden, output), None, None


def lstm_loop(
    projected: Tensor, hidden: Tensor, cell: Tensor, weight: Tensor, steps: Steps
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

        [i, f, g, o] = x̃_t + h_{t-1} W_hhᵀ, squashed by [σ, σ, tanh, σ]
        c_t = f ∘ c_{t-1} + i ∘ g
        h_t = o ∘ tanh c_t

    Args:
        projected: (N, 4H), x̃, the input's share including both biases.
        hidden: (B, H), h_0.
        cell: (B, H), c_0.
        weight: (4H, H), W_hh.
        steps: the packing.

    Returns:
        All h_t (N, H), every row's last h and last c, both (B, H).
    """
    result: tuple[Tensor, Tensor, Tensor] = _LSTMLoop.apply(projected, hidden, cell, weight, steps)  # type: ignore[no-untyped-call]
    return result


class _LSTMLoop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, hidden: Tensor, cell: Tensor, weight: Tensor, steps: Steps
    ) -> tuple[Tensor, Tensor, Tensor]:
        H = hidden.size(1)  # hidden size
        gates, weight_t = projected.detach(), weight.T  # (N, 4H), (H, 4H)
        output, cells, squashed = (projected.new_empty((projected.size(0), H)) for _ in range(3))  # (N, H)
        h, c = hidden.clone(), cell.clone()
        for begin, size in steps.ranges():
            rows = slice(begin, begin + size)
            four = gates[rows].addmm_(h[:size], weight_t)  # (size, 4H)
            four[:, : 2 * H].sigmoid_()
            i, f, g, o = four.chunk(4, dim=1)
            g.tanh_()
            o.sigmoid_()
            c[:size] = torch.mul(f, c[:size], out=cells[rows]).addcmul_(i, g)
            torch.tanh(cells[rows], out=squashed[rows])
            h[:size] = torch.mul(o, squashed[rows], out=output[rows])
        ctx.save_for_backward(gates, output, cells, squashed, hidden, cell, weight)
        ctx.steps = steps
        return output, h, c

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_output: Tensor, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:
        gates, output, cells, squashed, hidden, cell, weight = ctx.saved_tensors
        H = hidden.size(1)
        i, f, g, o = gates.chunk(4, dim=1)
        # How the four pre-activations move c_t (first three) and h_t (the last), and how c_t moves h_t.
        slope = torch.addcmul(gates, gates, gates, value=-1)  # (N, 4H), σ' = σ − σ²
        slope[:, :H] *= g
        slope[:, H : 2 * H] *= ctx.steps.previous(cell, cells)
        torch.addcmul(i, i, g * g, value=-1, out=slope[:, 2 * H : 3 * H])
        slope[:, 3 * H :] *= squashed
        through = torch.addcmul(o, output, squashed, value=-1)  # (N, H), o (1 − tanh² c)

        grads = slope  # (N, 4H), each slope becomes the gradient of its pre-activation in place
        by_gate = grads.view(-1, 4, H)
        dh, dc = grad_hidden.clone(), grad_cell.clone()  # (B, H)
        for begin, size in ctx.steps.ranges(backwards=True):
            rows, to_h, to_c = slice(begin, begin + size), dh[:size], dc[:size]
            to_h += grad_output[rows]
            to_c.addcmul_(to_h, through[rows])
            by_gate[rows, :3] *= to_c.unsqueeze(1)
            by_gate[rows, 3] *= to_h
            to_c *= f[rows]
            torch.mm(grads[rows], weight, out=to_h)
        return grads, dh, dc, grads.T @ ctx.steps.previous(hidden, output), None


def gru_loop(projected: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
    """Run the gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as torch has it.

        [r, z] = σ(x̃_t + h_{t-1} W_hhᵀ + b_hh)     the first two thirds
        n = tanh(x̃_t + r ∘ (h_{t-1} W_hhᵀ + b_hh))   the last third
        h_t = (1 − z) ∘ n + z ∘ h_{t-1}

    Args:
        projected: (N, 3H), x̃, the input's share with its own bias only.
        hidden: (B, H), h_0.
        weight: (3H, H), W_hh.
        bias: (3H,), b_hh.
        steps: the packing.

    Returns:
        All h_t (N, H) and every row's last (B, H).
    """
    result: tuple[Tensor, Tensor] = _GRULoop.apply(projected, hidden, weight, bias, steps)  # type: ignore[no-untyped-call]
    return result


class _GRULoop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, steps: Steps
    ) -> tuple[Tensor, Tensor]:
        H = hidden.size(1)  # hidden size
        gates, weight_t = projected.detach(), weight.T  # (N, 3H), (H, 3H)
        recurrent = torch.empty_like(gates)  # (N, 3H)
        output = projected.new_empty((projected.size(0), H))
        h = hidden.clone()
        for begin, size in steps.ranges():
            rows, before = slice(begin, begin + size), h[:size]
            own = torch.addmm(bias, before, weight_t, out=recurrent[rows])  # (size, 3H)
            reset_update, n = gates[rows, : 2 * H], gates[rows, 2 * H :]
            r, z = reset_update.add_(own[:, : 2 * H]).sigmoid_().chunk(2, dim=1)
            n.addcmul_(r, own[:, 2 * H :]).tanh_()
            h[:size] = torch.lerp(n, before, z, out=output[rows])
        ctx.save_for_backward(gates, recurrent[:, 2 * H :].contiguous(), output, hidden, weight)
        ctx.steps = steps
        return output, h

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_output: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        gates, own_n, output, hidden, weight = ctx.saved_tensors
        H = hidden.size(1)
        r, z, n = gates.chunk(3, dim=1)
        previous = ctx.steps.previous(hidden, output)  # (N, H)
        # How the pre-activations of n, z and (through n) r move h_t.
        slope_n = (1 - z) * (1 - n * n)  # (N, H)
        # With respect to the hidden state's share; in the loop each slope becomes a gradient in place.
        hidden_grads = torch.cat([slope_n * own_n * (r - r * r), (previous - n) * (z - z * z), slope_n * r], 1)
        by_gate = hidden_grads.view(-1, 3, H)  # of (N, 3H)
        dh = grad_last.clone()  # (B, H)
        totals = torch.empty_like(output)  # (N, H), all that reaches h_t
        for begin, size in ctx.steps.ranges(backwards=True):
            rows, to_h = slice(begin, begin + size), dh[:size]
            total = torch.add(to_h, grad_output[rows], out=totals[rows])
            by_gate[rows] *= total.unsqueeze(1)
            torch.mul(total, z[rows], out=to_h).addmm_(hidden_grads[rows], weight)
        input_grads = hidden_grads.clone()
        torch.mul(totals, slope_n, out=input_grads[:, 2 * H :])  # n's input is not scaled by r
        return input_grads, dh, hidden_grads.T @ previous, hidden_grads.sum(dim=0), None
