"""CRF against pytorch-crf: training step and decoding, side by side in one run.

    python -m benchmarks.bench_crf [--repeats 7] [--threads 2]

Prints the machine, versions and shapes, both medians and their ratio. Runs of the two alternate, so that a
busy machine slows both. Exit code 3: the peer is not installed.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.side_by_side import hardware, medians
from seqlab.crf import CRF, bioes_constraints

SHAPES = [(32, 128, 9), (32, 512, 20), (8, 512, 100), (256, 64, 20)]  # (B, T, K)


def training_step(crf: nn.Module, emissions: Tensor, tags: Tensor, mask: Tensor) -> Callable[[], object]:
    """Return a function that does the negative log-likelihood forward and backward."""

    def step() -> None:
        loss = -crf(emissions.detach().requires_grad_(), tags, mask)
        loss.backward()

    return step


def main() -> int:
    """Run all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    try:
        import torchcrf
    except ImportError:
        print(f"no pytorch-crf: {sys.executable} -m pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 3
    torch.set_num_threads(options.threads)
    print(hardware())
    print("float32, ragged lengths uniform in 1 … T; medians in ms; ratio = pytorch-crf / seqlab")
    print(f"{'B':>4} {'T':>4} {'K':>4}  {'work':12} {'seqlab':>9} {'peer':>9} {'ratio':>7}")
    for B, T, K in SHAPES:
        torch.manual_seed(0)
        ours, peer = CRF(K), torchcrf.CRF(K)
        peer.load_state_dict(ours.state_dict())
        emissions, tags = torch.randn(T, B, K), torch.randint(K, (T, B))
        lengths = torch.randint(1, T + 1, (B,))
        lengths[0] = T
        mask = torch.arange(T).unsqueeze(1) < lengths
        steps = [training_step(crf, emissions, tags, mask) for crf in (ours, peer)]
        decodes = [partial(crf.decode, emissions, mask) for crf in (ours, peer)]
        for work, (first, second) in (("nll fwd+bwd", steps), ("viterbi", decodes)):
            own, other = medians([first, second], options.repeats)
            print(f"{B:4} {T:4} {K:4}  {work:12} {own:9.2f} {other:9.2f} {other / own:6.1f}x")
    constrained(options.repeats)
    return 0


def constrained(repeats: int) -> None:
    """Show what constraints cost: the same tagger-like batch with and without them."""
    labels = [f"{position}-{kind}" for kind in range(15) for position in "BIES"]
    torch.manual_seed(0)
    free, bound = CRF(60), CRF(60, constraints=bioes_constraints(labels))
    emissions, tags = torch.randn(40, 32, 60), torch.full((40, 32), labels.index("S-0"))
    mask = torch.ones(40, 32, dtype=torch.bool)
    plain, tight = medians([training_step(crf, emissions, tags, mask) for crf in (free, bound)], repeats)
    print(f"constraints, B 32, T 40, K 60 BIOES: {plain:.2f} ms without, {tight:.2f} ms with")


if __name__ == "__main__":
    sys.exit(main())
