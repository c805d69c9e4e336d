"""Records, byte for byte as DomainBed writes them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dfdgbench.engine import records

# A line of DomainBed's own: Debug28, ERM, a batch size given, one held-out domain, uda splits.
LINE = (
    r'{"args": {"algorithm": "ERM", "checkpoint_freq": 1, "data_dir": null, "dataset": "Debug28", "holdout_fraction": 0.2, '
    r'"hparams": "{\"batch_size\": 4}", "hparams_seed": 0, "output_dir": "OUT", "save_model_every_checkpoint": false, '
    r'"seed": 0, "skip_model_save": false, "steps": 3, "task": "domain_generalization", "test_envs": [2], "trial_seed": 0, '
    r'"uda_holdout_fraction": 0.5}, "env0_in_acc": 0.6153846153846154, "env0_out_acc": 0.6666666666666666, '
    r'"env0_uda_acc": 0.3333333333333333, "env1_in_acc": 0.6153846153846154, "env1_out_acc": 0.6666666666666666, '
    r'"env2_in_acc": 0.5714285714285714, "env2_out_acc": 0.0, "epoch": 0.0, "hparams": {"batch_size": 4, '
    r'"class_balanced": false, "data_augmentation": true, "dinov2": false, "freeze_bn": false, "lars": false, '
    r'"linear_steps": 500, "lr": 0.001, "nonlinear_classifier": false, "resnet18": false, "resnet50_augmix": true, '
    r'"resnet_dropout": 0.0, "vit": false, "vit_attn_tune": false, "vit_dropout": 0.0, "weight_decay": 0.0}, '
    r'"loss": 0.6519056558609009, "mem_gb": 0.0, "step": 0, "step_time": 0.7927155494689941}'
) + "\n"


def test_a_line_is_domainbeds_whatever_the_order_of_keys() -> None:
    record = json.loads(LINE)
    backwards = dict(reversed(record.items())) | {"hparams": dict(reversed(record["hparams"].items()))}
    assert records.line(backwards) == LINE


def test_numbers_and_texts_are_written_as_domainbed_writes_them() -> None:
    record = {"step": 1, "IRM_penalty": math.nan, "args": {"a": "ä"}, "x": 5e-05, "y": 1.0, "z": -math.inf, "e": (1, 2)}
    assert records.line(record) == (
        '{"IRM_penalty": NaN, "args": {"a": "\\u00e4"}, "e": [1, 2], "step": 1, "x": 5e-05, "y": 1.0, "z": -Infinity}\n'
    )


def test_records_are_appended_and_their_length_told(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert records.append(path, {"step": 0}) == len('{"step": 0}\n')
    assert records.append(path, {"step": 1}) == path.stat().st_size
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


@pytest.mark.parametrize(("length", "left"), [(0, []), (12, [0]), (24, [0, 1]), (99, [0, 1])])
def test_the_file_is_cut_to_what_a_snapshot_knows_of(tmp_path: Path, length: int, left: list[int]) -> None:
    path = tmp_path / "results.jsonl"
    for step in range(2):
        records.append(path, {"step": step})
    records.cut(path, length)
    assert [record["step"] for record in records.read(path)] == left


@pytest.mark.parametrize("torn", ['{"step": 2', '{"step"', '{"step": 2, "x": "abc'])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"step": 0}\n{"step": 1, "x": NaN}\n' + torn)
    found = records.read(path)
    assert [record["step"] for record in found] == [0, 1]
    assert math.isnan(found[1]["x"])


def test_no_file_is_no_record(tmp_path: Path) -> None:
    records.cut(tmp_path / "none", 0)
    assert records.read(tmp_path / "none") == []


def test_all_records_are_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    records.append(path, {"step": 0})
    records.rewrite(path, [{"step": 5, "a": 1}])
    assert path.read_text() == '{"a": 1, "step": 5}\n'
