"""The sections of a post, as Markdown."""

import re
from pathlib import Path

import pytest

from blog.run_folder import read_run
from blog.sections import post_body, result_line
from tests.blog.run_folders import make_run, report_json, write


def body(folder: Path) -> str:
    return post_body(read_run(folder), {"loss": (640, 320)})


def cells(text: str, row: str) -> list[str]:
    line = next(line for line in text.splitlines() if row in line and line.startswith("<tr>"))
    return re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)


def test_sections_come_in_order(run: Path) -> None:
    headings = re.findall(r"^## (.*)$", body(run), re.MULTILINE)
    expected = ["Results", "What was learned", "Examples", "Method", "Data", "Configuration", "Provenance"]
    assert headings == expected


def test_html_blocks_have_no_empty_lines(run: Path) -> None:
    for block in re.split(r"\n\n", body(run)):
        if block.startswith("<") and not block.startswith("<!--"):
            assert block.count("<div") == block.count("</div")
            assert block.count("<table") == block.count("</table")


def test_the_best_is_bold_and_the_difference_to_the_baseline_is_said(run: Path) -> None:
    text = body(run)
    assert cells(text, "BiLSTM-CRF")[1] == '<strong>0.9312</strong><span class="change better">+0.3300</span>'
    assert cells(text, "Supervised HMM <span")[1] == "0.6012"


def test_smaller_is_better_for_a_loss_and_missing_values_are_dashes(tmp_path: Path) -> None:
    rows = [
        {"model": "old", "role": "baseline", "values": [2.5, 0.5, None]},
        {"model": "new", "role": "model", "values": [3.0, 0.5, float("nan")]},
    ]
    results = {"part": "test", "columns": ["loss", "f1", "recall"], "rows": rows}
    text = body(make_run(tmp_path / "r", report={"results": results}))
    assert cells(text, "old <span")[1:] == ["<strong>2.5000</strong>", "<strong>0.5000</strong>", "–"]
    assert cells(text, ">new<")[1] == '3.0000<span class="change worse">+0.5000</span>'
    assert cells(text, ">new<")[2] == '<strong>0.5000</strong><span class="change">+0.0000</span>'
    assert cells(text, ">new<")[3] == "nan"


def test_the_result_in_one_line_names_the_baseline_also_where_it_wins() -> None:
    results = report_json()["results"]
    assert result_line(results) == "f1: BiLSTM-CRF 0.9299, Supervised HMM 0.6121 (baseline)"
    results["rows"][1]["values"] = [0.1, None, 0.25, 0.1]
    assert result_line(results) == "f1: BiLSTM-CRF 0.2500, Supervised HMM 0.6121 (baseline)"
    assert result_line({"columns": ["loss"], "rows": [{"values": [1.5]}]}) == "loss: 1.5000"
    assert result_line({}) == ""


def test_a_model_that_loses_is_shown_as_worse_and_the_baseline_as_best(tmp_path: Path) -> None:
    results = report_json()["results"]
    results["rows"][1]["values"] = [0.5, 0.5, 0.5, 0.5]
    text = body(make_run(tmp_path / "r", report={"results": results}))
    assert cells(text, "Supervised HMM <span")[1] == "<strong>0.6012</strong>"
    assert cells(text, "BiLSTM-CRF")[1] == '0.5000<span class="change worse">−0.1012</span>'


def test_the_notes_on_the_data_are_a_list(tmp_path: Path) -> None:
    data = report_json()["data"] | {"notes": ["12 lines left out", "1. a | b\nc"]}
    text = body(make_run(tmp_path / "r", report={"data": data}))
    section = text.split("## Data")[1].split("## Configuration")[0]
    assert section.endswith("\n\n- 12 lines left out\n- 1\\. a \\| b c\n\n")


def test_figures_have_both_variants_alt_text_size_and_data(run: Path) -> None:
    text = body(run)
    assert 'srcset="loss.dark.svg"' in text
    assert '<img src="loss.light.svg" alt="The loss falls from 40 to 2." width="640" height="320"' in text
    assert 'href="transitions.csv"' in text


