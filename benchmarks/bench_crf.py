"""CRF against pytorch-crf: training step, decoding and peak memory, side by side in one run.

    python -m benchmarks.bench_crf [--repeats 9] [--threads 2]

Prints the machine, versions and shapes, both medians, their ratio and the ratio we promise. Runs of the two
alternate, so that a busy machine slows both. `first call` is ours in a fresh process, once with nothing compiled and
once with the machine code found on disk. Peak memory is measured in a process of its own for each side. Exit code
3: the peer is not installed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.side_by_side import hardware, medians
from seqlab.crf import CRF, bioes_constraints

SHAPES = [(32, 128, 9), (32, 512, 20), (8, 512, 100), (256, 64, 20)]  # (B, T, K)
PROMISED = {"nll fwd+bwd": [40, 40, 40, 20], "viterbi": [40, 40, 40, 40]}


def training_step(crf: nn.Module, emissions: Tensor, tags: Tensor, mask: Tensor | None) -> Callable[[], object]:
    """Return a function that does the negative log-likelihood forward and backward."""

    def step() -> None:
        loss = -crf(emissions.detach().requires_grad_(), tags, mask)
        loss.backward()

    return step


def example(B: int, T: int, K: int, ragged: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Draw emissions (T, B, K), tags (T, B) and a mask (T, B)."""
    torch.manual_seed(0)
    lengths = torch.randint(1, T + 1, (B,)) if ragged else torch.full((B,), T)
    lengths[0] = T
    return torch.randn(T, B, K), torch.randint(K, (T, B)), torch.arange(T).unsqueeze(1) < lengths


def main() -> int:
    """Run all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one-step", choices=["seqlab", "pytorch-crf"], help="used for memory and the first call")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPES[1], metavar=("B", "T", "K"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one_step == "seqlab":
        return one_step(CRF, tuple(options.shape))
    try:
        import torchcrf
    except ImportError:
        print(f"no pytorch-crf: {sys.executable} -m pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 3
    if options.one_step:
        return one_step(torchcrf.CRF, tuple(options.shape))
    print(hardware())
    first_calls()
    print("\nfloat32, medians in ms; ratio = pytorch-crf / seqlab")
    print(f"{'B':>4} {'T':>4} {'K':>4}  {'rows':6} {'work':12} {'seqlab':>9} {'peer':>9} {'ratio':>7} {'promised':>9}")
    for number, (B, T, K) in enumerate(SHAPES):
        for ragged in (False, True):
            emissions, tags, mask = example(B, T, K, ragged)
            ours, peer = CRF(K), torchcrf.CRF(K)
            peer.load_state_dict(ours.state_dict())
            steps = [training_step(crf, emissions, tags, mask) for crf in (ours, peer)]
            decodes = [partial(crf.decode, emissions, mask) for crf in (ours, peer)]
            for work, (first, second) in (("nll fwd+bwd", steps), ("viterbi", decodes)):
                own, other = medians([first, second], options.repeats)
                promised = "" if ragged else f"{PROMISED[work][number]}x"
                rows = "ragged" if ragged else "full"
                figures = f"{own:9.3f} {other:9.2f} {other / own:6.1f}x {promised:>9}"
                print(f"{B:4} {T:4} {K:4}  {rows:6} {work:12} {figures}")
    print("\npeak memory of a training step above the process before it, MB")
    for shape in SHAPES:
        own, other = (peak_memory(side, shape) for side in ("seqlab", "pytorch-crf"))
        print("{:4} {:4} {:4}".format(*shape), f" seqlab {own:7.1f}   pytorch-crf {other:7.1f}")
    constrained(options.repeats)
    return 0


def one_step(kind: Callable[[int], nn.Module], shape: tuple[int, int, int]) -> int:
    """Do one training step and print its time in ms and the memory that the process has grown by, in kB."""
    small = training_step(kind(shape[2]), *example(1, 2, shape[2], ragged=False))
    begin = time.perf_counter()
    small()  # compiles, and loads what both sides need
    first_ms = (time.perf_counter() - begin) * 1e3
    step = training_step(kind(shape[2]), *example(*shape, ragged=False))
    # What was loaded and compiled so far has had a peak of its own: start the record anew from here (Linux).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status_kb("VmRSS")
    step()
    print(first_ms, status_kb("VmHWM") - before)
    return 0


def status_kb(field: str) -> int:
    """Read a number of kB from this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def run_one_step(side: str, shape: tuple[int, int, int], cache: str | None = None) -> tuple[float, float]:
    """Run `one_step` in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.bench_crf", "--one-step", side, "--shape", *map(str, shape)]
    environment = os.environ | ({} if cache is None else {"NUMBA_CACHE_DIR": cache})
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    first_ms, kilobytes = done.stdout.split()
    return float(first_ms), float(kilobytes)


def peak_memory(side: str, shape: tuple[int, int, int]) -> float:
    """Return the megabytes that a training step adds to its process."""
    return run_one_step(side, shape)[1] / 1024


def first_calls() -> None:
    """Show what compiling costs, and that the machine code is found again."""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (run_one_step("seqlab", SHAPES[0], cache)[0] / 1e3 for _ in range(2))
    print(f"first call: {cold:.1f} s with nothing compiled, {warm:.1f} s with the machine code on disk")


def constrained(repeats: int) -> None:
    """Show what constraints cost: the same tagger-like batch with and without them."""
    labels = [f"{position}-{kind}" for kind in range(15) for position in "BIES"]
    torch.manual_seed(0)
    free, bound = CRF(60), CRF(60, constraints=bioes_constraints(labels))
    emissions, tags = torch.randn(40, 32, 60), torch.full((40, 32), labels.index("S-0"))
    plain, tight = medians([training_step(crf, emissions, tags, None) for crf in (free, bound)], repeats)
    print(f"\nconstraints, B 32, T 40, K 60 BIOES: {plain:.2f} ms without, {tight:.2f} ms with")


if __name__ == "__main__":
    sys.exit(main())
