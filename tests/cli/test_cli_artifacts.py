"""``dfdgbench artifacts``: what is shown, and that nothing in use is ever deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def used(train: Callable, tmp_path: Path) -> Path:
    """A store of four teachers, two of them used by the run in ``kept``."""
    for name, steps in (("kept", 2), ("forgotten", 3)):
        made = train("--hparam", f"teacher.steps={steps}", "--output-dir", f"{name}/run", algorithm="AvgPred")
        assert made.code == 0
    return tmp_path / "artifacts"


def test_ls_has_a_row_an_artifact_and_du_one_a_kind(cli: Callable, used: Path) -> None:
    assert cli("artifacts", "ls").out.count("teacher") == 4
    shown = cli("artifacts", "du").out.split()
    assert shown[shown.index("teacher") + 1] == "4"


def test_the_folder_may_be_elsewhere(cli: Callable, used: Path, tmp_path: Path) -> None:
    used.rename(tmp_path / "elsewhere")
    assert cli("artifacts", "ls", "--artifacts", "elsewhere").out.count("teacher") == 4


def test_gc_shows_and_deletes_nothing_without_yes(cli: Callable, used: Path) -> None:
    shown = cli("artifacts", "gc", "--runs", "kept")
    assert shown.out.count("teacher/") == 2
    assert "--yes" in shown.out
    assert len(list(used.glob("teacher/*"))) == 4


def test_gc_keeps_what_runs_use(cli: Callable, train: Callable, used: Path) -> None:
    assert "Deleted 2 folders" in cli("artifacts", "gc", "--runs", "kept", "--yes").out
    assert len(list(used.glob("teacher/*"))) == 2
    assert "nothing to delete" in cli("artifacts", "gc", "--runs", "kept", "--yes").out
    again = train("--hparam", "teacher.steps=2", "--output-dir", "again", algorithm="AvgPred")
    assert again.code == 0
    assert "made in" not in again.out


def test_gc_removes_leftovers_of_killed_and_damaged_stages(cli: Callable, used: Path) -> None:
    for name in (".work", ".damaged"):
        (used / name / "teacher" / "left").mkdir(parents=True)
    assert cli("artifacts", "gc", "--runs", "kept", "forgotten", "--yes").code == 0
    assert not list(used.glob(".*/teacher/left"))
    assert len(list(used.glob("teacher/*"))) == 4


@pytest.mark.parametrize("runs", [["nowhere"], ["kept", "nowhere"]])
def test_gc_refuses_a_missing_folder_of_runs(cli: Callable, used: Path, runs: list[str]) -> None:
    refused = cli("artifacts", "gc", "--runs", *runs, "--yes")
    assert refused.code == 1
    assert "There is no folder nowhere" in refused.err
    assert len(list(used.glob("teacher/*"))) == 4


@pytest.mark.parametrize("words", [["ls"], ["du"], ["gc", "--runs", "."]], ids=" ".join)
def test_a_missing_store_is_told(cli: Callable, words: list[str]) -> None:
    refused = cli("artifacts", *words)
    assert refused.code == 1
    assert "There is no folder of artifacts at artifacts" in refused.err


def test_an_empty_store(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    assert "no artifact yet" in cli("artifacts", "ls").out
    assert "no artifact yet" in cli("artifacts", "du").out


def test_du_counts_inodes(cli: Callable, used: Path) -> None:
    rows = {line.split()[0]: line.split() for line in cli("artifacts", "du").out.splitlines()[2:]}
    inside = [path for folder in used.glob("teacher/*") for path in [folder, *folder.rglob("*")]]
    assert int(rows["teacher"][-1]) == len(inside)
    (used / ".damaged" / "teacher" / "left").mkdir(parents=True)
    again = {line.split()[0]: line.split() for line in cli("artifacts", "du").out.splitlines()[2:]}
    assert int(again[".damaged"][-1]) == 3
    assert int(again["all"][-1]) == int(rows["all"][-1]) + 3


# Export ---------------------------------------------------------------------------------------------------------------


def test_export_copies_what_the_runs_name(cli: Callable, train: Callable, used: Path, tmp_path: Path) -> None:
    assert "Copied 2 artifacts" in cli("artifacts", "export", "kept", "other").out
    other = tmp_path / "other"
    assert len(list(other.glob("teacher/*"))) == 2
    assert not list(other.glob(".*"))
    assert "Copied 0 artifacts (0 B) to other; 2 were there already." in cli("artifacts", "export", "kept", "other").out
    used.rename(tmp_path / "gone")
    again = train("--hparam", "teacher.steps=2", "--output-dir", "again", "--artifacts", "other", algorithm="AvgPred")
    assert (again.code, "made in" in again.out) == (0, False)


def test_a_damaged_artifact_is_not_exported(cli: Callable, used: Path, tmp_path: Path) -> None:
    kept = cli("artifacts", "gc", "--runs", "kept", "--yes") and sorted(used.glob("teacher/*"))
    facts = kept[0] / "facts.json"
    facts.write_text(facts.read_text() + " ")
    shown = cli("artifacts", "export", "kept", "other")
    assert shown.code == 1
    assert "Copied 1 artifact" in shown.out
    assert "facts.json has" in shown.err
    assert [path.name for path in (tmp_path / "other" / "teacher").iterdir()] == [kept[1].name]


def test_an_export_that_makes_no_sense(cli: Callable, used: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, told in (
        (("kept", "artifacts"), "is the folder of artifacts itself"),
        (("nowhere", "other"), "There is no folder nowhere"),
        (("empty", "other"), "No run below empty has begun"),
        (("kept", "other", "--artifacts", "empty"), "empty holds none of what these runs name"),
    ):
        refused = cli("artifacts", "export", *words)
        assert refused.code == 1
        assert told in refused.err + refused.out
    assert not (tmp_path / "other").exists()
