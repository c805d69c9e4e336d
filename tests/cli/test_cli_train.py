"""``dfdgbench train`` and ``dfdgbench evaluate``: what they print, leave behind and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.engine import records


def test_a_run_prints_its_records_and_where_it_is(train: Callable, tmp_path: Path) -> None:
    ended = train("--output-dir", "run", "--checkpoint-freq", "1")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["0", "1", "2"]
    assert lines[-1] == "The run is in run (results.jsonl, config.json, model.safetensors)."
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left >= {"config.json", "results.jsonl", "model.safetensors", "status.json", "out.txt", "done"}
    assert (tmp_path / "run" / "out.txt").read_text().splitlines() == lines[:3]


def test_the_default_folder_has_the_runs_own_name(train: Callable, tmp_path: Path) -> None:
    assert train("--test-envs", "1").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("ERM-Debug28-env1-t0-h0-")


def test_a_run_that_is_done_is_not_done_again(train: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    before = (tmp_path / "run" / "results.jsonl").read_bytes()
    again = train("--output-dir", "run")
    assert again.code == 0
    assert "run is done already" in again.out
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == before


def test_another_run_in_the_same_folder_is_refused(train: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    refused = train("--output-dir", "run", "--trial-seed", "1")
    assert refused.code == 1
    assert "holds another run: it differs in trial_seed" in refused.err


def test_the_records_name_the_run_as_domainbed_does(train: Callable, tmp_path: Path) -> None:
    train("--test_envs", "0", "2", "--output-dir", "run")
    (record,) = records.read(tmp_path / "run" / "results.jsonl")
    assert record["args"]["test_envs"] == [0, 2]
    assert record["args"]["train_envs"] == [1]
    assert record["hparams"]["batch_size"] == 4
    assert (record["step"], record["args"]["algorithm"], record["args"]["dataset"]) == (2, "ERM", "Debug28")


def test_moving_the_data_does_not_make_another_run(train: Callable) -> None:
    train("--output-dir", "run")
    assert "done already" in train("--output-dir", "run", "--data-dir", "elsewhere").out


def test_skip_model_save_leaves_no_weights(train: Callable, tmp_path: Path) -> None:
    assert "model.safetensors" not in train("--output-dir", "run", "--skip-model-save").out
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_split_smaller_than_a_batch_trains_and_says_so(train: Callable) -> None:
    ended = train("--hparam", "batch_size=64")
    assert ended.code == 0
    assert "13 training images, fewer than the batch size 64" in ended.out


def test_no_out_split(train: Callable, tmp_path: Path) -> None:
    assert train("--holdout-fraction", "0", "--output-dir", "run").code == 0
    (record,) = records.read(tmp_path / "run" / "results.jsonl")
    assert not [name for name in record if "_out_" in name]


def test_teachers_with_frozen_batch_normalisation_can_be_averaged(train: Callable) -> None:
    options = ("--hparam", "teacher.steps=2", "--hparam", "teacher.freeze_bn=true")
    assert train(*options, algorithm="AvgPred").code == 0


# Evaluation -----------------------------------------------------------------------------------------------------------


def test_evaluate_prints_what_the_last_record_says(train: Callable, cli: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    (record,) = records.read(tmp_path / "run" / "results.jsonl")
    shown = cli("evaluate", "run")
    assert shown.code == 0
    found = dict(line.split() for line in shown.out.splitlines()[2:])
    assert found == {name: f"{100 * value:.2f}" for name, value in record.items() if name.endswith("_acc")}


def test_evaluate_on_another_dataset_of_as_many_classes(train: Callable, cli: Callable) -> None:
    train("--output-dir", "run")
    shown = cli("evaluate", "run", "--dataset", "Debug224")
    assert shown.code == 0
    assert "env2_out_acc" in shown.out


def test_evaluate_on_other_classes_is_refused(train: Callable, cli: Callable) -> None:
    train("--output-dir", "run")
    refused = cli("evaluate", "run", "--dataset", "MiniDigits")
    assert refused.code == 1
    assert "tells 2 classes apart, MiniDigits has 10" in refused.err


def test_evaluate_reads_data_from_another_folder(cli: Callable, pacs: Path, tmp_path: Path) -> None:
    size = ("--network", "smallcnn", "--image-size", 32, "--steps", 1, "--hparam", "batch_size=4", "--device", "cpu")
    cli("train", "--dataset", "PACS", "--data-dir", pacs, *size, "--output-dir", "run")
    pacs.rename(tmp_path / "moved")
    refused = cli("evaluate", "run")
    assert refused.code == 1
    assert f"The data folder {pacs} does not exist" in refused.err
    assert cli("evaluate", "run", "--data-dir", tmp_path / "moved").code == 0


def test_only_a_finished_run_can_be_evaluated(train: Callable, cli: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    (tmp_path / "run" / "done").unlink()
    refused = cli("evaluate", "run")
    assert refused.code == 1
    assert "is not done" in refused.err


def test_a_folder_without_a_run_is_no_run(cli: Callable, tmp_path: Path) -> None:
    refused = cli("evaluate", tmp_path)
    assert refused.code == 1
    assert "is no run's folder: it has no config.json" in refused.err


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": 3}', "\xff"])
def test_a_damaged_config_is_told_by_evaluate(train: Callable, cli: Callable, tmp_path: Path, content: str) -> None:
    train("--output-dir", "run")
    (tmp_path / "run" / "config.json").write_text(content, encoding="latin-1")
    refused = cli("evaluate", "run")
    assert refused.code == 1
    assert "config.json" in refused.err
    assert "damaged" in refused.err


def test_a_damaged_config_is_written_anew_by_train(train: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    whole = (tmp_path / "run" / "config.json").read_bytes()
    (tmp_path / "run" / "config.json").write_bytes(whole[:100])
    again = train("--output-dir", "run")
    assert again.code == 0
    assert "warning" in again.out
    assert json.loads((tmp_path / "run" / "config.json").read_bytes()) == json.loads(whole)


def test_a_damaged_model_is_told(train: Callable, cli: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    model = tmp_path / "run" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    refused = cli("evaluate", "run")
    assert refused.code == 1
    assert "model.safetensors" in refused.err


def test_a_missing_model_is_told(train: Callable, cli: Callable) -> None:
    train("--output-dir", "run", "--skip-model-save")
    refused = cli("evaluate", "run")
    assert refused.code == 1
    assert "model.safetensors" in refused.err


def test_a_damaged_status_hides_nothing(train: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    (tmp_path / "run" / "status.json").write_text("{")
    assert "done already" in train("--output-dir", "run").out


def test_a_damaged_snapshot_means_starting_again(train: Callable, tmp_path: Path) -> None:
    train("--output-dir", "run")
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "done").unlink()
    (tmp_path / "run" / "snapshot").write_bytes(b"half of one")
    again = train("--output-dir", "run")
    assert again.code == 0
    assert "damaged. Starting again from the first step" in again.out
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == whole
    assert len(records.read(tmp_path / "run" / "results.jsonl")) == 1


def test_a_damaged_artifact_is_set_aside_and_made_anew(train: Callable, tmp_path: Path) -> None:
    options = ("--hparam", "teacher.steps=2")
    train(*options, "--output-dir", "first", algorithm="AvgPred")
    model = sorted((tmp_path / "artifacts").glob("teacher/*/model.safetensors"))[0]
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = train(*options, "--output-dir", "second", algorithm="AvgPred")
    assert again.code == 0
    assert "warning: The artifact" in again.out
    assert "made anew" in again.out
    assert model.read_bytes() == whole
