"""k best paths and marginals against torch-struct, side by side in one run, forward only.

    python -m benchmarks.bench_kbest [--repeats 3] [--threads 2] [--k 10] [--full]

torch-struct takes one tensor of (T − 1, K, K) potentials for each row. They are made before the clock starts,
and a fresh distribution is made in each repeat, because it caches its results. `topk` gives its paths as one-hot
potentials; turning them into tags is not timed. It multiplies whole matrices of lists pairwise in a tree; where
the largest of these products would exceed --gigabytes, its batch is taken in as few parts as fit. Its marginals are
those of pairs of states, ours those of states. Its k best paths take minutes at full batches; unless --full is
given, both sides get a few rows.

Prints the machine, versions and shapes, both medians and their ratio. Runs of the two alternate, so that a busy
machine slows both. Exit code 3: the peer is not installed.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.side_by_side import hardware, medians
from seqlab import chain
from seqlab.chain.kbest import KBest, k_best

SHAPES = [(32, 128, 9), (32, 64, 20), (8, 64, 50)]  # (B, T, K)
FEW_ROWS = [(4, 128, 9), (2, 64, 20), (1, 16, 50)]


def potentials(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return torch-struct's potentials: (B, T − 1, K after, K before)."""
    _, B, K = emissions.shape
    edges = transitions.T + emissions[1:].transpose(0, 1).unsqueeze(3)  # (B, T-1, K, K)
    edges[:, 0] += (start + emissions[0]).view(B, 1, K)
    edges[torch.arange(B), lengths - 2] += end.view(1, K, 1)
    return edges


def in_parts(edges: Tensor, lengths: Tensor, list_size: int, gigabytes: float) -> list[tuple[Tensor, Tensor]]:
    """Cut the batch so that torch-struct's largest product, list_size² · (T/2) · K³ numbers a row, fits."""
    _, moves, K, _ = edges.shape
    row = 4e-9 * list_size**2 * (moves + 1) / 2 * K**3
    size = max(1, int(gigabytes / row))
    rows = zip(torch.split(edges, size), torch.split(lengths, size), strict=True)
    # It wants the longest row of a batch to be as long as its potentials.
    return [(part[:, : int(n.max()) - 1].contiguous(), n) for part, n in rows]


def peer_work(parts: list[tuple[Tensor, Tensor]], work: Callable[[Any], Tensor]) -> Callable[[], list[Tensor]]:
    """Return a function that does `work` for all parts with distributions made anew."""
    import torch_struct  # type: ignore[import-not-found,unused-ignore]

    def run() -> list[Tensor]:
        found = []
        for edges, lengths in parts:
            distribution = torch_struct.LinearChainCRF(edges.detach(), lengths=lengths)
            found.append(work(distribution).detach())
        return found

    return run


def check(found: KBest, kept: list[Tensor]) -> None:
    """Stop if the two do not give the same scores."""
    scores = torch.cat(kept, dim=1)  # (k, B)
    if not torch.allclose(found.score, scores, rtol=1e-4, atol=1e-3):
        raise SystemExit("the two sides disagree about the scores of the best paths")


def main() -> int:
    """Run all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--full", action="store_true", help="k best paths at full batches too: takes an hour")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    options = parser.parse_args()
    try:
        import torch_struct  # noqa: F401
    except ImportError:
        print(f"no torch-struct: {sys.executable} -m pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 3
    torch.set_num_threads(options.threads)
    torch.distributions.Distribution.set_default_validate_args(False)  # it declares no constraints to check
    print(hardware())
    show_first_call(options.k)
    print("float32, ragged lengths uniform in 2 … T; medians in ms; ratio = torch-struct / seqlab")
    print(f"{'B':>4} {'T':>4} {'K':>4}  {'work':12} {'seqlab':>9} {'peer':>9} {'ratio':>8}  peer's batches")
    for shape in SHAPES:
        row_of_table(shape, None, options.gigabytes, options.repeats)
    for shape in SHAPES if options.full else FEW_ROWS:
        row_of_table(shape, options.k, options.gigabytes, options.repeats)
    return 0


def show_first_call(k: int) -> None:
    """Print what the first call costs: compiling, or loading what an earlier run compiled."""
    begin = time.perf_counter()
    k_best(torch.zeros(2, 1, 2), torch.zeros(2, 2), torch.zeros(2), torch.zeros(2), k=k)
    print(f"first k_best call: {time.perf_counter() - begin:.2f} s")


def row_of_table(shape: tuple[int, int, int], k: int | None, gigabytes: float, repeats: int) -> None:
    """Print one row: the k best paths, or the marginals where k is None."""
    B, T, K = shape
    torch.manual_seed(0)
    scores = torch.randn(T, B, K), torch.randn(K, K), torch.randn(K), torch.randn(K)
    lengths = torch.randint(2, T + 1, (B,))
    lengths[0] = T
    parts = in_parts(potentials(*scores, lengths), lengths, k or 1, gigabytes)
    if k is None:
        own, other = medians(
            [lambda: chain.marginals(*scores, lengths), peer_work(parts, lambda crf: crf.marginals)], repeats
        )
    else:
        check(k_best(*scores, lengths, k=k), peer_work(parts, lambda crf: crf.kmax(k))())
        own, other = medians(
            [lambda: k_best(*scores, lengths, k=k), peer_work(parts, lambda crf: crf.topk(k))], repeats
        )
    work = "marginals" if k is None else f"k-best, {k}"
    print(f"{B:4} {T:4} {K:4}  {work:12} {own:9.2f} {other:9.2f} {other / own:7.1f}x  {len(parts)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
