"""The size columns of dataset distillation's Table 1, from records as runs write them."""

from __future__ import annotations

import json
from pathlib import Path

from result_builders import finish, plan

from dfdgbench.cli.main import main
from dfdgbench.datasets.base import DATASETS
from dfdgbench.stages.storage import Storage, average_source_images
from dfdgbench.tables.spec import load

PRINTED = {
    "VLCS": ("0.039", "0.117"),
    "PACS": ("0.058", "0.175"),
    "OfficeHome": ("0.347", "1.042"),
    "TerraIncognita": ("0.034", "0.103"),
}


def test_the_printed_ratios_stand_in_the_table(tmp_path: Path, capsys) -> None:
    spec = load("ddfordg-table1")
    for entry in plan(spec, tmp_path, trials=1):
        config = entry["config"]
        metadata = DATASETS.get(config["dataset"]).metadata
        per_domain = config["hparams"].get("approach") == "per-domain"
        finish(tmp_path, entry, 0.5, setting="distilled")
        path = tmp_path / "runs" / entry["id"] / "results.jsonl"
        images = 50 * len(metadata.classes) * (3 if per_domain else 1)
        storage = Storage(images, 224, average_source_images(metadata.counts, 3, 0.2))
        lines = [json.loads(line) | {"ratio_paper": storage.ratio_paper} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["table", "ddfordg-table1", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for across, per_domain in PRINTED.values():
        assert told.count(across) >= 2, "ours and the published number"
        assert told.count(per_domain) >= 2
