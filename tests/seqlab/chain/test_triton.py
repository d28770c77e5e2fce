"""The Triton kernels: run in Triton's interpreter, compiled for GPUs that need not be there, run on one if it is.

Triton reads TRITON_INTERPRET once, when it is imported; so the interpreter lives in a process of its own.
"""

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from seqlab import chain, kernels
from seqlab.errors import ConfigError, ShapeError
from tests.seqlab import oracles

triton = pytest.importorskip("triton", reason="pip install triton (Linux only)")
from seqlab.chain import triton_kernels  # noqa: E402

NEVER = float("-inf")


def answers(pickled):
    """Run both kernels on one chain; in the interpreter's process."""
    parts = pickle.loads(pickled)
    found = triton_kernels.forward_backward(*parts)
    weights = torch.arange(1.0, 1 + found.log_partition.numel())
    return pickle.dumps((*found[:3], found.expected_moves(weights), *triton_kernels.viterbi(*parts)))


@pytest.fixture(scope="module")
def interpreter():
    """Return a function that answers from a process in which Triton interprets."""
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        patch.setenv("TRITON_INTERPRET", "1")
        pool.submit(int).result()  # the process is there now
        patch.undo()
        yield lambda *parts: pickle.loads(pool.submit(answers, pickle.dumps(parts)).result())


def random_chain(T, B, K, seed=0, dtype=torch.float32, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(T, B, K), (K, K), (K,), (K,)]
    return [(torch.randn(shape, generator=draw, dtype=torch.float64) * scale).to(dtype) for shape in shapes]


