"""Our runs as DomainBed's folders, read again as the specification describes DomainBed's collector."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from golden_sweep import write_golden_sweep
from result_builders import write_domainbed, write_ours

from dfdgbench.cli.main import main
from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.results.export import export_domainbed
from dfdgbench.results.parity import domainbed_text


def their_records(folder: Path) -> list[dict[str, Any]]:
    """What DomainBed's ``load_records`` returns: the last sign of every line is dropped, whatever it is."""
    found = []
    for name in os.listdir(folder):
        with open(folder / name / "results.jsonl") as file:
            found += [json.loads(line[:-1]) for line in file]
    return found


def their_oracle(records: list[dict[str, Any]], algorithm: str, target: int) -> float:
    """DomainBed's oracle, of one trial and hparams seed: the last step's accuracy on the in split."""
    mine = [r for r in records if r["args"]["algorithm"] == algorithm and r["args"]["test_envs"] == [target]]
    accuracy: float = max(mine, key=lambda r: r["step"])[f"env{target}_in_acc"]
    return accuracy


def ours(folder: Path, accuracy: float, accuracies: dict[str, float] | None = None, **options: Any) -> None:
    config = RunConfig.make(dataset="PACS", test_envs=[0], **options)
    write_ours(folder, config, accuracies or {"env0_in_acc": accuracy, "env0_out_acc": 0.5, "env1_out_acc": 0.5})


def test_variants_have_folders_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours(tmp_path / "runs" / "a", 0.1, network="resnet18")
    ours(tmp_path / "runs" / "b", 0.2, network="resnet50")
    ours(tmp_path / "runs" / "c", 0.3, network="resnet50", hparams={"lr": 0.1})
    ours(tmp_path / "runs" / "d", 0.4, network="resnet50", algorithm="CORAL")
    assert main(["collect", str(tmp_path / "runs"), "--export-domainbed", str(tmp_path / "out")]) == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["resnet18", "resnet50", "resnet50-lr=0.1"]
    for name, algorithm, accuracy in (
        ("resnet18", "ERM", 0.1),
        ("resnet50", "ERM", 0.2),
        ("resnet50", "CORAL", 0.4),
        ("resnet50-lr=0.1", "ERM", 0.3),
    ):
        records = their_records(tmp_path / "out" / name)
        assert their_oracle(records, algorithm, 0) == accuracy
        assert {r["args"]["output_dir"] for r in records if "output_dir" in r["args"]} <= {""}
        assert not {"network", "protocol", "train_envs"} & {key for r in records for key in r["args"]}
    assert f"{tmp_path / 'out' / 'resnet50'}: 2 runs" in capsys.readouterr().out


def test_domainbeds_own_runs_come_back_as_they_were(tmp_path: Path) -> None:
    golden = write_golden_sweep(tmp_path / "golden")
    counts, said = export_domainbed(golden, tmp_path / "out")
    assert (counts, said) == ({"runs": 390}, [])
    before, after = domainbed_text(golden)[0], domainbed_text(tmp_path / "out" / "runs")[0]
    assert after == before


def test_splits_of_other_protocols_get_domainbeds_names(tmp_path: Path) -> None:
    accuracies = {"env0_train_acc": 0.1, "env0_val_acc": 0.2, "env0_test_acc": 0.3}
    accuracies |= {"env1_train_acc": 0.4, "env1_val_acc": 0.5, "env1_test_acc": 0.6, "env1_test_acc@first": 0.7}
    ours(tmp_path / "runs" / "a", 0, accuracies, protocol="official")
    export_domainbed(tmp_path / "runs", tmp_path / "out")
    (made,) = their_records(tmp_path / "out" / "runs")
    scores = {key: value for key, value in made.items() if key.startswith("env")}
    assert scores == {"env0_in_acc": 0.3, "env0_out_acc": 0.2, "env1_in_acc": 0.4, "env1_out_acc": 0.5}


def test_unfinished_runs_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    ours(tmp_path / "runs" / "a", 0.1)
    ours(tmp_path / "runs" / "b", 0.2, trial_seed=1)
    (tmp_path / "runs" / "b" / "done").unlink()
    (tmp_path / "runs" / "b" / "status.json").write_text('{"state": "running"}')
    counts, said = export_domainbed(tmp_path / "runs", tmp_path / "out")
    assert counts == {"runs": 1}
    assert said[-1] == "1 of 2 runs are unfinished: b."
    assert export_domainbed(tmp_path / "runs", tmp_path / "all", include_unfinished=True)[0] == {"runs": 2}
    assert not (tmp_path / "all" / "runs" / "b" / "done").exists()


def test_what_domainbed_will_not_show_is_said(tmp_path: Path) -> None:
    write_ours(tmp_path / "runs" / "a", RunConfig.make(test_envs=[0], train_envs=[1]), {
        f"env{env}_{split}_acc": 0.5 for env in range(4) for split in ("in", "out")})  # fmt: skip
    _, said = export_domainbed(tmp_path / "runs", tmp_path / "out")
    assert "drops the data sets that it does not know: MiniDigits" in said[0]
    assert "ERM: trained on some of the other domains alone" in said[1]


def test_one_run_by_its_own_folder(tmp_path: Path) -> None:
    ours(tmp_path / "one", 0.1)
    assert export_domainbed(tmp_path / "one", tmp_path / "out")[0] == {"runs": 1}
    assert their_oracle(their_records(tmp_path / "out" / "runs"), "ERM", 0) == 0.1


def test_nothing_is_written_over(tmp_path: Path) -> None:
    ours(tmp_path / "runs" / "a", 0.1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        export_domainbed(tmp_path / "runs", tmp_path / "out")
    write_domainbed(tmp_path / "empty" / "a", [])
    with pytest.raises(ConfigError, match="has a result to collect"):
        export_domainbed(tmp_path / "empty", tmp_path / "none")
    assert sorted(os.listdir(tmp_path)) == ["empty", "out", "runs"]


def test_folders_are_called_as_the_runs_are(tmp_path: Path) -> None:
    """Without what all their paths share, and with what sets them apart."""
    for name in ("runs/a", "runs/b"):
        ours(tmp_path / "sweep" / name, 0.1)
    ours(tmp_path / "two" / "left" / "a", 0.1)
    ours(tmp_path / "two" / "right" / "deep" / "a", 0.1, trial_seed=1)
    export_domainbed(tmp_path / "sweep", tmp_path / "out")
    export_domainbed(tmp_path / "two", tmp_path / "again")
    assert sorted(os.listdir(tmp_path / "out" / "runs")) == ["a"]
    assert sorted(os.listdir(tmp_path / "again" / "runs")) == ["left-a", "right-deep-a"]
