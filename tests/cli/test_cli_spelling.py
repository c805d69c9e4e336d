"""DomainBed's spellings and ours mean the same run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dfdgbench.cli.main import make_parser, with_dashes
from dfdgbench.cli.options import method_options, overrides
from dfdgbench.cli.train import PROBLEM
from dfdgbench.engine.config import RunConfig
from dfdgbench.planning import plan


def config(*arguments: str) -> RunConfig:
    """The run that ``dfdgbench train`` with these arguments is."""
    options = make_parser().parse_args(with_dashes(["train", *arguments]))
    given = {name: getattr(options, name) for name in PROBLEM} | method_options(options)
    return RunConfig.make(**given, hparams=overrides(options))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (["--test_envs", "0", "2"], ["--test-envs", "0", "2"]),
        (["--test_env", "2"], ["--test-envs", "2"]),
        (["--trial_seed=3"], ["--trial-seed", "3"]),
        (["--hparams", '{"lr": 1e-4}'], ["--hparam", "lr=1e-4"]),
        (["--hparams", '{"lr": 1e-4, "batch_size": 8}'], ["--hparam", "batch_size=8", "--hparam", "lr=0.0001"]),
        (["--hparams", '{"data_augmentation": false}'], ["--hparam", "data_augmentation=false"]),
        (["--hparams", '{"data_augmentation": false}'], ["--hparam", "data_augmentation=False"]),
        (["--hparams", '{"inversion": {"lr": 0.1}}'], ["--hparam", "inversion.lr=0.1"]),
        (["--holdout_fraction", "0.5", "--checkpoint_freq", "7"], ["--holdout-fraction=0.5", "--checkpoint-freq=7"]),
    ],
)
def test_both_spellings_are_the_same_run(theirs: Sequence[str], ours: Sequence[str]) -> None:
    assert config(*theirs).run_id == config(*ours).run_id
    assert config(*theirs).run_id != config().run_id


def test_underscores_in_values_stay() -> None:
    assert with_dashes(["--output_dir=a_b", "--algorithm", "KD_x"]) == ["--output-dir=a_b", "--algorithm", "KD_x"]


def test_hparam_comes_on_top_of_hparams() -> None:
    assert config("--hparam", "lr=2", "--hparams", '{"lr": 1, "batch_size": 3}').hparams == {"lr": 2, "batch_size": 3}


def test_false_is_false() -> None:
    planned = plan(config("--dataset", "Debug28", "--network", "smallcnn", "--hparam", "data_augmentation=false"))
    assert planned.hparams.data_augmentation is False


@pytest.mark.parametrize("name", ["sketch", "S", "3"])
def test_domains_have_numbers_names_and_short_names(name: str) -> None:
    options = ("--dataset", "PACS", "--network", "smallcnn", "--test-envs", name)
    planned = plan(config(*options))
    assert planned.problem.targets == (3,)
    assert planned.problem.sources == (0, 1, 2)


def test_train_envs_may_be_named_too() -> None:
    options = ("--dataset", "PACS", "--network", "smallcnn", "--test-envs", "sketch", "--train-envs", "photo")
    assert plan(config(*options)).problem.sources == (2,)
