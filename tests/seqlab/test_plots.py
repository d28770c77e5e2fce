"""Figures: files, transparency, the same bytes twice, the data beside them."""

import csv
import xml.etree.ElementTree as ElementTree

import pytest

from seqlab import plots
from seqlab.plots import Series, draw_bars, draw_heatmap, draw_lines

pytest.importorskip("matplotlib", reason="drawing needs matplotlib: pip install matplotlib")


def lines(folder):
    series = [Series("loss", [1, 2, 3], [3.0, 2.0, 1.5]), Series("F1", [3], [0.5], right=True)]
    draw_lines(folder, "loss", series, x_label="step", y_label="loss", right_label="F1")


def heatmap(folder):
    labels = ["O", *(f"{prefix}-{label}" for label in "abcdef" for prefix in "BIES")]
    values = [[None if (row + column) % 7 == 0 else row - column for column in range(25)] for row in range(25)]
    draw_heatmap(folder, "map", values, rows=labels, columns=labels, row_label="from", column_label="to",
                 value_label="score")  # fmt: skip


def bars(folder):
    draw_bars(folder, "bars", ["x", "y"], {"one": [0.5, 1.0], "two": [0.25, 0.0]}, y_label="F1")


@pytest.mark.parametrize(("draw", "name"), [(lines, "loss"), (heatmap, "map"), (bars, "bars")])
def test_both_variants_are_svg_transparent_and_reproducible(tmp_path, draw, name):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        draw(folder)
    names = {f"{name}.csv", f"{name}.dark.svg", f"{name}.light.svg"}
    assert {path.name for path in first.iterdir()} == names
    for file in names:
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert (first / f"{name}.dark.svg").read_bytes() != (first / f"{name}.light.svg").read_bytes()
    for variant in ("dark", "light"):
        text = (first / f"{name}.{variant}.svg").read_text()
        ElementTree.fromstring(text)
        assert "<image" not in text
        assert "dc:date" not in text
        assert "patch_1" not in text or "opacity: 0" in text or "fill: none" in text


def test_csv_holds_the_data(tmp_path):
    lines(tmp_path)
    heatmap(tmp_path)
    bars(tmp_path)
    with (tmp_path / "loss.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["series", "step", "value"],
            ["loss", "1", "3.0"], ["loss", "2", "2.0"], ["loss", "3", "1.5"],
            ["F1", "3", "0.5"],
        ]  # fmt: skip
    with (tmp_path / "map.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 26
    assert rows[1][:3] == ["O", "", "-1"]
    with (tmp_path / "bars.csv").open() as file:
        assert list(csv.reader(file)) == [["", "one", "two"], ["x", "0.5", "0.25"], ["y", "1.0", "0.0"]]


def test_a_coarser_drawing_leaves_the_csv_whole(tmp_path):
    names = [str(number) for number in range(65)]
    values = [[0.0] * 65] * 65
    options = {"rows": names, "columns": names, "row_label": "from", "column_label": "to", "value_label": "score"}
    draw_heatmap(tmp_path, "fine", values, **options)
    draw_heatmap(tmp_path, "coarse", values, **options, drawn=(["a", "b"], [[1.0, None], [0.5, 2.0]]))
    assert (tmp_path / "coarse.csv").read_bytes() == (tmp_path / "fine.csv").read_bytes()
    assert (tmp_path / "coarse.light.svg").stat().st_size < (tmp_path / "fine.light.svg").stat().st_size / 10


def test_a_heat_map_is_narrow_so_that_its_text_is_large_on_a_page(tmp_path):
    heatmap(tmp_path)
    width = ElementTree.fromstring((tmp_path / "map.light.svg").read_text()).attrib["width"]
    assert float(width.removesuffix("pt")) <= 400


def test_without_matplotlib_only_the_data_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "can_draw", lambda: False)
    bars(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bars.csv"]
