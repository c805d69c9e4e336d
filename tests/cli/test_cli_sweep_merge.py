"""``dfdgbench sweep merge``, and sweeps whose folders were moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sweep import TABLE

from dfdgbench.leases import Lease
from dfdgbench.sweeps import merging
from dfdgbench.sweeps.folder import SweepFolder


@pytest.fixture
def launch(cli: Callable, tmp_path: Path) -> Callable:
    """Launches some runs of the tiny table into a folder; returns it."""
    (tmp_path / "tiny.yaml").write_text(TABLE)

    def call(name: str, *arguments: object) -> Path:
        more = ("--device", "cpu", "--launcher", "debug", "--output-dir", name)
        assert cli("sweep", "launch", "tiny.yaml", *more, *arguments).code == 0
        return tmp_path / name

    return call


@pytest.fixture
def two(launch: Callable) -> tuple[Path, Path]:
    """One sweep with trial 0 of both rows, another with both trials of ERM."""
    return launch("mine", "--trials", 1), launch("theirs", "--algorithms", "ERM")


def runs_in(sweep: Path) -> list[str]:
    return sorted(path.name for path in (sweep / "runs").iterdir())


def of(sweep: Path, beginning: str) -> Path:
    """The folder of the run whose id begins so."""
    (found,) = (sweep / "runs").glob(f"{beginning}*")
    return found


def contents(sweep: Path) -> dict[str, bytes]:
    return {str(path.relative_to(sweep)): path.read_bytes() for path in sweep.rglob("*") if path.is_file()}


@pytest.mark.parametrize("move", [False, True])
def test_overlapping_sweeps_become_one(cli: Callable, two: tuple[Path, Path], move: bool) -> None:
    mine, theirs = two
    before, there = contents(mine), contents(theirs)
    new = of(theirs, "ERM-Debug28-env0-t1")
    merged = cli("sweep", "merge", "mine", "theirs", *(["--move"] if move else []))
    assert (merged.code, merged.err) == (0, "")
    assert f"1 run {'moved' if move else 'copied'}, 0 unfinished ones replaced, 1 there already." in merged.out
    assert len(runs_in(mine)) == 3
    after = contents(mine)
    assert {name: after[name] for name in before if name != "sweep.json"} == {
        name: content for name, content in before.items() if name != "sweep.json"
    }
    prefix = f"runs/{new.name}/"
    assert {name for name in after if name.startswith(prefix)} == {name for name in there if name.startswith(prefix)}
    if move:
        assert runs_in(theirs) == []
    else:
        assert contents(theirs) == there
    assert cli("sweep", "status", "mine").out.splitlines()[-1] == "3 runs: 3 done"
    assert "0 unfinished ones replaced" in cli("sweep", "merge", "mine", "theirs").out
    assert len(SweepFolder(mine).runs()) == 3
    assert "4 of 4 runs are done" in cli(
        "sweep", "launch", "tiny.yaml", "--device", "cpu", "--launcher", "debug", "--output-dir", "mine"
    ).out  # fmt: skip


def test_the_one_that_is_done_stays(cli: Callable, two: tuple[Path, Path]) -> None:
    mine, theirs = two
    ours, other = of(mine, "ERM-Debug28-env0-t0"), of(theirs, "ERM-Debug28-env0-t0")
    (ours / "done").unlink()
    (ours / "status.json").write_text('{"state": "stopped"}')
    assert "1 unfinished ones replaced" in cli("sweep", "merge", "mine", "theirs").out
    assert (ours / "done").exists()
    assert (ours / "results.jsonl").read_bytes() == (other / "results.jsonl").read_bytes()
    (other / "done").unlink()
    (other / "results.jsonl").unlink()
    kept = (ours / "results.jsonl").read_bytes()
    cli("sweep", "merge", "mine", "theirs", "--move")
    assert (ours / "results.jsonl").read_bytes() == kept


def test_results_that_differ_are_told_and_kept(cli: Callable, two: tuple[Path, Path]) -> None:
    mine, theirs = two
    other = of(theirs, "ERM-Debug28-env0-t0")
    records = [json.loads(line) for line in (other / "results.jsonl").read_text().splitlines()]
    records[-1]["env0_out_acc"] = 0.123
    (other / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    merged = cli("sweep", "merge", "mine", "theirs", "--move")
    assert f"Done in both with other results, ours kept and theirs left where it is: {other.name}" in merged.out
    assert other.exists()
    assert "0.123" not in (of(mine, "ERM-Debug28-env0-t0") / "results.jsonl").read_text()


def test_another_run_under_the_same_name_is_refused(cli: Callable, two: tuple[Path, Path]) -> None:
    mine, theirs = two
    file = of(theirs, "ERM-Debug28-env0-t0") / "config.json"
    config = json.loads(file.read_text())
    config["run"]["steps"] = 99
    file.write_text(json.dumps(config))
    before = contents(mine), contents(theirs)
    refused = cli("sweep", "merge", "mine", "theirs", "--move")
    assert refused.code == 1
    assert "hold different runs: they differ in steps. Nothing was merged." in refused.err
    assert (contents(mine), contents(theirs)) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("name: tiny", "name: other"), "holds the sweep 'other', mine the sweep 'tiny'"),
        (("label: Mean, algorithm: AvgPred", "label: Mean, algorithm: HighestConf"), "different runs by the rows Mean"),
        (("label: Mean", "label: Average"), "The table of mine lacks Average"),
    ],
)
def test_sweeps_of_other_tables_are_refused(
    cli: Callable, launch: Callable, tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    mine = launch("mine", "--trials", 1, "--algorithms", "ERM")
    (tmp_path / "other.yaml").write_text(TABLE.replace(*change))
    more = ("--device", "cpu", "--launcher", "debug", "--trials", 1, "--algorithms", "ERM", "--output-dir", "theirs")
    assert cli("sweep", "launch", "other.yaml", *more).code == 0
    before = contents(mine)
    refused = cli("sweep", "merge", "mine", "theirs")
    assert refused.code == 1
    assert told in refused.err
    assert contents(mine) == before


def test_runs_that_are_under_way_are_refused(cli: Callable, two: tuple[Path, Path]) -> None:
    mine, theirs = two
    with Lease(of(theirs, "ERM-Debug28-env0-t1") / "lease").waiting():
        refused = cli("sweep", "merge", "mine", "theirs", "--move")
        assert (refused.code, "1 run of theirs is under way" in refused.err) == (1, True)
    assert len(runs_in(mine)) == 2
    ours = of(mine, "ERM-Debug28-env0-t0")
    (ours / "done").unlink()
    with Lease(ours / "lease").waiting():
        refused = cli("sweep", "merge", "mine", "theirs")
        assert (refused.code, "is under way and is done in" in refused.err) == (1, True)
    assert not (ours / "done").exists()


@pytest.mark.parametrize("words", [("mine", "mine"), ("mine", "nowhere"), ("nowhere", "mine")])
def test_folders_that_cannot_be_merged(cli: Callable, launch: Callable, words: tuple[str, str]) -> None:
    mine = launch("mine", "--trials", 1, "--algorithms", "ERM")
    before = contents(mine)
    refused = cli("sweep", "merge", *words, "--move")
    assert refused.code == 1
    assert "same folder" in refused.err or "no sweep's folder" in refused.err
    assert contents(mine) == before


def test_a_copy_that_fails_leaves_both_whole(
    cli: Callable, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = two
    ours = of(mine, "ERM-Debug28-env0-t0")
    (ours / "done").unlink()

    def full(source: Path, target: Path, **_: object) -> None:
        Path(target).mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging.shutil, "copytree", full)
    refused = cli("sweep", "merge", "mine", "theirs")
    assert (refused.code, "No space left" in refused.err) == (1, True)
    assert (ours / "results.jsonl").exists()
    assert runs_in(mine) == sorted(run.run_id for run in SweepFolder(mine).runs() if run.config.trial_seed == 0)


def test_a_moved_sweep_is_read_where_it_is(cli: Callable, two: tuple[Path, Path], tmp_path: Path) -> None:
    mine, theirs = two
    shutil.rmtree(theirs)
    words = (("sweep", "status"), ("table", "tiny.yaml"), ("collect",))
    before = [cli(*command, "mine").out for command in words]
    (tmp_path / "far" / "away").mkdir(parents=True)
    mine.rename(tmp_path / "far" / "away" / "sweep")
    (tmp_path / "artifacts").rename(tmp_path / "gone")
    after = [cli(*command, "far/away/sweep") for command in words]
    assert [shown.code for shown in after] == [0, 0, 0]
    assert [shown.out.replace("far/away/sweep", "mine") for shown in after] == before
