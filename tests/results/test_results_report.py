"""The report: what it shows of a sweep in any state, and that nothing in a record becomes part of the page."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from report_builders import HOSTILE, beside_published, complete, hostile, leave
from report_page import Page, report
from result_builders import plan, small

from dfdgbench.cli.main import main
from dfdgbench.results import html
from dfdgbench.results.reading import read_runs
from dfdgbench.results.report.charts import Axis, Line, Point, axis_of, clip, draw_rows
from dfdgbench.results.report.curves import curves
from dfdgbench.results.report.plots import by_domain
from dfdgbench.results.table import build
from dfdgbench.tables.spec import Row, load


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    sweep = tmp_path_factory.mktemp("complete") / "sweep"
    complete(sweep)
    return report(sweep)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Page:
    sweep = tmp_path_factory.mktemp("hostile") / "sweep"
    hostile(sweep)
    return report(sweep)


def test_it_has_every_section_in_order(page: Page) -> None:
    sections = [attrs["id"] for attrs in page.all("section")]
    assert sections == ["summary", "tables", "ladder", "domains", "curves", "images", "failures", "runs"]
    linked = [str(attrs["href"])[1:] for attrs in page.all("a") if attrs["href"] != "#content"]
    assert linked == sections


def test_the_summary_says_what_was_run_and_what_it_was_allowed_to_see(page: Page) -> None:
    for text in ("12 runs", "10 done", "1 failed", "1 planned", "torch 2.6.0", "commit 0123456789ab", "device x86_64"):
        assert text in page.said, text
    assert "dfdgbench sweep launch small.yaml" in page.said
    assert re.search(r"data-free released models synthetic hold-out AvgPred , DEKAN", page.said)
    assert re.search(r"domain-generalisation labelled source images .* source validation ERM", page.said)


def test_a_number_names_the_runs_behind_it(page: Page) -> None:
    cells = page.data["cells"]
    buttons = [int(str(attrs["data-cell"])) for attrs in page.all("button") if "data-cell" in attrs]
    assert sorted(buttons) == list(range(len(cells)))
    cell = next(cell for cell in cells if cell["title"] == "DEKAN, H")
    runs = [page.data["runs"][number] for number in cell["runs"]]
    assert [dict(run["facts"])["trial seed"] for run in runs] == ["0", "1"]
    assert all(dict(run["facts"])["held out"] == "handwritten (0)" for run in runs)
    assert cell["steps"] == [200, 200]
    first = dict(cell["values"])[0]
    keys = page.data["keys"][runs[0]["keys"]]
    assert 100 * runs[0]["records"][-1][1 + keys.index("env0_in_acc")] == pytest.approx(first, abs=0.01)


def test_failed_runs_have_their_message_log_and_command(page: Page) -> None:
    assert "1 run failed RuntimeError: the loss is not finite" in page.said
    assert re.search(r"Log: \S+/err\.txt Again: dfdgbench train --algorithm ERM", page.said)


def test_images_are_inside(page: Page) -> None:
    (image,) = page.all("img")
    assert str(image["src"]).startswith("data:image/webp;base64,")
    assert image["alt"] == "Images of classes 0 to 2, from the set inverted photo"


def test_headings_tables_and_pictures_can_be_heard(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert {tag for tag, _ in page.elements} >= {"header", "nav", "main", "footer", "caption"}
    assert all(attrs.get("scope") for attrs in page.all("th"))
    for attrs in page.all("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs["role"] == "img" and attrs["aria-label"])
    regions = [attrs for _, attrs in page.elements if attrs.get("role") == "region"]
    assert regions and all(attrs["aria-label"] and attrs["tabindex"] == "0" for attrs in regions)


def test_its_policy_allows_its_own_style_and_script_and_nothing_else(page: Page, harmless: Page) -> None:
    for shown in (page, harmless):
        (policy,) = [str(m["content"]) for m in shown.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        scripts = re.findall(r"<script>(.*?)</script>", shown.text, re.DOTALL)
        styles = re.findall(r"<style>(.*?)</style>", shown.text, re.DOTALL)
        assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
        for name, found in (("script-src", scripts), ("style-src", styles)):
            (text,) = found
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[name] == f"'sha256-{digest}'"
        assert not any("style" in attrs for _, attrs in shown.elements)
        addresses = [str(attrs[name]) for _, attrs in shown.elements for name in ("src", "href") if name in attrs]
        assert all(address.startswith(("data:", "#")) for address in addresses)


def test_nothing_of_a_record_becomes_an_element_or_an_attribute(page: Page, harmless: Page) -> None:
    assert {tag for tag, _ in harmless.elements} <= {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attrs in harmless.elements for name in attrs)
    assert len(harmless.all("script")) == 2
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[3], "{{ 7 * 7 }} ${7*7} <!-- ]]> &lt;b&gt;"):
        assert text in harmless.said, "it is shown as it is written"
    embedded = harmless.text.partition('id="data">')[2].partition("</script>")[0]
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert any(name == HOSTILE[2] for hparams in harmless.data["hparams"] for name, _ in hparams)


def test_the_same_sweep_gives_the_same_page(tmp_path: Path) -> None:
    complete(tmp_path / "sweep")
    first = report(tmp_path / "sweep").text
    assert report(tmp_path / "sweep").text == first


def test_a_table_as_a_page_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "dekan-table1", "--format", "html"]) == 0
    (tmp_path / "table.html").write_text(capsys.readouterr().out)
    shown = Page(tmp_path / "table.html")
    assert shown.all("html") == [{"lang": "en", "data-view": "both"}]
    assert "(83.88§)" in shown.said
    assert not shown.all("button"), "there are no runs to open"
    assert 'data-view="difference"' in html.document(build(load("dekan-table1")), diff=True)


def test_every_cell_of_a_table_is_in_its_fragment(tmp_path: Path) -> None:
    table = build(load("dekan-table1"))
    made = html.fragment(table)
    printed = [
        cell.published.text for block in table.blocks for row in block.rows for cell in row.cells if cell.published
    ]
    assert len(printed) > 50
    assert re.findall(r'class="published">\(([^)]*?)§?\)', made) == printed


def test_rows_of_one_group_are_a_body_with_a_heading(tmp_path: Path) -> None:
    rows = [Row(label="Ours", algorithm="DEKAN", group=HOSTILE[0]), Row(label="Ours", algorithm="ERM", group="two")]
    entries = plan(small(rows=rows), tmp_path)
    for entry in entries:
        leave(tmp_path, entry, 0.5)
    made = html.fragment(build(small(rows=rows), tmp_path))
    assert made.count("<tbody>") == 2 and made.count('scope="rowgroup"') == 2
    assert "<script" not in made and "&lt;script&gt;" in made


def test_ours_stand_beside_the_published(tmp_path: Path) -> None:
    beside_published(tmp_path / "sweep")
    shown = report(tmp_path / "sweep")
    assert "published" in [attrs["id"] for attrs in shown.all("section")]
    tips = [str(attrs["data-tip"]) for attrs in shown.all("g") if attrs.get("class") in ("dot", "ring")]
    assert "published: 96.29" in tips and "ours: 80.0, one trial" in tips
    assert "DEKAN Photo 80.0 1 96.29 -16.3" in shown.said
    assert [attrs["value"] for attrs in shown.all("input") if attrs.get("name") == "view"] == list(html.VIEWS)


def test_charts_by_domain_mark_methods_as_the_tables_do(tmp_path: Path) -> None:
    rows = [Row(label="Ours", algorithm="DEKAN"), Row(label="Oracle", algorithm="BestTeacher", oracle=True)]
    spec = small(rows=rows)
    for entry in plan(spec, tmp_path):
        leave(tmp_path, entry, 0.5)
    (figure,) = by_domain(build(spec, tmp_path))
    assert [chart.title for chart in figure.charts] == ["Ours", "Oracle †"]
    assert {row[0] for row in figure.data} == {"Ours", "Oracle †"}


def test_means_of_curves_are_of_what_is_done(tmp_path: Path) -> None:
    spec = small(rows=[Row(label="Ours", algorithm="DEKAN")], trials=3)
    entries = [entry for entry in plan(spec, tmp_path, trials=3) if entry["column"] == "handwritten"]
    for entry, accuracy in zip(entries, (0.4, 0.6, 0.9), strict=True):
        folder = leave(tmp_path, entry, accuracy)
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[:2]))
    (folder / "done").unlink()
    (folder / "status.json").write_text('{"state": "stopped"}')
    (target, source) = curves(read_runs(tmp_path), {})
    (chart,) = target.charts
    assert (chart.title, chart.header) == ("MiniDigits: handwritten", ("Step", "DEKAN"))
    assert chart.data == (("0", "25.0"), ("100", "45.0"), ("200", "50.0"))
    assert len(chart.lines[0].single) == 3
    assert source.charts[0].data[-1] == ("200", "90.0")


def test_a_run_without_curve_has_no_chart(tmp_path: Path) -> None:
    (entry, *_) = plan(small(), tmp_path)
    folder = leave(tmp_path, entry, 0.5)
    (folder / "results.jsonl").write_text((folder / "results.jsonl").read_text().splitlines()[-1] + "\n")
    assert curves(read_runs(tmp_path), {}) == []


@pytest.mark.parametrize("values", [[], [5.0], [0.0, 0.0], [-3.0, 80.5], [1e-9, 2e-9], [math.nan, 4.0], [99.9, 100.1]])
def test_an_axis_holds_all_values_and_has_round_ticks(values: list[float]) -> None:
    axis = Axis.around(values, 0.0, 100.0)
    finite = [value for value in values if math.isfinite(value)]
    assert all(axis.low <= value <= axis.high for value in finite)
    assert all(-0.1 <= axis(value) <= 100.1 for value in finite)
    assert 2 <= len(axis.ticks) <= 9
    assert len({text for _, text in axis.ticks}) == len(axis.ticks)


def test_a_chart_of_rows() -> None:
    rows = [
        Line("a heading", heading=True),
        Line("x" * 50, (Point(10.0, "bar", "ten", 2.0), Point(math.nan, "dot", "none"))),
    ]
    drawn = draw_rows("title", rows, axis_of([rows[1:]], zero=True))
    (_, (mark,)) = drawn.marks[0]
    assert mark.low < mark.error_low < mark.x == mark.high < mark.error_high
    assert [text.heading for text in drawn.texts] == [True, False]
    assert drawn.texts[1].shown.endswith("…") and drawn.texts[1].whole == "x" * 50


def test_clipped_texts_are_one_line() -> None:
    assert clip("a\n b\u2028c", 10) == "a b c"
    assert clip("abcdef", 4) == "abc…"
