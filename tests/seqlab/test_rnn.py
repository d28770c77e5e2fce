"""RNN, LSTM and GRU against torch.nn and against the cells' formulas, step by step."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from seqlab import rnn
from seqlab.errors import ConfigError, ShapeError
from seqlab.rnn.cells import gru_step, lstm_step, rnn_step
from seqlab.rnn.loops import Steps, gru_loop, lstm_loop, relu_loop, tanh_loop

KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def pair(kind, options, *sizes, dtype=torch.float64, kernel="loop"):
    """Our network and torch's with the same weights."""
    torch.manual_seed(0)
    ours = getattr(rnn, kind)(*sizes, dtype=dtype, **options)
    ours.kernel = kernel
    theirs = getattr(torch.nn, kind)(*sizes, dtype=dtype, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def everything(network, x, states, lengths=None):
    """Run forward and backward; return output, last states and every gradient."""
    x = x.clone().requires_grad_()
    states = [state.clone().requires_grad_() for state in states]
    packed = x if lengths is None else pack_padded_sequence(x, lengths, network.batch_first, enforce_sorted=False)
    hidden = None if not states else tuple(states) if len(states) == 2 else states[0]
    output, last = network(packed, hidden)
    output = output.data if isinstance(output, PackedSequence) else output
    last = last if isinstance(last, tuple) else (last,)
    draw = torch.Generator().manual_seed(1)
    results = [output, *last]
    sum((r * torch.randn(r.shape, generator=draw, dtype=r.dtype)).sum() for r in results).backward()
    leaves = [x, *states, *network.parameters()]
    return [r.detach() for r in results] + [leaf.grad for leaf in leaves]


def assert_same(ours, theirs, dtype):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        scale = max(1.0, float(b.abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[dtype] * scale)


def initial(kind, shape, dtype=torch.float64):
    draw = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=draw, dtype=dtype) for _ in range(2 if kind == "LSTM" else 1)]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@given(
    T=st.integers(1, 5), B=st.integers(1, 4), sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    bias=st.booleans(), batch_first=st.booleans(), bidirectional=st.booleans(), with_state=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]), data=st.data(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_equals_torch(kind, options, T, B, sizes, bias, batch_first, bidirectional, with_state, dtype, data):
    options = options | {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    lengths = data.draw(st.none() | st.lists(st.integers(1, T), min_size=B, max_size=B))
    if lengths:
        lengths[0] = T
    ours, theirs = pair(kind, options, *sizes, dtype=dtype, kernel=data.draw(st.sampled_from(["loop", "auto"])))
    x = torch.randn((B, T) if batch_first else (T, B), dtype=dtype).unsqueeze(2).repeat(1, 1, sizes[0])
    shape = (sizes[2] * (2 if bidirectional else 1), B, sizes[1])
    states = initial(kind, shape, dtype) if with_state else []
    assert_same(everything(ours, x, states, lengths), everything(theirs, x, states, lengths), dtype)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("kernel", ["loop", "torch"])
@pytest.mark.parametrize("lengths", [None, [2, 6, 1, 6]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_layers_both_ways(kind, options, kernel, lengths, dtype):
    ours, theirs = pair(kind, options | {"bidirectional": True}, 5, 7, 2, dtype=dtype, kernel=kernel)
    x = torch.randn(6, 4, 5, dtype=dtype)
    states = initial(kind, (4, 4, 7), dtype)
    assert_same(everything(ours, x, states, lengths), everything(theirs, x, states, lengths), dtype)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_network_is_its_cell_step_by_step(kind, options):
    """The simple path: one layer, one direction, the formula of `cells` in a Python loop, by autograd."""
    network, _ = pair(kind, options, 3, 4)
    x, states = torch.randn(5, 2, 3).double(), initial(kind, (1, 2, 4))

    class ByCell(torch.nn.Module):
        batch_first = False

        def __init__(self):
            super().__init__()
            self.weights = torch.nn.ParameterList(copy.deepcopy(list(network.parameters())))

        def forward(self, x, hidden):
            h, c = (s[0] for s in hidden) if kind == "LSTM" else (hidden[0], None)
            outputs = []
            for x_t in x:
                if kind == "LSTM":
                    h, c = lstm_step(x_t, h, c, self.weights)
                elif kind == "GRU":
                    h = gru_step(x_t, h, self.weights)
                else:
                    h = rnn_step(x_t, h, self.weights, options.get("nonlinearity", "tanh"))
                outputs.append(h)
            last = (h.unsqueeze(0), c.unsqueeze(0)) if kind == "LSTM" else h.unsqueeze(0)
            return torch.stack(outputs), last

    assert_same(everything(network, x, states), everything(ByCell(), x, states), torch.float64)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_unbatched_and_strict_names(kind, options):
    ours, theirs = pair(kind, options | {"num_layers": 2}, 3, 4)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [(n, p.shape) for n, p in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    x, states = torch.randn(5, 3).double(), initial(kind, (2, 4))
    assert_same(everything(ours, x, states), everything(theirs, x, states), torch.float64)
    assert repr(ours).startswith(f"{kind}(3, 4, num_layers=2")


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_cells_equal_torch(kind, options):
    ours = getattr(rnn, kind + "Cell")(3, 4, dtype=torch.float64, **options)
    theirs = getattr(torch.nn, kind + "Cell")(3, 4, dtype=torch.float64, **options)
    theirs.load_state_dict(ours.state_dict())
    for shape in [(5,), ()]:
        x = torch.randn(*shape, 3).double()
        h = [torch.randn(*shape, 4).double() for _ in range(2)]
        hidden = tuple(h) if kind == "LSTM" else h[0]
        torch.testing.assert_close(ours(x, hidden), theirs(x, hidden), rtol=0, atol=1e-12)
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradcheck_of_every_loop(reverse):
    steps = Steps((3, 2, 2, 1), reverse)
    rows, B, H = 8, 3, 2

    def leaf(*shape):
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    torch.manual_seed(0)
    h, c = leaf(B, H), leaf(B, H)
    # The loops overwrite the projected rows, as they own them: give each call a copy.
    checks = [
        (lambda x, h, w: tanh_loop(x.clone(), h, w, steps), (leaf(rows, H), h, leaf(H, H))),
        (lambda x, h, w: relu_loop(x.clone(), h, w, steps), (leaf(rows, H), h, leaf(H, H))),
        (lambda x, h, c, w: lstm_loop(x.clone(), h, c, w, steps), (leaf(rows, 4 * H), h, c, leaf(4 * H, H))),
        (lambda x, h, w, b: gru_loop(x.clone(), h, w, b, steps), (leaf(rows, 3 * H), h, leaf(3 * H, H), leaf(3 * H))),
    ]
    for function, arguments in checks:
        assert torch.autograd.gradcheck(function, arguments)


def test_backward_twice_over_the_same_graph():
    for kind, options in KINDS:
        network, _ = pair(kind, options, 3, 4)
        output, _ = network(torch.randn(5, 2, 3).double())
        output.sum().backward(retain_graph=True)
        first = [p.grad.clone() for p in network.parameters()]
        network.zero_grad()
        output.sum().backward()
        assert all(torch.equal(a, p.grad) for a, p in zip(first, network.parameters(), strict=True))


def test_second_derivative_is_refused_clearly():
    network, _ = pair("LSTM", {}, 3, 4)
    output, _ = network(torch.randn(5, 2, 3).double())
    with pytest.raises(RuntimeError, match="LSTMLoop has no second derivative"):
        torch.autograd.grad(output.sum(), network.weight_hh_l0, create_graph=True)


def test_packing_order_comes_back():
    """The same rows, packed sorted, packed unsorted, or alone, have the same last states."""
    network, _ = pair("GRU", {"bidirectional": True}, 3, 4)
    x, lengths = torch.randn(5, 3, 3).double(), [2, 5, 3]
    packed, last = network(pack_padded_sequence(x, lengths, enforce_sorted=False))
    assert isinstance(packed, PackedSequence)
    for b, n in enumerate(lengths):
        torch.testing.assert_close(network(x[:n, b])[1], last[:, b])


def test_dropout_only_between_layers_in_training():
    network, theirs = pair("LSTM", {"dropout": 0.5}, 3, 4, 3)
    x = torch.randn(5, 2, 3).double()
    assert not torch.equal(network(x)[0], network(x)[0])
    torch.manual_seed(5)
    one = network(x)[0]
    torch.manual_seed(5)
    assert torch.equal(network(x)[0], one)
    torch.testing.assert_close(network.eval()(x)[0], theirs.eval()(x)[0], rtol=0, atol=1e-12)
    single = rnn.LSTM(3, 4, dropout=1.0)
    assert single(torch.randn(5, 2, 3))[0].abs().sum() > 0


def test_copy_pickle_and_seed():
    torch.manual_seed(3)
    network = rnn.GRU(3, 4)
    torch.manual_seed(3)
    theirs = torch.nn.GRU(3, 4)
    assert torch.equal(network.weight_hh_l0, theirs.weight_hh_l0)
    network.flatten_parameters()
    x = torch.randn(2, 1, 3)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(x)[0], network(x)[0])


def test_the_ten_layer_example():
    """Embedding(6, 30) → RNN(30, 4, num_layers=10, batch_first=True) on a batch of 32 words of 3 letters."""
    letters = torch.nn.Embedding(6, 30)(torch.randint(6, (32, 3)))
    network = rnn.RNN(30, 4, num_layers=10, batch_first=True)
    output, h_n = network(letters)
    assert (output.shape, h_n.shape) == ((32, 3, 4), (10, 32, 4))
    assert network.weight_ih_l0.shape == (4, 30)
    assert network.weight_hh_l9.shape == (4, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_size": 0}, ShapeError, "input_size must be greater than zero, got 0"),
        ({"hidden_size": -1}, ShapeError, "hidden_size must be greater than zero, got -1"),
        ({"num_layers": 0}, ShapeError, "num_layers must be greater than zero, got 0"),
        ({"dropout": 1.5}, ShapeError, "dropout should be a number in range"),
        ({"proj_size": 2}, ConfigError, "proj_size must be 0, got 2"),
    ],
)
def test_bad_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        rnn.LSTM(**({"input_size": 3, "hidden_size": 4} | arguments))


def test_bad_nonlinearity_and_cell_sizes():
    with pytest.raises(ValueError, match="nonlinearity must be 'tanh' or 'relu', got 'sigmoid'"):
        rnn.RNN(3, 4, nonlinearity="sigmoid")
    with pytest.raises(ShapeError, match="greater than zero"):
        rnn.GRUCell(3, 0)
    with pytest.raises(ShapeError, match="input must be"):
        rnn.LSTMCell(3, 4)(torch.zeros(2, 5))
    with pytest.raises(ShapeError, match="hidden state must have shape"):
        rnn.RNNCell(3, 4)(torch.zeros(2, 3), torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("x", "states", "message"),
    [
        (torch.zeros(5, 2, 4), None, "input's last dimension must be 3"),
        (torch.zeros(5), None, "2-D .unbatched. or 3-D"),
        (torch.zeros(0, 2, 3), None, "at least one time step"),
        (torch.zeros(5, 2, 3), (torch.zeros(1, 3, 4), torch.zeros(1, 2, 4)), r"h_0 must have shape \(1, 2, 4\)"),
        (torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 5)), "c_0 must have shape"),
        (torch.zeros(5, 3), (torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)), "unbatched input needs 2-D states"),
    ],
)
def test_bad_input(x, states, message):
    with pytest.raises(ShapeError, match=message):
        rnn.LSTM(3, 4)(x, states)
