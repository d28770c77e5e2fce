"""What the tagger's report says: text, formulas, figures and examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from seqlab.data.corpus import Corpus, TaggedLine
from seqlab.metrics import Scores
from seqlab.plots import Matrix, Series, can_draw, draw_bars, draw_heatmap, draw_lines
from seqlab.recipes.tagger.model import TaggerModel
from seqlab.train.recipe import Metric
from seqlab.train.report import Data, Example, Figure, Method, Part, Report, Results, Row

__all__ = ["Tested", "make_report"]

BASELINE, MODEL = "Supervised HMM", "BiLSTM-CRF"
_HYPHEN = "\u2011"
_READABLE_TAGS = 30  # in a figure as wide as a page's column
_COLUMNS = ("precision", "recall", "f1", "accuracy")
_RIGHT_EXAMPLES, _WRONG_EXAMPLES = 4, 2
_EXAMPLE_CHARS = range(12, 73)

_CRF_LATEX = r"""\begin{aligned}
\log p(y \mid x) &= s(x, y) - \log Z(x), \\
s(x, y) &= a_{y_1} + \sum_{t=1}^{T} e_t(y_t) + \sum_{t=2}^{T} A_{y_{t-1},\,y_t} + b_{y_T}, \\
\log Z(x) &= \log \sum_{y'} \exp s(x, y') = \log \sum_{k} \exp\bigl(\alpha_T(k) + b_k\bigr), \\
\alpha_1(k) &= a_k + e_1(k), \\
\alpha_t(k) &= e_t(k) + \log \sum_{j} \exp\bigl(\alpha_{t-1}(j) + A_{j k}\bigr)
\end{aligned}"""
_HMM_LATEX = r"""\begin{aligned}
p(x, y) &= \pi_{y_1} \prod_{t=2}^{T} A_{y_{t-1},\,y_t} \prod_{t=1}^{T} B_{y_t,\,x_t}, \\
\hat{y} &= \arg\max_{y} \, p(x, y)
\end{aligned}"""


class Tested(NamedTuple):
    """One model's tags for the test part, and its scores."""

    predicted: Sequence[Sequence[str]]
    scores: Scores


def make_report(
    *,
    corpus: Corpus,
    sha256: str,
    labels: Sequence[str],
    model: TaggerModel,
    metrics: Sequence[Metric],
    tested: Mapping[str, Tested],
    smoothing: float,
    figures: Path,
) -> Report:
    """Draw the figures into the folder `figures` and put the report together.

    `tested` has the entries "baseline" and "model".
    """
    baseline, scores = tested["baseline"].scores, tested["model"].scores
    parts = {part: Part(len(lines), sum(len(line.text) for line in lines)) for part, lines in corpus.parts.items()}
    rows = [
        Row(f"{BASELINE}", "baseline", [getattr(baseline, name) for name in _COLUMNS]),
        Row(MODEL, "model", [getattr(scores, name) for name in _COLUMNS]),
    ]
    return Report(
        # Headings break at a plain hyphen; U+2011 holds the name together.
        title=f"{MODEL.replace('-', _HYPHEN)} against a supervised HMM: {corpus.name}",
        summary=_summary(corpus, parts, baseline, scores),
        data=Data(corpus.name, corpus.source, sha256, parts, list(corpus.notes)),
        method=_methods(smoothing, model),
        results=Results("test", _COLUMNS, rows),
        figures=_figures(figures, labels, model, metrics, baseline, scores),
        examples=_examples(corpus.parts["test"], tested["model"].predicted),
    )


def _summary(corpus: Corpus, parts: Mapping[str, Part], baseline: Scores, scores: Scores) -> list[str]:
    gain = advice = ""
    if scores.f1 > baseline.f1:
        gain = f": {(scores.f1 - baseline.f1) / (1 - baseline.f1):.0%} of the way from there to 1"
    else:
        advice = (
            " The neural model needs more data than counting does: with more training text, or a higher "
            "encoder.dropout, it should overtake the baseline."
        )
    return [
        f"Each character of a line gets one tag: where an entity begins and ends, and its class. That is "
        f"segmentation and tagging at once, the same shape of problem as Chinese word segmentation with parts of "
        f"speech. The text is {corpus.source}; {parts['train'].sequences:,} lines were used for training.",
        f"On {parts['test'].sequences:,} held-out lines the {MODEL} reaches an entity F1 of {scores.f1:.3f}, the "
        f"{BASELINE} {baseline.f1:.3f}{gain}. An entity counts only if its start, its end and its class are all "
        f"right.{advice}",
    ]


def _methods(smoothing: float, model: TaggerModel) -> list[Method]:
    config = model.config
    crf = (
        f"A bidirectional LSTM with {config.layers} layer(s) of {config.hidden} units per direction reads the line "
        f"and gives tag k at position t the emission score e_t(k). The conditional random field adds a score A for "
        f"each pair of neighbouring tags, a for the first and b for the last. Training maximises the "
        f"log-likelihood: the score of the true path minus the log-partition, which the forward recursion sums over "
        f"all paths. Pairs that break a BIOES entity are forbidden. Viterbi finds the best path."
    )
    hmm = (
        f"Tags are the hidden states and characters the observations; start, transition and emission probabilities "
        f"are counts from the training part plus {smoothing:g}, the pseudo-count with the best F1 on the validation "
        f"part. Characters depend on the tag alone, so a letter says little about the word it is in."
    )
    return [Method("Linear-chain CRF on a BiLSTM", crf, _CRF_LATEX), Method(BASELINE, hmm, _HMM_LATEX)]


