"""What a run is, told apart from how and where it is executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfdgbench.engine.config import Execution, RunConfig, record_args
from dfdgbench.errors import ConfigError
from dfdgbench.seeds import seed_hash

# What DomainBed writes under "args".
DOMAINBEDS_ARGS = {
    "algorithm", "checkpoint_freq", "data_dir", "dataset", "holdout_fraction", "hparams", "hparams_seed", "output_dir",
    "save_model_every_checkpoint", "seed", "skip_model_save", "steps", "task", "test_envs", "trial_seed",
    "uda_holdout_fraction",
}  # fmt: skip


def test_the_identity_is_all_but_where_the_data_is() -> None:
    identity = RunConfig().identity()
    later = {"data_path", "val_augment", "transductive", "hparams_trial", "native_size"}
    assert set(identity) == set(RunConfig.model_fields) - {"data_dir"} - later
    assert RunConfig(data_dir="/a").run_id == RunConfig(data_dir="/b").run_id == RunConfig().run_id


CHANGES = [
    {"algorithm": "DEKAN"}, {"dataset": "PACS"}, {"test_envs": [1]}, {"train_envs": [2]}, {"protocol": "official"},
    {"network": "smallcnn"}, {"weights": "none"}, {"image_size": 32}, {"preset": "paper"}, {"hparams": {"lr": 1}},
    {"hparams_seed": 1}, {"hparams_trial": 0}, {"trial_seed": 1}, {"seed": 1}, {"steps": 5}, {"checkpoint_freq": 0},
    {"holdout_fraction": 0.1},
    {"uda_holdout_fraction": 0.5}, {"task": "domain_adaptation"}, {"dtype": "bfloat16"}, {"channels_last": True},
    {"compile": True}, {"transductive": True}, {"data_path": "exact"}, {"val_augment": True},
    {"native_size": True},
]  # fmt: skip


def test_every_other_option_makes_another_run() -> None:
    assert {name for change in CHANGES for name in change} == set(RunConfig.model_fields) - {"data_dir"}
    assert len({RunConfig.make(**change).run_id for change in [{}, *CHANGES]}) == len(CHANGES) + 1


def test_nested_and_dotted_overrides_make_the_same_run() -> None:
    nested = RunConfig(hparams={"inversion": {"lr": 0.1, "steps": 3}, "a": 1})
    dotted = RunConfig(hparams={"a": 1, "inversion.steps": 3, "inversion.lr": 0.1})
    assert nested.run_id == dotted.run_id
    assert nested.variant == dotted.variant == {"a": 1, "inversion.lr": 0.1, "inversion.steps": 3}
    assert RunConfig(preset="paper").variant == {"preset": "paper"}


def test_a_runs_name_stays_the_same_for_ever() -> None:
    """Folders of earlier versions are found by it: where this fails, the format of identities has changed."""
    config = RunConfig(
        algorithm="mine.module:DEKAN", dataset="PACS", test_envs=[3, "photo"], trial_seed=1, hparams_seed=2
    )
    name, digest = config.run_id.rsplit("-", 1)
    assert name == "DEKAN-PACS-env3+photo-t1-h2"
    assert digest == "f7bfcf0f"


def test_a_swept_run_has_domainbeds_seed() -> None:
    assert RunConfig(dataset="PACS", algorithm="ERM", test_envs=[0]).swept().seed == 94828300
    two = RunConfig(dataset="VLCS", algorithm="ERM", test_envs=["0", 1], hparams_seed=1, trial_seed=1).swept()
    assert two.seed == 673138363
    named = RunConfig(dataset="PACS", test_envs=["sketch"]).swept()
    assert named.seed == seed_hash("PACS", "ERM", ["sketch"], 0, 0)  # type: ignore[arg-type]


def test_everything_that_is_wrong_is_told_at_once_by_its_flag() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.make(steps=0, trial_seed=-1, test_envs=[], dtype="float16", stepz=3)
    lines = str(caught.value).split("\n")
    assert [line.split(":")[0] for line in lines] == ["--test-envs", "--trial-seed", "--steps", "--dtype", "--stepz"]
    assert "(given: 0)" in lines[2]


def test_the_args_of_a_record_hold_domainbeds_keys() -> None:
    args = record_args(RunConfig(hparams={"lr": 0.1, "batch_size": 4}), Execution(), Path("OUT"))
    assert set(args) >= DOMAINBEDS_ARGS
    assert args["hparams"] == '{"batch_size": 4, "lr": 0.1}'
    assert args["output_dir"] == "OUT"
    assert json.loads(json.dumps(args)) == args
    assert record_args(RunConfig(), Execution(), Path("OUT"))["hparams"] is None


def test_a_config_comes_back_from_json() -> None:
    config = RunConfig(hparams={"inversion": {"lr": 0.1}}, test_envs=[0, "photo"])
    assert RunConfig.make(**json.loads(json.dumps(config.model_dump()))) == config