def check(answer, parts, lengths, tolerance=2e-6, suspicious=()):
    """Compare with the eager engine in float64; `suspicious` rows must be marked, no others may be."""
    log_z, states, marked, moves, tags, score = answer
    assert marked.nonzero().squeeze(1).tolist() == list(suspicious)
    emissions, *rest = [part.double() for part in parts]
    weights = torch.arange(1.0, 1 + lengths.numel(), dtype=torch.float64).masked_fill(marked, 0.0)
    with kernels.use_backend("torch"):
        truth = chain.expected_counts(emissions, *rest, lengths)
        best = chain.viterbi(emissions, *rest, lengths)
        by_row = [chain.expected_counts(emissions[:, b : b + 1], *rest, lengths[b : b + 1]).transitions
                  for b in range(lengths.numel())]  # fmt: skip
    fine = ~marked
    torch.testing.assert_close(log_z[fine], truth.log_partition[fine], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(states[:, fine].double(), truth.states[:, fine], rtol=0, atol=tolerance)
    expected = torch.einsum("b,bij->ij", weights, torch.stack(by_row))
    torch.testing.assert_close(moves, expected, rtol=10 * tolerance, atol=10 * tolerance)
    torch.testing.assert_close(score, best.score, rtol=tolerance, atol=tolerance)
    possible = best.score > NEVER
    assert torch.equal(tags[:, possible], best.tags[:, possible])
    inside = chain.mask_from_lengths(lengths, emissions.size(0))
    assert (tags[~inside] == -1).all()
    assert ((tags[inside] >= 0) & (tags[inside] < emissions.size(2))).all()


@pytest.mark.parametrize(("T", "K"), [(1, 1), (1, 3), (4, 1), (6, 9), (5, 16), (5, 20), (4, 32), (3, 40), (2, 128)])
def test_agrees_with_eager(interpreter, T, K):
    parts, lengths = random_chain(T, 4, K, seed=T + K), torch.tensor([T, max(T - 1, 0), 0, 1])
    check(interpreter(*parts, lengths), parts, lengths)


def test_agrees_with_enumeration(interpreter):
    emissions, *rest = parts = random_chain(4, 3, 3, dtype=torch.float64)
    lengths = torch.tensor([4, 2, 3])
    log_z, states, marked, moves, tags, score = interpreter(*parts, lengths)
    total = torch.zeros(3, 3, dtype=torch.float64)
    for b, n in enumerate(lengths.tolist()):
        truth = oracles.enumerate_chain(emissions[:n, b].tolist(), *(part.tolist() for part in rest))
        assert log_z[b].item() == pytest.approx(truth.log_partition, rel=1e-12)
        assert score[b].item() == pytest.approx(truth.best_score, rel=1e-12)
        assert tuple(tags[:n, b].tolist()) == truth.best
        torch.testing.assert_close(states[:n, b], torch.tensor(truth.states).double(), rtol=0, atol=1e-6)
        total += (b + 1) * torch.tensor(truth.moves)
    torch.testing.assert_close(moves, total, rtol=0, atol=1e-5)
    assert not marked.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dtypes_and_no_lengths(interpreter, dtype):
    parts = random_chain(6, 2, 5, dtype=dtype)
    answer = interpreter(*parts)
    exact = dtype == torch.float64
    assert answer[1].dtype == (torch.float64 if exact else torch.float32)
    check(answer, parts, torch.tensor([6, 6]), tolerance=1e-12 if exact else 2e-6)


def test_float32_emissions_with_float64_transitions_count_in_float64(interpreter):
    emissions, *rest = random_chain(6, 2, 5, dtype=torch.float64)
    parts = [emissions.float(), *rest]
    check(interpreter(*parts), parts, torch.tensor([6, 6]), tolerance=1e-12)


def test_any_strides(interpreter):
    emissions, *rest = random_chain(5, 3, 4)
    lengths = torch.tensor([5, 2, 4])
    batch_first = emissions.transpose(0, 1).contiguous().transpose(0, 1)
    every_other = torch.stack([emissions, torch.full_like(emissions, float("nan"))], dim=3)[..., 0]
    for view in (batch_first, every_other):
        parts = [view, rest[0].T.contiguous().T, *rest[1:]]
        check(interpreter(*parts, lengths), parts, lengths)


def test_padding_is_never_read(interpreter):
    emissions, *rest = random_chain(5, 3, 4)
    lengths = torch.tensor([5, 2, 0])
    emissions[2:, 1] = emissions[:, 2] = float("nan")
    clean = [emissions.nan_to_num(0.0), *rest]
    check(interpreter(emissions, *rest, lengths), clean, lengths)


@pytest.mark.parametrize("forbidden", [NEVER, -1e4])
def test_forbidden_moves_need_no_second_look(interpreter, forbidden):
    emissions, transitions, start, end = random_chain(6, 3, 4)
    transitions[0, 1] = transitions[1, 1] = transitions[2, 3] = start[2] = end[0] = forbidden
    emissions[3, 1, 2] = forbidden
    parts, lengths = [emissions, transitions, start, end], torch.tensor([6, 5, 3])
    check(interpreter(*parts, lengths), parts, lengths)


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_shifted_scores(interpreter, shift):
    emissions, transitions, start, end = random_chain(6, 3, 4)
    parts = [emissions.round() + shift, transitions.round() + shift, start.round() - shift, end.round() + shift]
    lengths = torch.tensor([6, 5, 1])
    check(interpreter(*parts, lengths), parts, lengths)


def test_tiny_differences(interpreter):
    parts, lengths = random_chain(6, 3, 4, scale=1e-30), torch.tensor([6, 5, 1])
    check(interpreter(*parts, lengths), parts, lengths)


@pytest.mark.parametrize("score", [NEVER, -1e4])
def test_rows_that_lose_paths_are_marked(interpreter, score):
    """Row 0 must pass through what E calls impossible; row 1 starts where its end cannot be reached from."""
    emissions, transitions, start, end = random_chain(4, 3, 2)
    transitions[0, 1] = score
    emissions[1, 0] = torch.tensor([0.0, score])
    emissions[2, 0] = torch.tensor([score, 0.0])
    emissions[:, 1] = torch.tensor([60.0, 0.0])
    emissions[3, 1] = torch.tensor([-60.0, 0.0])
    parts, lengths = [emissions, transitions, start, end], torch.tensor([4, 4, 4])
    check(interpreter(*parts, lengths), parts, lengths, suspicious=[0, 1])


@pytest.mark.parametrize("seed", range(6))
def test_wide_scores_are_right_or_marked(interpreter, seed):
    parts, lengths = random_chain(6, 8, 3, seed=seed, scale=30.0), torch.tensor([6, 5, 4, 3, 2, 1, 0, 6])
    answer = interpreter(*parts, lengths)
    check(answer, parts, lengths, tolerance=2e-5, suspicious=answer[2].nonzero().squeeze(1).tolist())


def test_everything_forbidden(interpreter):
    emissions, transitions, start, end = random_chain(3, 2, 3)
    answer = interpreter(emissions, torch.full_like(transitions, NEVER), start, end, torch.tensor([3, 1]))
    assert answer[2][0]
    assert answer[5][0] == NEVER
    assert answer[5][1] > NEVER


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", range(4))
def test_bad_scores_are_marked(interpreter, bad, place):
    parts = random_chain(3, 2, 3)
    parts[place].view(-1)[0] = bad
    answer = interpreter(*parts)
    assert answer[2][0]
    if bad != bad:
        assert answer[5][0].isnan()


def test_equal_paths_have_the_lowest_states(interpreter):
    parts = [torch.zeros(5, 2, 3), torch.zeros(3, 3), torch.zeros(3), torch.zeros(3)]
    parts[0][2, 1] = torch.tensor([0.0, 1.0, 1.0])
    tags = interpreter(*parts)[4]
    assert tags.T.tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0)])
