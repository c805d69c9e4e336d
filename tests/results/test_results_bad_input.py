"""`collect` on what is no sweep, half of one, or full of rubbish: one clear message each, and what can be shown is shown."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from result_builders import TARGET as T
from result_builders import record, write_domainbed

from dfdgbench.cli.main import main
from dfdgbench.results import lines, reading
from dfdgbench.results.lines import LONGEST, read_lines

Shown = Callable[[Path], tuple[int, str, str]]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    def run(folder: Path) -> tuple[int, str, str]:
        code = main(["collect", str(folder)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, printed.out, printed.err

    return run


def good(folder: Path, seed: int = 0) -> Path:
    return write_domainbed(folder, [record(0, seed, (0.5, 0.2, T), (0.1, 0.3))])


def test_no_folder_an_empty_one_a_file_and_one_without_runs(tmp_path: Path, shown: Shown) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    for name, said in (
        ("nowhere", "There is no folder"),
        ("file", "it is a file"),
        ("empty", "No run was found"),
        ("photos", "No run was found"),
    ):
        code, out, err = shown(tmp_path / name)
        assert (code, out) == (1, "")
        assert said in err
        assert name in err


def test_one_run(tmp_path: Path, shown: Shown) -> None:
    code, out, _ = shown(good(tmp_path / "a"))
    assert code == 0
    assert "50.0" in out.split("training-domain")[1]


def rubbish(folder: Path, text: str) -> None:
    with open(folder / "results.jsonl", "a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n{}\n[1, 2]\n", "3 torn or foreign lines left out"),
        ('{"step": 5, "args": {"dat', "1 torn or foreign line left out"),
        ("[" * 100_000 + "\n", "1 torn or foreign line left out"),
        ('{"a": 1\n"b": 2}\n', "2 torn or foreign lines left out"),
        (json.dumps({**record(1, 0, (1, 1, T)), "step": True}) + "\n", "1 torn or foreign line left out"),
        (json.dumps({**record(1, 0, (1, 1, T)), "step": 10**30}) + "\n", "1 torn or foreign line left out"),
    ],
)
def test_lines_that_are_no_record(tmp_path: Path, shown: Shown, text: str, said: str) -> None:
    rubbish(good(tmp_path / "a"), text)
    code, out, _ = shown(tmp_path)
    assert code == 0
    assert f"- a: {said}." in out
    assert "Total records: 1\n" in out
    assert "50.0" in out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("test_envs", "0", "with test_envs '0', which is no list of domains' numbers"),
        ("test_envs", [], "with test_envs [], which is no list of domains' numbers"),
        ("test_envs", [-1], "with test_envs [-1], which is no list of domains' numbers"),
        ("trial_seed", "x", "with trial_seed 'x', which is no seed"),
        ("train_envs", [0.5], "with train_envs [0.5], which is no list of domains' numbers"),
        ("protocol", "offical", "of the unknown protocol 'offical' (known: domainbed, official, "),
        ("setting", "magic", "of the unknown setting 'magic'"),
        ("protocol", ["official"], "of the unknown protocol ['official']"),
        ("dataset", 5, "with dataset 5, which is no name"),
    ],
)
def test_args_that_are_no_runs(tmp_path: Path, shown: Shown, name: str, value: object, said: str) -> None:
    good(tmp_path / "a")
    odd = record(0, 1, (0.9, 0.9, T), (0.9, 0.9))
    odd["args"][name] = value
    write_domainbed(tmp_path / "b", [odd])
    code, out, _ = shown(tmp_path)
    assert code == 0
    assert f"- b: 1 record {said}" in out
    assert "50.0" in out


def test_records_of_another_data_set_in_a_runs_file(tmp_path: Path, shown: Shown) -> None:
    folder = good(tmp_path / "a")
    other = record(7, 0, (0.9, 0.9, T), (0.9, 0.9))
    other["args"]["dataset"] = "VLCS"
    rubbish(folder, json.dumps(other) + "\n")
    _, out, _ = shown(tmp_path)
    assert "- a: 1 record of another run (ERM on VLCS, held out 0) left out." in out
    assert "Dataset: VLCS" not in out


def test_runs_of_two_data_sets_have_a_table_each(tmp_path: Path, shown: Shown) -> None:
    good(tmp_path / "a")
    other = record(7, 0, (0.9, 0.9, T), (0.9, 0.9))
    other["args"]["dataset"] = "Mine"
    write_domainbed(tmp_path / "b", [other])
    _, out, _ = shown(tmp_path)
    assert "### Dataset: PACS" in out
    assert "### Dataset: Mine" in out


def test_nan_and_infinite_accuracies(tmp_path: Path, shown: Shown) -> None:
    nan, inf = float("nan"), float("inf")
    good(tmp_path / "a")
    write_domainbed(tmp_path / "b", [record(0, 1, (0.9, 0.9, T), (0.9, inf))])
    write_domainbed(tmp_path / "c", [record(0, 2, (nan, 0.9, T), (0.9, 0.1))])
    code, out, _ = shown(tmp_path)
    assert code == 0
    assert "- b: infinite accuracies count as NaN." in out
    assert "- c: the held-out domain was not evaluated" in out
    table = out.split("training-domain validation set")[1].split("##")[1]
    assert "50.0" in table


def test_a_run_that_is_there_many_times(tmp_path: Path, shown: Shown) -> None:
    for number in range(8):
        good(tmp_path / f"run{number}")
    _, out, _ = shown(tmp_path)
    assert "- 7 runs are left out, each the same method, problem and seeds as another: run1 (as run0)," in out
    assert "Total records: 8" in out


def test_a_half_copied_sweep(tmp_path: Path, shown: Shown) -> None:
    """Two of three runs have come over, one of them without all of its records."""
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": [{"id": "a"}, {"id": "b"}, {"id": "c"}, "rubbish"]}))
    good(tmp_path / "runs" / "a")
    (write_domainbed(tmp_path / "runs" / "b", []) / "results.jsonl").unlink()
    code, out, _ = shown(tmp_path)
    assert code == 0
    assert "- 1 of 3 runs are unfinished: runs/c." in out
    assert "- runs/b: is done and has no record." in out
    assert "50.0" in out


def test_a_damaged_description_of_the_sweep(tmp_path: Path, shown: Shown) -> None:
    (tmp_path / "sweep.json").write_text('{"runs": 5}')
    good(tmp_path / "runs" / "a")
    assert shown(tmp_path)[0] == 0


def test_a_huge_line(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 2**20)
    folder = good(tmp_path / "a")
    rubbish(folder, '{"x": "' + "y" * (5 * 2**20) + '"}\n')
    rubbish(folder, json.dumps(record(1, 0, (0.7, 0.2, T), (0.1, 0.9))) + "\n")
    code, out, _ = shown(tmp_path)
    assert code == 0
    assert "- a: a line of 5 MiB left out: no record is that long." in out
    assert "70.0" in out


def test_a_huge_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"step": 1}\n')
        file.write(b"x" * (LONGEST * 3))
    found = read_lines(path)
    assert (found.records, found.torn) == ([{"step": 1}], 0)
    assert found.longest == LONGEST * 3


def test_results_that_are_a_folder_or_cannot_be_read(
    tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(tmp_path / "a")
    folder = good(tmp_path / "b", 1)
    (folder / "results.jsonl").unlink()
    (folder / "results.jsonl").mkdir()
    good(tmp_path / "c", 2)
    read = reading.read_lines

    def refused(path: str) -> lines.Lines:
        if "/c/" in path:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(reading, "read_lines", refused)
    code, out, _ = shown(tmp_path)
    assert code == 0
    assert "- b: results.jsonl cannot be read (Is a directory)." in out
    assert "- c: results.jsonl cannot be read (Permission denied)." in out
    assert "50.0" in out


def test_nothing_but_rubbish_says_why(tmp_path: Path, shown: Shown) -> None:
    folder = write_domainbed(tmp_path / "a", [])
    rubbish(folder, "hello\n")
    code, _, err = shown(tmp_path)
    assert code == 1
    assert "None of the 1 runs in" in err
    assert "a: 1 torn or foreign line left out." in err


def test_what_the_first_line_says_of_all_is_not_taken_from_inside_others(tmp_path: Path) -> None:
    """args inside hparams, args in texts, two runs in one file: what is read is what json.loads reads of each line."""
    first = {"args": {"a": 1}, "hparams": {"args": {"a": 1}}, "step": 0}
    written = [
        first,
        {"args": {"a": 1}, "hparams": {"args": {"a": 1}}, "step": 1, "x": '"args": {"a": 1}'},
        {"args": {"a": 2}, "hparams": {"args": {"a": 1}}, "step": 2},
        {"IB_penalty": 1.0, "args": {"a": 1}, "hparams": {}, "step": 3, "y": float("nan")},
        {"args": "=", "step": 4},
    ]
    for order in (written, written[::-1], written[3:], written[:3]):
        path = tmp_path / "results.jsonl"
        path.write_text("".join(json.dumps(found) + "\r\n" for found in order) + "\n \n")
        assert json.dumps(read_lines(path).records) == json.dumps(order)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    good(tmp_path / "a")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refused(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    code, out, _ = shown(tmp_path)
    monkeypatch.undo()
    assert code == 0
    assert "closed cannot be read (Permission denied); what is in it is left out." in out
    shutil.rmtree(tmp_path / "closed")
