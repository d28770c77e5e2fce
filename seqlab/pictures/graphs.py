"""Chains and hidden Markov models as graphs: for Mermaid, Graphviz and networkx, and as what `draw_graph` draws."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ConfigError, ShapeError

__all__ = [
    "ChainGraph",
    "chain_graph",
    "check_graph",
    "dot",
    "hmm_graph",
    "mermaid",
    "model_graph",
    "probability_text",
    "to_networkx",
]


class ChainGraph(NamedTuple):
    """A chain, or an HMM in two levels, as nodes and edges with probabilities.

    Attributes:
        states: the names of the states.
        symbols: the names of what an HMM's states show; empty for a chain.
        moves: (i, j, probability), from state to state.
        emissions: (i, k, probability), from state to symbol.
        start: for each state the probability to begin there; empty where nothing is said about it.
    """

    states: list[str]
    symbols: list[str]
    moves: list[tuple[int, int, float]]
    emissions: list[tuple[int, int, float]]
    start: Sequence[float] = ()


def chain_graph(
    transitions: ArrayLike, states: Sequence[Any], *, start: ArrayLike | None = None, least: float = 0.0
) -> ChainGraph:
    """Make the graph of a Markov chain; edges with a probability of at most `least` are left out.

    Args:
        transitions: (K, K), from row to column.
        states: K names.
        start: (K,), to be written in the nodes; None: not.
        least: at least 0.

    Raises:
        ShapeError: the numbers of names and probabilities don't fit.
    """
    moves = _table(transitions, len(states), len(states), "transitions")
    return ChainGraph([str(name) for name in states], [], _edges(moves, least), [], _start(start, len(states)))


def hmm_graph(
    transitions: ArrayLike, emissions: ArrayLike, states: Sequence[Any], symbols: Sequence[Any], *,
    start: ArrayLike | None = None, least: float = 0.0,
) -> ChainGraph:  # fmt: skip
    """Make the graph of a categorical HMM: `transitions` (K, K) among the states, `emissions` (K, M) to the symbols."""
    moves = _table(transitions, len(states), len(states), "transitions")
    shows = _table(emissions, len(states), len(symbols), "emissions")
    names = [str(name) for name in states], [str(name) for name in symbols]
    return ChainGraph(*names, _edges(moves, least), _edges(shows, least), _start(start, len(states)))


def model_graph(
    model: Any, states: Sequence[Any] | None = None, symbols: Sequence[Any] | None = None, *, least: float = 0.0
) -> ChainGraph:
    """Make the graph of a fitted HMM, one of `seqlab.hmm` or of hmmlearn.

    Args:
        model: any with `startprob_` (K,) and `transmat_` (K, K). With a matrix `emissionprob_` (K, M) each symbol is
            a node; otherwise each state has one of its own, with its mean or rate (`means_`, `lambdas_`). Of a mixture
            it has each component's mean, and in brackets its weight.
        states: K names; None: their numbers.
        symbols: M names; None: their numbers, or the means.
        least: edges with a probability of at most this are left out.

    Raises:
        ShapeError: the model is not fitted or none, or the numbers of names don't fit.
    """
    missing = [name for name in ("startprob_", "transmat_") if not hasattr(model, name)]
    if missing:
        raise ShapeError(
            f"model must be a fitted HMM, got a {type(model).__name__} without {' and '.join(missing)}: call fit, or "
            "set them (a MarkovChain has graph())"
        )
    K = len(np.asarray(model.startprob_))
    table = getattr(model, "emissionprob_", None)
    shows = np.eye(K) if table is None else np.asarray(table, dtype=np.float64)
    if symbols is None:
        symbols = range(shows.shape[-1]) if table is not None else [_shown(model, state) for state in range(K)]
    names = range(K) if states is None else states
    return hmm_graph(model.transmat_, shows, names, symbols, start=model.startprob_, least=least)


def check_graph(graph: object) -> None:
    """Check that something is a graph.

    Raises:
        ShapeError: it is not.
    """
    if not isinstance(graph, ChainGraph):
        raise ShapeError(
            f"graph must be a ChainGraph, got {type(graph).__name__}: pass chain.graph() of a MarkovChain, or "
            "model_graph(model) of an HMM"
        )


def probability_text(value: float) -> str:
    """Write a probability in two digits after the point, or as few as it needs, but never as 0 or 1 if it is not."""
    if 0 < value < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    for digits in (2, 3, 4, 5, 6):
        text = f"{value:.{digits}f}"
        if value in (0.0, 1.0) or float(text) not in (0.0, 1.0):
            return text.rstrip("0").rstrip(".")
    return "≈1"


def mermaid(graph: ChainGraph) -> str:
    """Write the graph as a Mermaid flowchart, which GitHub and many blogs draw. Errors as in `check_graph`."""
    check_graph(graph)
    lines = ["flowchart LR" if not graph.symbols else "flowchart TB"]
    lines += [f'    s{number}(("{_mermaid(name)}"))' for number, name in enumerate(graph.states)]
    lines += [f'    o{number}["{_mermaid(name)}"]' for number, name in enumerate(graph.symbols)]
    lines += [f'    s{i} -->|"{probability_text(p)}"| s{j}' for i, j, p in graph.moves]
    lines += [f'    s{i} -.->|"{probability_text(p)}"| o{k}' for i, k, p in graph.emissions]
    return "\n".join(lines) + "\n"


def dot(graph: ChainGraph) -> str:
    """Write the graph in Graphviz's language. Errors as in `check_graph`."""
    check_graph(graph)
    lines = ["digraph chain {", "    rankdir=LR;" if not graph.symbols else "    rankdir=TB;"]
    lines += [f'    s{number} [shape=circle, label="{_dot(name)}"];' for number, name in enumerate(graph.states)]
    lines += [f'    o{number} [shape=box, label="{_dot(name)}"];' for number, name in enumerate(graph.symbols)]
    if graph.symbols:
        lines.append("    { rank=same; " + " ".join(f"s{number};" for number in range(len(graph.states))) + " }")
    lines += [f'    s{i} -> s{j} [label="{probability_text(p)}"];' for i, j, p in graph.moves]
    lines += [f'    s{i} -> o{k} [label="{probability_text(p)}", style=dashed];' for i, k, p in graph.emissions]
    return "\n".join([*lines, "}"]) + "\n"


