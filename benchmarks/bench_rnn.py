"""RNN, LSTM and GRU against torch.nn: forward and backward, side by side in one run.

    python -m benchmarks.bench_rnn [--repeats 7] [--threads 2]

Prints the machine, versions and shapes, both medians and their ratio, for equally long rows and for packed
rows with lengths uniform in 1 … T. LSTM is shown with its own loop ("loop") and as it comes ("auto"): on
equally long rows that is torch's fused kernel, so a ratio of 1.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from benchmarks.side_by_side import hardware, medians
from seqlab import rnn

SHAPES = [(64, 64, 64, 128, True), (128, 32, 32, 32, False), (128, 32, 128, 128, False)]
NETWORKS = [("RNN", "loop"), ("GRU", "loop"), ("LSTM", "loop"), ("LSTM", "auto")]


def training_step(network: nn.Module, rows: torch.Tensor | PackedSequence) -> Callable[[], object]:
    """Return a function that does one forward and backward."""

    def step() -> None:
        output, _ = network(rows)
        total: torch.Tensor = (output.data if isinstance(output, PackedSequence) else output).sum()
        total.backward()  # type: ignore[no-untyped-call]

    return step


def main() -> int:
    """Run all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(hardware())
    print("float32, one layer, forward + backward; medians in ms; ratio = torch.nn / seqlab")
    columns = f"{'seqlab':>9} {'torch':>9} {'ratio':>6}"
    print(f"{'T':>4} {'B':>4} {'I':>4} {'H':>4} {'dir':>3}  {'network':10}  {columns}   packed: {columns}")
    for T, B, I, H, both in SHAPES:  # noqa: E741
        torch.manual_seed(0)
        rows, lengths = torch.randn(T, B, I), torch.randint(1, T + 1, (B,))
        lengths[0] = T
        packed = pack_padded_sequence(rows, lengths, enforce_sorted=False)
        for kind, kernel in NETWORKS:
            ours = getattr(rnn, kind)(I, H, bidirectional=both)
            theirs = getattr(nn, kind)(I, H, bidirectional=both)
            ours.kernel = kernel
            cells = []
            for data in (rows, packed):
                own, other = medians([training_step(n, data) for n in (ours, theirs)], options.repeats)
                cells.append(f"{own:9.2f} {other:9.2f} {other / own:5.2f}x")
            name = f"{kind} {kernel}"
            print(f"{T:4} {B:4} {I:4} {H:4} {1 + both:3}  {name:10}  {cells[0]}           {cells[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