def _figures(
    folder: Path,
    labels: Sequence[str],
    model: TaggerModel,
    metrics: Sequence[Metric],
    baseline: Scores,
    scores: Scores,
) -> list[Figure]:
    """Draw; without matplotlib only the CSV files are written and no figure is listed."""
    found = [_loss_figure(folder, metrics), _transitions_figure(folder, labels, model),
             _classes_figure(folder, baseline, scores)]  # fmt: skip
    return found if can_draw() else []


def _loss_figure(folder: Path, metrics: Sequence[Metric]) -> Figure:
    def series(name: str, title: str, right: bool) -> Series:
        points = [metric for metric in metrics if metric.name == name]
        return Series(title, [point.step for point in points], [point.value for point in points], right)

    lines = [series("train/loss", "training loss", False), series("valid/f1", "validation F1", True)]
    draw_lines(folder, "loss", lines, x_label="step", y_label="loss per character (nats)", right_label="F1", log_y=True)
    last, best = lines[0].y[-1] if lines[0].y else 0.0, max(lines[1].y, default=0.0)
    return Figure(
        "loss",
        "Training loss and validation F1",
        f"Line chart: the training loss falls to {last:.3f} nats per character while the entity F1 on the "
        f"validation part rises to {best:.3f}.",
        "Negative log-likelihood per character on the training batches (left, logarithmic), entity F1 on the "
        "validation part (right, dashed). The weights with the best validation F1 are kept.",
    )


def _transitions_figure(folder: Path, labels: Sequence[str], model: TaggerModel) -> Figure:
    """The learned scores A; pairs that the constraints forbid are blank. Many tags are drawn class by class."""
    from seqlab.crf import bioes_constraints

    allowed = bioes_constraints(labels).pairs.tolist()
    scores = model.crf.transitions.detach().cpu().tolist()
    values = [[score if may else None for score, may in zip(*row, strict=True)]
              for row in zip(scores, allowed, strict=True)]  # fmt: skip
    coarse = len(labels) > _READABLE_TAGS
    draw_heatmap(
        folder, "transitions", values, rows=labels, columns=labels,
        row_label="from", column_label="to", value_label="score",
        drawn=_by_class(labels, values) if coarse else None,
    )  # fmt: skip
    known = [
        (value, labels[row], labels[column])
        for row, line in enumerate(values)
        for column, value in enumerate(line)
        if value is not None
    ]
    (high, *most), (low, *least) = max(known), min(known)
    caption = (
        "Score of each tag (row) followed by each tag (column). Blank pairs are forbidden: they would break an entity."
    )
    if coarse:
        caption = (
            "Score of moving from the end of one entity (its E or S tag; row) to the start of the next (its B or S "
            "tag; column), by class: the mean over the pairs of tags that this can be. O is text outside entities. "
            "The CSV has every pair of tags, those within an entity too."
        )
    return Figure(
        "transitions",
        "Learned transition scores of the CRF",
        f"Heat map of {len(labels)} by {len(labels)} tags. Highest: {most[0]} to {most[1]} ({high:.2f}); lowest: "
        f"{least[0]} to {least[1]} ({low:.2f}).",
        caption,
    )


def _by_class(labels: Sequence[str], values: Matrix) -> tuple[list[str], Matrix]:
    """The classes, and the mean of `values` from the end tags of one to the start tags of another."""
    names = list(dict.fromkeys(label.partition("-")[2] or label for label in labels))

    def places(name: str, prefixes: str) -> list[int]:
        return [labels.index(tag) for tag in (name, *(f"{prefix}-{name}" for prefix in prefixes)) if tag in labels]

    def average(before: str, after: str) -> float | None:
        pairs = [values[row][column] for row in places(before, "ES") for column in places(after, "BS")]
        known = [value for value in pairs if value is not None]
        return sum(known) / len(known) if known else None

    return names, [[average(before, after) for after in names] for before in names]


def _classes_figure(folder: Path, baseline: Scores, scores: Scores) -> Figure:
    names = sorted(scores.per_label, key=lambda name: -scores.per_label[name].gold)
    bars = {
        title: [found.per_label[name].f1 if name in found.per_label else 0.0 for name in names]
        for title, found in ((BASELINE, baseline), (MODEL, scores))
    }
    draw_bars(folder, "per_class_f1", names, bars, y_label="F1")
    hardest = min(zip(bars[MODEL], names, strict=True))
    return Figure(
        "per_class_f1",
        "F1 by class",
        f"Bar chart of the entity F1 by class for both models. Hardest for the {MODEL}: {hardest[1]} "
        f"({hardest[0]:.3f}).",
        "Entity F1 on the test part, the most frequent class first.",
    )


def _examples(lines: Sequence[TaggedLine], predicted: Sequence[Sequence[str]]) -> list[Example]:
    """The first held-out lines of a readable length with several entities: some right, some wrong."""
    right: list[Example] = []
    wrong: list[Example] = []
    for line, tags in zip(lines, predicted, strict=True):
        gold = line.tags
        group, wanted = (right, _RIGHT_EXAMPLES) if gold == list(tags) else (wrong, _WRONG_EXAMPLES)
        varied = len({entity.label for entity in line.entities}) > 2 or group is wrong
        if len(group) < wanted and len(line.text) in _EXAMPLE_CHARS and varied:
            group.append(Example(line.text, gold, list(tags)))
    return right + wrong
