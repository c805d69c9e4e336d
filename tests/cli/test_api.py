"""The same from Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dfdgbench
from dfdgbench.api import _recorded_default
from dfdgbench.contract import Contract
from dfdgbench.engine.config import Execution
from dfdgbench.errors import ArtifactError, ConfigError, HparamError

OPTIONS = {
    "dataset": "Debug28",
    "network": "smallcnn",
    "steps": 3,
    "checkpoint_freq": 0,
    "hparams": {"batch_size": 4},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dfdgbench.Run:
    monkeypatch.chdir(tmp_path)
    return dfdgbench.train(output_dir="run", execution=Execution(device="cpu"), **OPTIONS)


def test_train_returns_a_run_with_its_records(run: dfdgbench.Run) -> None:
    assert run.done
    assert run.config.algorithm == "ERM"
    assert [record["step"] for record in run.records] == [2]


def test_a_loaded_run_predicts_as_its_records_say(run: dfdgbench.Run) -> None:
    loaded = dfdgbench.load("run", device="cpu")
    assert loaded.config == run.config
    assert loaded.predict(torch.rand(5, 3, 28, 28)).shape == (5, 2)
    assert loaded.evaluate() == {name: value for name, value in run.records[-1].items() if name.endswith("_acc")}


def test_the_default_folder_is_the_runs_own(run: dfdgbench.Run) -> None:
    other = dfdgbench.train(execution=Execution(device="cpu"), **OPTIONS)
    assert other.folder.path == Path("runs") / other.config.run_id


def test_frame_has_the_runs_records(run: dfdgbench.Run) -> None:
    frame = dfdgbench.frame("run")
    assert set(frame["algorithm"]) == {"ERM"}
    chosen = frame[(frame["env"] == 0) & (frame["split"] == "in")]
    assert chosen["value"].tolist() == [run.records[-1]["env0_in_acc"]]


def test_an_unfinished_run_can_be_loaded_but_does_not_predict(run: dfdgbench.Run) -> None:
    (run.folder.path / "done").unlink()
    loaded = dfdgbench.load("run", device="cpu")
    assert not loaded.done
    with pytest.raises(ConfigError, match="is not done"):
        loaded.predict(torch.rand(1, 3, 28, 28))


@pytest.mark.parametrize("folder", [".", "nowhere"])
def test_no_run_cannot_be_loaded(run: dfdgbench.Run, folder: str) -> None:
    with pytest.raises(ConfigError, match="is no run's folder"):
        dfdgbench.load(folder)


def test_wrong_options_are_errors_that_name_them() -> None:
    with pytest.raises(ConfigError, match="--stepps"):
        dfdgbench.train(stepps=3)
    with pytest.raises(HparamError, match="Did you mean lr"):
        dfdgbench.train(**{**OPTIONS, "hparams": {"lrr": 1}})


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = dfdgbench.trian
    assert set(dfdgbench.__all__) <= {*dir(dfdgbench), "Run", "frame", "load", "train"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import dfdgbench, sys; print({'torch', 'pandas', 'pydantic', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_what_is_written_of_a_finished_run_stays(run: dfdgbench.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.folder.config.read_bytes()
    monkeypatch.setattr("dfdgbench.versions.__version__", "9.9")
    dfdgbench.train(output_dir="run", execution=Execution(device="cpu"), **OPTIONS)
    assert run.folder.config.read_bytes() == before


def test_a_finished_students_weights_are_enough_to_load_it_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its teachers and its images may be gone: nothing is trained again to load, evaluate or predict."""
    contract = Contract("DEKAN", tmp_path)
    contract.planned("made").execute(tmp_path / "run")
    shutil.rmtree(tmp_path / "made" / "artifacts")
    monkeypatch.chdir(tmp_path.parent)
    loaded = dfdgbench.load(tmp_path / "run", device="cpu")
    assert loaded.predict(torch.rand(2, 3, 28, 28)).shape == (2, 2)
    assert loaded.evaluate()["env0_in_acc"] == loaded.records[-1]["env0_in_acc"]
    assert not list((tmp_path / "made").rglob("model.safetensors")), "no teacher was trained again"


def test_an_ensemble_whose_teachers_are_gone_says_where_to_look(tmp_path: Path) -> None:
    contract = Contract("AvgPred", tmp_path)
    contract.planned("made").execute(tmp_path / "run")
    shutil.rmtree(tmp_path / "made" / "artifacts")
    with pytest.raises(ArtifactError, match=r"teacher 1' is not in .* Type --artifacts DIR"):
        dfdgbench.load(tmp_path / "run", device="cpu").predict(torch.rand(2, 3, 28, 28))


def test_a_search_of_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Contract("AvgPred", tmp_path).planned("place", hparams_seed=3)
    assert "AvgPred has no hyper-parameter to search on Debug28: hparams seed 3 is its defaults." in caplog.text
    caplog.clear()
    Contract("ERM", tmp_path).planned("place", hparams_seed=3)
    assert "no hyper-parameter" not in caplog.text


def test_collect_marks_a_method_that_is_an_oracle_itself(tmp_path: Path) -> None:
    from dfdgbench.results.collect import collect

    for name in ("BestTeacher", "AvgPred"):
        Contract(name, tmp_path).planned("place").execute(tmp_path / "runs" / name)
    shown = collect(tmp_path / "runs")
    assert "BestTeacher †" in shown
    last = shown[shown.index("last") :].split("##")[0] if "last" in shown else shown
    assert "AvgPred †" not in last
    assert "the method or the rule looks at more" in shown


def test_an_oracles_choice_is_what_predicts(tmp_path: Path) -> None:
    hparams = {"teacher.steps": 3, "teacher.batch_size": 8}
    options = {"dataset": "Debug28", "network": "smallcnn", "weights": "none", "hparams": hparams, "test_envs": [0]}
    execution = Execution(device="cpu", artifacts=tmp_path / "artifacts")
    run = dfdgbench.train(algorithm="BestTeacher", output_dir=tmp_path / "run", execution=execution, **options)
    record = run.records[-1]
    keys = [key for key in record if key.endswith("_acc")]
    chosen = next(name for name in run.plan.last.domains if all(record[key] == record[f"{key}@{name}"] for key in keys))
    best = max(run.plan.last.domains, key=lambda name: record[f"env0_out_acc@{name}"])
    assert record[f"env0_out_acc@{chosen}"] == record[f"env0_out_acc@{best}"]
    images = torch.rand(6, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    loaded = dfdgbench.load(tmp_path / "run", device="cpu")
    assert next(iter(loaded.predictors)) == chosen
    assert torch.equal(loaded.predict(images), loaded.predictors[chosen](images))


def test_the_default_of_a_record_is_seen_by_its_values() -> None:
    nan = float("nan")
    record = {"env0_in_acc": 0.5, "env1_in_acc": nan, "env0_in_acc@a": 0.4, "env1_in_acc@a": nan}
    record |= {"env0_in_acc@b": 0.5, "env1_in_acc@b": nan}
    assert _recorded_default(record, ["a", "b"]) == "b"
    assert _recorded_default({"env0_in_acc": 0.5}, ["default"]) == "default"
