"""Hidden Markov models against hmmlearn: an iteration of Baum–Welch and decoding, side by side in one run.

    python -m benchmarks.bench_hmm [--repeats 5] [--threads 2] [--quick]

Prints the machine, versions and sizes, both medians, their ratio and the ratio aimed at. Runs of the two alternate,
so that a busy machine slows both. The first call's time includes compiling, or reading compiled code from disk. Exit
code 3: the peer is not installed.
"""

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.side_by_side import hardware, medians
from seqlab import hmm

SEQUENCES = [[100_000], [100] * 1000]
STATES = [5, 20, 100]
SYMBOLS = 50
FEATURES = 8


def iteration(model: Any, X: np.ndarray, lengths: list[int]) -> Callable[[], object]:
    """Return a function that does one iteration of EM on a copy, so that each begins at the same parameters."""

    def step() -> None:
        copy.copy(model).fit(X, lengths)

    return step


def categorical(kind: type, K: int, **options: Any) -> Any:
    """Return a categorical model with random parameters."""
    draw = np.random.default_rng(0)
    model = kind(K, n_iter=1, init_params="", **options)
    model.startprob_, model.transmat_ = draw.dirichlet(np.ones(K)), draw.dirichlet(np.ones(K), size=K)
    model.emissionprob_, model.n_features = draw.dirichlet(np.ones(SYMBOLS), size=K), SYMBOLS
    return model


def gaussian(kind: type, K: int, covariance_type: str, **options: Any) -> Any:
    """Return a Gaussian model with random means and unit covariances."""
    draw = np.random.default_rng(0)
    model = kind(K, covariance_type, n_iter=1, init_params="", **options)
    model.startprob_, model.transmat_ = draw.dirichlet(np.ones(K)), draw.dirichlet(np.ones(K), size=K)
    model.n_features, model.means_ = FEATURES, draw.normal(size=(K, FEATURES))
    model.covars_ = np.ones((K, FEATURES)) if covariance_type == "diag" else np.tile(np.eye(FEATURES), (K, 1, 1))
    return model


def shape_of(lengths: list[int]) -> str:
    """Name the sequences in short."""
    return f"{len(lengths)} x {lengths[0]}"


def row(work: str, K: int, lengths: list[int], pair: list[Callable[[], object]], aim: float, repeats: int) -> None:
    """Time a pair and print a line of the table."""
    own, other = medians(pair, repeats)
    size = shape_of(lengths)
    print(f"{work:24} {K:4} {size:>11} {own:9.1f} {other:10.1f} {other / own:7.1f}x {aim:6.1f}x", flush=True)


def main() -> int:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="leave out 100 states and the slow logarithms of 20")
    options = parser.parse_args()
    try:
        from hmmlearn import hmm as peer
    except ImportError:
        print(f"no hmmlearn: {sys.executable} -m pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 3
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    print(hardware())
    begin = time.perf_counter()
    warm = np.arange(20)[:, None] % SYMBOLS
    iteration(categorical(hmm.CategoricalHMM, 5), warm, [20])()
    categorical(hmm.CategoricalHMM, 5).decode(warm)
    print(f"first calls: {time.perf_counter() - begin:.2f} s")
    print(f"float64; {SYMBOLS} symbols or {FEATURES} dimensions; medians in ms; ratio = hmmlearn / seqlab")
    print(f"{'work':24} {'N':>4} {'sequences':>11} {'seqlab':>9} {'hmmlearn':>10} {'ratio':>8} {'aim':>7}")
    draw = np.random.default_rng(1)
    symbols = draw.integers(SYMBOLS, size=(100_000, 1))
    for K in STATES[: 2 if options.quick else 3]:
        own = categorical(hmm.CategoricalHMM, K)
        for lengths in SEQUENCES:
            for kind, aim in (("scaling", 6.0 if K == 100 else 4.0), ("log", 20.0)):
                if kind == "log" and options.quick and K > 5:
                    continue
                other = categorical(peer.CategoricalHMM, K, implementation=kind)
                pair = [iteration(model, symbols, lengths) for model in (own, other)]
                repeats = min(options.repeats, 2) if kind == "log" and K > 5 else options.repeats
                row(f"Baum-Welch ({kind})", K, lengths, pair, aim, repeats)
            other = categorical(peer.CategoricalHMM, K)
            pair = [lambda model=model, n=lengths: model.decode(symbols, n) for model in (own, other)]  # type: ignore[misc]
            row("Viterbi", K, lengths, pair, 1.5 if K == 5 and len(lengths) == 1 else 4.0, options.repeats)
    rows = draw.normal(size=(100_000, FEATURES))
    for covariance_type in ("diag", "full"):
        for K in STATES[:2]:
            for lengths in SEQUENCES:
                own = gaussian(hmm.GaussianHMM, K, covariance_type)
                other = gaussian(peer.GaussianHMM, K, covariance_type, implementation="scaling")
                pair = [iteration(model, rows, lengths) for model in (own, other)]
                row(f"Gaussian {covariance_type} (scaling)", K, lengths, pair, 4.0, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
