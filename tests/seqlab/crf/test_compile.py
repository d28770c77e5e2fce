"""`torch.compile`, `torch.export` and ONNX."""

import importlib.util

import pytest
import torch
import torch.utils.cpp_extension

from seqlab.crf import CRF, UNKNOWN, label_constraints

LABELS = ["O", "B-x", "I-x", "B-y", "I-y"]
# torch's own compiler still uses torch.jit, which torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()


@pytest.fixture
def linkable(tmp_path, monkeypatch):
    """Inductor in torch 2.13 cannot link where torch's folder has a blank in its path: pytorch pull request 191010."""
    link = tmp_path / "torch-lib"
    link.symlink_to(torch.utils.cpp_extension.TORCH_LIB_PATH)
    monkeypatch.setattr(torch.utils.cpp_extension, "TORCH_LIB_PATH", str(link))


def batch(T=6, B=3, K=5):
    torch.manual_seed(0)
    mask = torch.arange(T).unsqueeze(1) < torch.randint(1, T + 1, (B,))
    return torch.randn(T, B, K), torch.zeros(T, B, dtype=torch.int64), mask


def loss_and_gradients(step, crf, emissions, *others):
    emissions = emissions.clone().requires_grad_()
    crf.zero_grad()
    loss = step(emissions, *others)
    loss.backward()
    return [loss.detach(), emissions.grad, *(parameter.grad for parameter in crf.parameters())]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.usefixtures("linkable")
def test_a_training_step_compiles_without_a_graph_break(backend, constrained):
    crf = CRF(5, constraints=label_constraints(LABELS) if constrained else None)

    def step(emissions, tags, mask):
        return -crf(emissions, tags, mask, reduction="token_mean")

    compiled = torch.compile(step, backend=backend, fullgraph=True)
    for found, expected in zip(
        loss_and_gradients(compiled, crf, *batch()), loss_and_gradients(step, crf, *batch()), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_partial_labels_compile_without_a_graph_break():
    crf = CRF(5, constraints=label_constraints(LABELS))

    def step(emissions, tags, mask):
        return -crf.partial_log_likelihood(emissions, tags, mask)

    emissions, tags, mask = batch()
    tags[::2] = UNKNOWN
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for found, expected in zip(
        loss_and_gradients(compiled, crf, emissions, tags, mask),
        loss_and_gradients(step, crf, emissions, tags, mask),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_viterbi_module_decodes_as_the_crf(batch_first):
    crf = CRF(5, batch_first=batch_first, constraints=label_constraints(LABELS))
    for T in (1, 2, 9):
        emissions, _, mask = batch(T, 4)
        if batch_first:
            emissions, mask = emissions.transpose(0, 1), mask.T
        tags, score = crf.viterbi_module()(emissions, mask)
        best = crf.best_paths(emissions, mask)
        assert torch.equal(tags, best.tags)
        torch.testing.assert_close(score, best.score)


def test_decoding_is_exported_with_a_dynamic_batch():
    crf = CRF(5, constraints=label_constraints(LABELS))
    emissions, _, mask = batch()
    size = torch.export.Dim("batch", min=1)
    shapes = {"emissions": {1: size}, "mask": {1: size}}
    exported = torch.export.export(crf.viterbi_module(), (emissions, mask), dynamic_shapes=shapes)
    for B in (1, 3, 8):
        emissions, _, mask = batch(6, B)
        assert torch.equal(exported.module()(emissions, mask)[0], crf.best_paths(emissions, mask).tags)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="pip install onnx onnxscript onnxruntime",
)
@pytest.mark.filterwarnings("ignore:# The axis name:UserWarning")  # two axes share the name batch
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")  # torch's exporter uses its own old names
def test_decoding_in_onnx(tmp_path):
    import onnxruntime

    crf = CRF(5, constraints=label_constraints(LABELS))
    emissions, _, mask = batch()
    size = torch.export.Dim("batch", min=1)
    shapes = {"emissions": {1: size}, "mask": {1: size}}
    module = crf.viterbi_module().eval()
    program = torch.onnx.export(module, (emissions, mask), dynamo=True, dynamic_shapes=shapes, verbose=False)
    program.save(tmp_path / "crf.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "crf.onnx")
    names = [given.name for given in session.get_inputs()]
    for B in (1, 3, 8):
        emissions, _, mask = batch(6, B)
        tags, _ = session.run(None, dict(zip(names, (emissions.numpy(), mask.numpy()), strict=True)))
        assert torch.equal(torch.from_numpy(tags), crf.best_paths(emissions, mask).tags)
