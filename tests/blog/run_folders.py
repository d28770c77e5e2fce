"""Makes run folders as docs/run-folder.md describes them, for the tests of the blog."""

import json
import math
from pathlib import Path
from typing import Any

CLASSES = ["comment", "keyword", "name", "number", "operator", "string"]
CRF_LATEX = (
    r"\log p(y\mid x) = \sum_{t=1}^{T} e_t(y_t) + \sum_{t=2}^{T} A_{y_{t-1},\,y_t}"
    "\n"
    r" - \log \sum_{y'} \exp\Bigl(\sum_{t} e_t(y'_t) + \sum_{t} A_{y'_{t-1},\,y'_t}\Bigr)"
)


def make_run(folder: Path, **changes: Any) -> Path:
    """A finished run in `folder`; `changes` replace entries of run.json, `report=` those of report.json."""
    folder.mkdir(parents=True, exist_ok=True)
    report = report_json() | changes.pop("report", {})
    write(folder / "run.json", run_json(folder) | changes)
    write(folder / "report.json", report)
    steps = range(10, 310, 10)
    loss = [{"step": s, "name": "train/loss", "value": 40 * math.exp(-s / 60) + 1.5} for s in steps]
    f1 = [{"step": s, "name": "valid/f1", "value": 0.93 * (1 - math.exp(-s / 50))} for s in steps if s % 50 == 0]
    lines = [json.dumps(entry) for entry in loss + f1]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 310, "na']), encoding="utf-8")
    (folder / "figures").mkdir(exist_ok=True)
    for figure in report["figures"]:
        draw(folder / "figures", figure["name"])
    return folder


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def run_json(folder: Path) -> dict[str, Any]:
    return {
        "schema": 1,
        "id": "tagger-20260102-030405-a1b2",
        "recipe": "tagger",
        "command": ["/somewhere/.venv/bin/python", "-m", "seqlab.train", "tagger", "--out", str(folder)],
        "config": {"seed": 7, "encoder": {"hidden": 128, "layers": 1}, "optimizer": {"lr": 0.003}, "data": None},
        "seed": 7,
        "state": "finished",
        "exit_code": 0,
        "signal": None,
        "message": "",
        "created": "2026-01-02T03:04:05+00:00",
        "started": "2026-01-02T03:04:06+00:00",
        "finished": "2026-01-02T03:07:36+00:00",
        "host": "a-host",
        "user": "a-user",
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
        "gpu": {"requested": "none", "devices": []},
        "environment": {
            "python": "3.12.1",
            "torch": "2.13.0+cpu",
            "platform": "Linux-6.8-x86_64",
            "cpu": "Some CPU @ 2.4 GHz",
            "threads": 2,
            "lock_sha256": "ab" * 32,
        },
        "attempts": [
            {
                "started": "2026-01-02T03:04:06+00:00",
                "ended": "2026-01-02T03:07:36+00:00",
                "exit_code": 0,
                "signal": None,
            }
        ],
    }


def report_json() -> dict[str, Any]:
    return {
        "schema": 1,
        "title": "Finding the lexical classes of Python source 词法标注",
        "summary": [
            "A BiLSTM-CRF labels every character of a line with its lexical class. On files it never saw it reaches "
            "an F1 of 0.93, where a supervised HMM reaches 0.61.",
            "给每个字符标注词类:关键字、名字、数字、字符串、注释与运算符。这与中文分词加词性标注是同一类问题。",
        ],
        "data": {
            "name": "Python standard library",
            "source": "the files of the Python that ran the training, split by file",
            "sha256": "cd" * 32,
            "parts": {
                "train": {"sequences": 12000, "tokens": 402113},
                "valid": {"sequences": 1500, "tokens": 50871},
                "test": {"sequences": 1500, "tokens": 51204},
            },
        },
        "method": [
            {
                "name": "Linear-chain CRF",
                "text": "Emissions come from a bidirectional LSTM; A holds the scores of neighbouring tags.",
                "latex": CRF_LATEX,
            },
            {"name": "Supervised HMM", "text": "Counts with additive smoothing.", "latex": r"p(x,y)=\prod_t a\,b"},
        ],
        "results": {
            "part": "test",
            "columns": ["precision", "recall", "f1", "accuracy"],
            "rows": [
                {"model": "Supervised HMM", "role": "baseline", "values": [0.6012, 0.6234, 0.6121, 0.8123]},
                {"model": "BiLSTM-CRF", "role": "model", "values": [0.9312, 0.9287, 0.9299, 0.9876]},
            ],
        },
        "figures": [
            {"name": "loss", "title": "Learning curve", "alt": "The loss falls from 40 to 2.", "caption": "By step."},
            {
                "name": "transitions",
                "title": "Transition scores",
                "alt": "A heat map of 7 by 7 tags.",
                "caption": "From row to column.",
            },
        ],
        "examples": [
            example("if x == 10: return 'ok'  # 好", "KK NOOO DDO KKKKKK SSSS  CCC".replace("NOOO", "N OO")),
            example("for i in range(3):", "KKK N KK NNNNNODOO", "KKK N KK NNNNNODO "),
        ],
    }


LETTERS = {"K": "keyword", "N": "name", "O": "operator", "D": "number", "S": "string", "C": "comment", " ": ""}


def example(text: str, gold: str, predicted: str | None = None) -> dict[str, Any]:
    """An example from one letter a character; runs of a letter become one entity in BIOES tags."""
    gold = gold.ljust(len(text))[: len(text)]
    predicted = (predicted or gold).ljust(len(text))[: len(text)]
    return {"text": text, "gold": bioes(gold), "predicted": bioes(predicted)}


def bioes(letters: str) -> list[str]:
    tags = []
    for i, letter in enumerate(letters):
        first = i == 0 or letters[i - 1] != letter
        last = i == len(letters) - 1 or letters[i + 1] != letter
        prefix = {(True, True): "S", (True, False): "B", (False, True): "E", (False, False): "I"}[first, last]
        tags.append(f"{prefix}-{LETTERS[letter]}" if LETTERS[letter] else "O")
    return tags


def draw(folder: Path, name: str) -> None:
    """A small figure in both variants with its data."""
    for variant, ink in (("light", "#222"), ("dark", "#ddd")):
        curve = " ".join(f"{x},{300 - 260 * (1 - math.exp(-x / 150)):.0f}" for x in range(20, 640, 20))
        svg = '<svg xmlns="http://www.w3.org/2000/svg" width="480pt" height="240pt" viewBox="0 0 640 320">'
        svg += f'<polyline points="{curve}" fill="none" stroke="{ink}" stroke-width="3"/></svg>'
        (folder / f"{name}.{variant}.svg").write_text(svg, encoding="utf-8")
    (folder / f"{name}.csv").write_text("step,value\n1,2.0\n", encoding="utf-8")