def test_metrics_say_best_by_what_they_are(run: Path) -> None:
    text = body(run)
    assert cells(text, "valid/f1")[3] == "300"
    assert cells(text, "train/loss")[2] == cells(text, "train/loss")[4]


def test_configuration_is_flat_as_set_takes_it(run: Path) -> None:
    assert cells(body(run), "encoder.hidden") == ["encoder.hidden", "<code>128</code>"]
    assert cells(body(run), ">data<") == ["data", "<code>null</code>"]


def test_the_settings_of_a_recipe_have_no_prefix_and_paths_only_their_last_part(tmp_path: Path) -> None:
    config = {"recipe": "tagger", "data": "/home/somebody/texts/corpus.conllu", "settings": {"loop": {"lr": 0.1}}}
    command = ["/usr/bin/python3", "--data", "/home/somebody/texts/corpus.conllu"]
    text = body(make_run(tmp_path / "r", config=config, command=command))
    assert cells(text, ">loop.lr<") == ["loop.lr", "<code>0.1</code>"]
    assert cells(text, ">data<") == ["data", "<code>corpus.conllu</code>"]
    assert cells(text, ">command<") == ["command", "<code>python3 --data corpus.conllu</code>"]
    assert "somebody" not in text


def test_provenance_says_what_it_takes_to_run_again(run: Path) -> None:
    text = body(run)
    assert "with uncommitted changes" in cells(text, "git commit")[1]
    assert cells(text, "duration")[1] == "<code>3 min 30 s</code>"
    assert cells(text, "data sha256")[1] == f"<code>{'cd' * 32}</code>"
    assert cells(text, ">gpu<")[1] == "<code>none</code>"
    assert cells(text, ">torch<")[1] == "<code>2.13.0+cpu</code>"


def test_no_path_host_or_user_of_the_machine_is_published(run: Path) -> None:
    text = body(run)
    assert "python -m seqlab.train tagger --out runs/tagger-20260102-030405-a1b2" in text
    for private in ("/somewhere", str(run), "a-host", "a-user"):
        assert private not in text


def test_two_attempts_are_added_up(tmp_path: Path) -> None:
    attempts = [
        {"started": "2026-01-02T03:00:00Z", "ended": "2026-01-02T04:00:00Z"},
        {"started": "2026-01-03T03:00:00Z", "ended": "2026-01-03T03:00:05Z"},
    ]
    text = body(make_run(tmp_path / "r", attempts=attempts))
    assert cells(text, "duration")[1] == "<code>1 h 0 min 5 s in 2 attempts</code>"


@pytest.mark.parametrize("missing", ["config", "git", "gpu", "environment", "attempts", "command", "seed"])
def test_an_optional_part_may_be_missing(tmp_path: Path, missing: str) -> None:
    assert "## Provenance" in body(make_run(tmp_path / "r", **{missing: None}))


def test_hostile_text_is_escaped_everywhere(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script> {{x}} {% y %} ``` $z$ | <!-- seqlab:end -->"
    report = report_json()
    report |= {"title": hostile, "summary": [hostile, hostile]}
    report["data"] |= {"name": hostile, "source": hostile, "parts": {hostile: {hostile: hostile}}}
    report["method"] = [{"name": hostile, "text": hostile, "latex": hostile}]
    report["results"]["part"] = report["results"]["columns"][0] = report["results"]["rows"][0]["model"] = hostile
    report["figures"][0] |= {"title": hostile, "alt": hostile, "caption": hostile}
    report["examples"] = [{"text": hostile, "gold": [hostile] * len(hostile), "predicted": ["O"] * len(hostile)}]
    folder = make_run(
        tmp_path / "r", config={hostile: {hostile: hostile}}, seed=hostile, environment={hostile: hostile},
        command=[hostile, hostile], git={"commit": hostile}, gpu={"devices": [hostile]},
    )  # fmt: skip
    write(folder / "report.json", report)
    (folder / "metrics.jsonl").write_text('{"step": 1, "name": "</script>{{x}}", "value": 1}', encoding="utf-8")
    text = body(folder)
    for mark in ("<script", "</script", "{{", "{%", "```", "$z", "seqlab:end -->"):
        assert mark not in text