def test_nothing(interpreter, T, B):
    log_z, states, marked, moves, tags, score = interpreter(*random_chain(T, B, 3))
    assert log_z.tolist() == score.tolist() == [0.0] * B
    assert states.shape == (T, B, 3)
    assert tags.shape == (T, B)
    assert not marked.any()
    assert not moves.any()


@pytest.mark.slow
def test_long_row_keeps_its_accuracy(interpreter):
    parts, lengths = random_chain(1000, 1, 5), torch.tensor([1000])
    check(interpreter(*parts, lengths), parts, lengths, tolerance=5e-6)


def test_moves_are_the_gradient(interpreter):
    emissions, transitions, start, end = random_chain(5, 3, 4, dtype=torch.float64)
    transitions.requires_grad_()
    with kernels.use_backend("torch"):
        log_z = chain.log_partition(emissions, transitions, start, end)
    (log_z * torch.arange(1.0, 4.0)).sum().backward()
    moves = interpreter(emissions, transitions.detach(), start, end)[3]
    torch.testing.assert_close(moves, transitions.grad, rtol=0, atol=1e-10)


def test_refusals():
    parts = random_chain(2, 1, 3)
    assert not triton_kernels.suits(parts[0])
    with pytest.raises(ConfigError, match="TRITON_INTERPRET=1"):
        triton_kernels.viterbi(*parts)
    with pytest.raises(ShapeError, match="at most 128 states"):
        triton_kernels.forward_backward(*random_chain(2, 1, 129))
    assert os.environ.get("TRITON_INTERPRET") is None


KERNELS = ["_messages_kernel", "_join_kernel", "_best_prefixes_kernel", "_trace_back_kernel"]
POINTERS = {"tops": "fp64", "log_z": "fp64", "score": "fp64", "lengths": "i64", "tags": "i64", "last": "i32"}
NUMBERS = {"stride_t", "stride_b", "stride_k", "B", "T", "K"}


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("padded", triton_kernels.WARPS)
@pytest.mark.parametrize("name", KERNELS)
def test_compiles_for_a_gpu(name, padded, capability):
    """Through LLVM and ptxas to machine code; scores are fetched ahead by asynchronous copies."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if "nvidia" not in triton.backends.backends:
        pytest.skip("this Triton has no NVIDIA backend: pip install triton")
    kernel = getattr(triton_kernels, name)
    constants = {"PADDED": padded, "STEPS": triton_kernels.TILE // padded}
    for real in ("fp32", "fp64"):
        kinds = {
            argument: "constexpr" if argument in constants
            else "i32" if argument in NUMBERS
            else "*" + POINTERS.get(argument, real)
            for argument in kernel.arg_names
        }  # fmt: skip
        source = ASTSource(kernel, kinds, {key: value for key, value in constants.items() if key in kinds})
        warps = {"_join_kernel": 4, "_trace_back_kernel": 1}.get(name, triton_kernels.WARPS[padded])
        options = {"num_warps": warps, "enable_fp_fusion": True}
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert made.asm["cubin"]
        assert ("async_copy" in made.asm["ttgir"]) == ("emissions" in kinds)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and a CUDA build of torch")
@pytest.mark.parametrize(("T", "B", "K"), [(1, 3, 1), (50, 5, 9), (512, 64, 32), (300, 4, 64), (100, 3, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_gpu(T, B, K, dtype):
    parts, lengths = random_chain(T, B, K, dtype=dtype), torch.randint(T + 1, (B,))
    moved = [part.cuda() for part in (*parts, lengths)]
    found = triton_kernels.forward_backward(*moved)
    weights = torch.arange(1.0, 1 + B, device="cuda")
    answer = [*found[:3], found.expected_moves(weights), *triton_kernels.viterbi(*moved)]
    check([part.cpu() for part in answer], parts, lengths, tolerance=1e-5 if dtype == torch.float32 else 1e-10)