def to_networkx(graph: ChainGraph) -> Any:
    """Return a `networkx.DiGraph`; nodes have `label` and `level` (0 hidden, 1 shown), edges `probability`.

    Raises:
        ConfigError: networkx is not installed.
        ShapeError: as in `check_graph`.
    """
    check_graph(graph)
    try:
        import networkx
    except ImportError as error:
        raise ConfigError("to_networkx needs networkx: pip install networkx") from error
    found = networkx.DiGraph()
    found.add_nodes_from((f"s{n}", {"label": name, "level": 0}) for n, name in enumerate(graph.states))
    found.add_nodes_from((f"o{n}", {"label": name, "level": 1}) for n, name in enumerate(graph.symbols))
    found.add_edges_from((f"s{i}", f"s{j}", {"probability": p}) for i, j, p in graph.moves)
    found.add_edges_from((f"s{i}", f"o{k}", {"probability": p}) for i, k, p in graph.emissions)
    return found


def _table(values: ArrayLike, rows: int, columns: int, name: str) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (rows, columns) or not rows:
        raise ShapeError(f"{name} must have shape {(rows, columns)}, at least one row, got {table.shape}")
    return table


def _edges(table: NDArray[np.float64], least: float) -> list[tuple[int, int, float]]:
    return [(int(i), int(j), float(table[i, j])) for i, j in np.argwhere(table > least)]


def _start(values: ArrayLike | None, count: int) -> list[float]:
    if values is None:
        return []
    start: list[float] = np.asarray(values, dtype=np.float64).reshape(-1).tolist()
    if len(start) != count:
        raise ShapeError(f"start must have shape {(count,)}, got {np.shape(values)}")
    return start


def _shown(model: Any, state: int) -> str:
    """Say in few words what a state without symbols emits."""
    for attribute, word in (("means_", "mean"), ("lambdas_", "rate")):
        if hasattr(model, attribute):
            values = np.asarray(getattr(model, attribute))
            if values.ndim == 3 and values.shape[1] > 1:  # (K, M, D), a mixture
                return f"{word} {_mixture_text(values[state], np.asarray(model.weights_)[state])}"
            return f"{word} {_few(values[state].reshape(-1))}"
    return f"what {state} emits"


def _mixture_text(means: NDArray[np.float64], weights: NDArray[np.float64]) -> str:
    """Write the means (M, D) of the heaviest components, each with its weight."""
    heaviest = np.sort(np.argsort(-weights, kind="stable")[:3])
    parts = [f"{_few(means[m])} ({probability_text(float(weights[m]))})" for m in heaviest]
    return " | ".join(parts + ["…"] * (len(weights) > 3))


def _few(numbers: NDArray[np.float64]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers[:3]) + (" …" if numbers.size > 3 else "")


def _mermaid(name: str) -> str:
    """Write all ASCII punctuation as entities: a quote would end the label, "1." and `*` are Markdown to Mermaid."""
    kept = "".join(
        c if c.isalnum() or c.isspace() or ord(c) > 127 else f"#{ord(c)};"
        for c in name
        if c.isprintable() or c.isspace()
    )
    return " ".join(kept.split()) or " "


def _dot(name: str) -> str:
    """Escape for a quoted Graphviz label."""
    return " ".join(name.split()).replace("\\", "\\\\").replace('"', '\\"')
