"""Reports of folders in any state, and where they are written."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from report_builders import complete, fail, leave, write_images
from report_page import report
from result_builders import plan, record, small, write_domainbed

from dfdgbench.cli.main import main
from dfdgbench.errors import ConfigError
from dfdgbench.results.reading import read_runs
from dfdgbench.results.report import details
from dfdgbench.results.report.loose import table_of
from dfdgbench.results.report.writing import write
from dfdgbench.tables.spec import Row


@pytest.mark.parametrize("kind", ["empty", "absent", "file"])
def test_no_run_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    folder = tmp_path / "x"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("")
    assert main(["report", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(folder) in said
    assert not (folder / "report.html").exists()


def test_one_run_alone(tmp_path: Path) -> None:
    (entry, *_) = plan(small(), tmp_path / "sweep")
    run = leave(tmp_path / "sweep", entry, 0.75)
    shown = report(run)
    assert "The folder is no sweep's" in shown.said
    assert "1 run 1 done" in shown.said
    assert "75.0" in shown.said
    assert [cell["runs"] for cell in shown.data["cells"]] == [[0]] * len(shown.data["cells"])


def test_domainbeds_output(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_domainbed(
        folder / "a", [record(0, 0, (0.5, 0.4, "T"), (0.5, 0.6)), record(1, 0, (0.7, 0.4, "T"), (0.5, 0.9))]
    )
    write_domainbed(folder / "b", [record(0, 1, (0.9, 0.8, "T"), (0.5, 0.5))])
    write_domainbed(folder / "c", [record(0, 2, (0.1, 0.1, "T"), (0.5, 0.95))], done=False)
    shown = report(folder)
    first, last = (
        next(cell for cell in shown.data["cells"] if title in cell["block"]) for title in ("training", "oracle")
    )
    assert (first["values"], first["steps"]) == ([[0, 70.0]], [1]), "the best on the source, of what is done"
    assert last["values"] == [[0, 90.0]]
    assert "PACS, by training-domain validation set" in shown.said
    assert "2 done 1 unfinished" in shown.said


def test_the_average_is_of_trials_that_have_all_domains(tmp_path: Path) -> None:
    entries = plan(small(rows=[Row(label="Ours", algorithm="DEKAN")]), tmp_path / "sweep", trials=2)
    for entry, accuracy in zip(entries[:3], (0.4, 0.6, 0.9), strict=True):
        leave(tmp_path / "sweep" / "runs", {**entry, "id": f"x/{entry['id']}"}, accuracy)
    table = table_of("x", read_runs(tmp_path / "sweep" / "runs"))
    (row,) = table.blocks[0].rows
    assert table.blocks[0].header == ("handwritten", "blended", "Avg")
    assert [cell.mean for cell in row.cells] == pytest.approx([65.0, 60.0, 50.0])
    assert (row.cells[2].n, row.cells[2].expected, len(row.cells[2].runs)) == (1, 2, 3)


def test_a_damaged_sweep_file_is_said_and_the_runs_are_shown(tmp_path: Path) -> None:
    complete(tmp_path / "sweep")
    (tmp_path / "sweep" / "sweep.json").write_text('{"spec": ')
    shown = report(tmp_path / "sweep")
    assert "is damaged" in shown.said and "laid out by what they say" in shown.said
    assert "MiniDigits, by last step" in shown.said or "MiniDigits, by" in shown.said
    assert len(shown.data["runs"]) == 11, "the planned one is known to nobody"


def test_a_spec_that_is_no_table_any_more_is_said(tmp_path: Path) -> None:
    complete(tmp_path / "sweep")
    file = tmp_path / "sweep" / "sweep.json"
    content = json.loads(file.read_text())
    content["spec"]["layout"] = "of an earlier release"
    file.write_text(json.dumps(content))
    shown = report(tmp_path / "sweep")
    assert "The sweep's own table cannot be shown" in shown.said
    assert len(shown.data["runs"]) == 12


def test_a_half_copied_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "sweep"
    entries = plan(small(), sweep)
    folders = [leave(sweep, entry, 0.5) for entry in entries]
    (folders[0] / "config.json").unlink()
    (folders[1] / "results.jsonl").write_bytes((folders[1] / "results.jsonl").read_bytes()[:-40])
    (folders[2] / "results.jsonl").unlink()
    (folders[3] / "config.json").write_text("[1, 2")
    shown = report(sweep)
    assert f"{entries[1]['id']}: 1 torn or foreign line left out" in shown.said
    assert "The artifacts are not where the sweep notes them" in shown.said
    assert [run["state"] for run in shown.data["runs"]] == ["done"] * 4
    assert len(shown.data["cells"]) >= 3


@pytest.mark.parametrize(
    "odd",
    [[], "text", 3, None, {"versions": 1, "stages": [1], "args": [], "domains": 5, "precision": 1, "config": [2]}],
)
def test_a_config_of_another_kind_is_no_obstacle(tmp_path: Path, odd: Any) -> None:
    (entry, *_) = plan(small(), tmp_path / "sweep")
    folder = leave(tmp_path / "sweep", entry, 0.5)
    (folder / "config.json").write_text(json.dumps(odd))
    (folder / "status.json").write_text(json.dumps(odd))
    assert "1 done" in report(tmp_path / "sweep").said


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
def test_numbers_that_are_none(tmp_path: Path, number: float) -> None:
    entries = plan(small(), tmp_path / "sweep")
    leave(tmp_path / "sweep", entries[0], number)
    leave(tmp_path / "sweep", entries[1], 0.5)
    shown = report(tmp_path / "sweep")
    texts = {
        value for run in shown.data["runs"] for record in run["records"] for value in record if isinstance(value, str)
    }
    assert texts == {str(number)}
    assert not re.search(r'[ "](nan|inf|-inf)[",]', "".join(re.findall(r"<svg.*?</svg>", shown.text, re.DOTALL)))


def test_a_run_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path / "sweep")
    folder = fail(tmp_path / "sweep", entries[0], "")
    (folder / "status.json").write_text('{"state": "running"}')
    assert "1 lost" in report(tmp_path / "sweep").said


def test_of_very_many_records_each_runs_last_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "MOST_RECORDS", 5)
    complete(tmp_path / "sweep")
    shown = report(tmp_path / "sweep")
    assert not shown.data["whole"]
    assert {len(run["records"]) for run in shown.data["runs"]} == {0, 1}
    assert {record[0] for run in shown.data["runs"] for record in run["records"]} == {200}


def test_damaged_images_are_said(tmp_path: Path) -> None:
    complete(tmp_path / "sweep")
    write_images(tmp_path / "sweep" / "artifacts", "inverted sketch", "a", kind="fused")
    (tmp_path / "sweep" / "artifacts" / "fused" / "a" / "images.npy").write_bytes(b"")
    shown = report(tmp_path / "sweep")
    assert len(shown.all("img")) == 1
    assert re.search(r"The images in \S+fused/a cannot be shown", shown.said)


def test_artifacts_that_are_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complete(tmp_path / "sweep")
    (tmp_path / "sweep" / "artifacts").rename(tmp_path / "moved")
    assert not report(tmp_path / "sweep").all("img")
    assert len(report(tmp_path / "sweep", "--artifacts", str(tmp_path / "moved")).all("img")) == 1
    capsys.readouterr()
    assert main(["report", str(tmp_path / "sweep"), "--artifacts", str(tmp_path / "none")]) == 1
    assert "There is no folder of artifacts" in capsys.readouterr().err


def test_an_earlier_report_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    complete(tmp_path / "sweep")
    written = write(tmp_path / "sweep")
    assert written.path == tmp_path / "sweep" / "report.html"
    assert write(tmp_path / "sweep").size == written.size
    written.path.write_text("my own notes")
    with pytest.raises(
        ConfigError, match=r"is no report of this program, so it is left as it is\. Choose another --out"
    ):
        write(tmp_path / "sweep")
    assert written.path.read_text() == "my own notes"


def test_places_that_no_file_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complete(tmp_path / "sweep")
    (tmp_path / "file").write_text("")
    for out, said in (
        (tmp_path, "is a folder, not a file. Type: --out"),
        (tmp_path / "file" / "report.html", "is a file, not a folder. Choose another --out."),
        (Path("/proc/here/report.html"), "could not be written"),
    ):
        assert main(["report", str(tmp_path / "sweep"), "--out", str(out)]) == 1
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sweep"]
