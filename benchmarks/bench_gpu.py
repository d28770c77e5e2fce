"""CRF on a GPU against pytorch-crf on the same GPU: training step and decoding, side by side in one run.

    python -m benchmarks.bench_gpu [--repeats 5]

Prints the machine, versions and shapes, the first call's time (it compiles; Triton keeps the machine code on disk,
in TRITON_CACHE_DIR or ~/.triton/cache), both medians and their ratio. Runs of the two alternate, and the clock stops
when the GPU is done. Exit code 3: no GPU or no pytorch-crf.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.side_by_side import hardware, medians
from seqlab.crf import CRF

SHAPES = [(32, 128, 9), (32, 512, 20), (256, 512, 32), (8, 512, 100)]  # (B, T, K)


def finished(work: Callable[[], object]) -> Callable[[], object]:
    """Return a function that does the work and waits until the GPU has done it."""

    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run


def training_step(crf: nn.Module, emissions: Tensor, tags: Tensor, mask: Tensor) -> None:
    """Do the negative log-likelihood forward and backward."""
    loss = -crf(emissions.detach().requires_grad_(), tags, mask)
    loss.backward()


def batch(B: int, T: int, K: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return emissions (T, B, K), tags (T, B) and a mask (T, B) of ragged lengths, on the GPU."""
    torch.manual_seed(0)
    emissions, tags, lengths = torch.randn(T, B, K), torch.randint(K, (T, B)), torch.randint(1, T + 1, (B,))
    lengths[0] = T
    mask = torch.arange(T).unsqueeze(1) < lengths
    return emissions.cuda(), tags.cuda(), mask.cuda()


def main() -> int:
    """Run all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU that torch can use: see `./inv doctor`", file=sys.stderr)
        return 3
    try:
        import torchcrf
    except ImportError:
        print(f"no pytorch-crf: {sys.executable} -m pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 3
    print(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; {hardware()}")
    print("float32, ragged lengths uniform in 1 … T; medians in ms; ratio = pytorch-crf / seqlab")
    print(f"{'B':>4} {'T':>4} {'K':>4}  {'work':12} {'first':>9} {'seqlab':>9} {'peer':>9} {'ratio':>8}")
    for B, T, K in SHAPES:
        emissions, tags, mask = batch(B, T, K)
        ours, peer = CRF(K).cuda(), torchcrf.CRF(K).cuda()
        peer.load_state_dict(ours.state_dict())
        works = {
            "nll fwd+bwd": [partial(training_step, crf, emissions, tags, mask) for crf in (ours, peer)],
            "viterbi": [partial(crf.decode, emissions, mask) for crf in (ours, peer)],
        }
        for name, pair in works.items():
            own, other = finished(pair[0]), finished(pair[1])
            begin = time.perf_counter()
            own()
            first = (time.perf_counter() - begin) * 1e3
            fast, slow = medians([own, other], options.repeats)
            print(f"{B:4} {T:4} {K:4}  {name:12} {first:9.1f} {fast:9.2f} {slow:9.2f} {slow / fast:7.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
