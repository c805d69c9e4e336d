"""The size columns of dataset distillation's tables, and its two ERM columns, from records as runs write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from result_builders import finish, plan

from dfdgbench.cli.main import main
from dfdgbench.datasets.base import DATASETS
from dfdgbench.results.blocks import Table
from dfdgbench.results.table import build
from dfdgbench.stages.storage import Storage, average_source_images
from dfdgbench.tables.spec import load

PRINTED = {
    "VLCS": ("0.039", "0.117"),
    "PACS": ("0.058", "0.175"),
    "OfficeHome": ("0.347", "1.042"),
    "TerraIncognita": ("0.034", "0.103"),
}
SIZES = ("ratio", "with labels", "MB")
PSI = 1_684_050
ERM_R18 = 0.25


def storage_of(entry: dict) -> Storage:
    """What the run of an entry keeps: three sets where there is one a domain, the transfer network where images are rendered."""
    config = entry["config"]
    hparams = config["hparams"]
    metadata = DATASETS.get(config["dataset"]).metadata
    sets = 3 if "per-domain" in hparams.values() or hparams.get("style") == "per-style" else 1
    images = hparams.get("ipc", 0) * len(metadata.classes) * sets
    psi = PSI if config["algorithm"] == "DTL-DSM" and hparams.get("transfer", True) else 0
    denominator = average_source_images(metadata.counts, 3, 0.2)
    return Storage(images, 224, denominator, psi, 300 * images * len(metadata.classes))


def filled(name: str, folder: Path) -> Table:
    """The table after one trial of everything; the records hold the account of their storage."""
    spec = load(name)
    for entry in plan(spec, folder, trials=1):
        erm_r18 = (entry["config"]["algorithm"], entry["config"]["network"]) == ("ERM", "resnet18")
        finish(folder, entry, ERM_R18 if erm_r18 else 0.5, setting="distilled")
        path, storage = folder / "runs" / entry["id"] / "results.jsonl", storage_of(entry)
        found = {
            "ratio_paper": storage.ratio_paper,
            "ratio_with_labels": storage.ratio_with_labels,
            "bytes_on_disk": 150_528.0 * storage.images,
        }
        lines = [json.loads(line) | found for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return build(spec, folder)


def columns_of(table: Table) -> dict[str, list[float | None]]:
    """Of every printed column, by its two headings, the value of every line."""
    (block,) = table.blocks
    spans = [title for title, width in block.parts for _ in range(width)]
    names = [f"{span} {column.label}".strip() for span, column in zip(spans, block.columns, strict=True)]
    assert len(set(names)) == len(names)
    return {name: [row.cells[i].mean for row in block.rows] for i, name in enumerate(names)}


def test_the_printed_ratios_stand_in_the_table(tmp_path: Path, capsys) -> None:
    filled("ddfordg-table1", tmp_path)
    assert main(["table", "ddfordg-table1", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for across, per_domain in PRINTED.values():
        assert told.count(across) >= 2, "ours and the published number"
        assert told.count(per_domain) >= 2


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, list[float | None]]]:
    return {
        number: columns_of(filled(f"ddfordg-table{number}", tmp_path_factory.mktemp(f"table{number}")))
        for number in (1, 2, 3, 4)
    }


@pytest.mark.parametrize(
    ("number", "spans"),
    [
        (1, ["DD across domains", "DD per domain", "Ours"]),
        (2, ["Size, across domains", "Size, Ours"]),
        (3, ["Size"]),
    ],
)
def test_every_set_has_the_three_columns_of_the_account(tables, number, spans) -> None:
    for span in spans:
        ratios, labelled, megabytes = (tables[number][f"{span} {size}"] for size in SIZES)
        assert all(a < b for a, b in zip(ratios, labelled, strict=True)), "labels count in the second"
        assert all(value is not None and value > 1 for value in megabytes)


def test_the_accounts_are_the_specs(tables) -> None:
    """Spec, section 8: labels of OfficeHome at 50 images a class are 0.09 of it; the columns of one set agree between tables."""
    first, second, third, fourth = (tables[number] for number in (1, 2, 3, 4))
    office = list(PRINTED).index("OfficeHome")
    across = first["DD across domains ratio"]
    assert first["DD across domains with labels"][office] - across[office] == pytest.approx(0.09, abs=0.001)
    assert first["DD across domains MB"][office] == pytest.approx(489, abs=1)
    assert second["Size, across domains ratio"][1::2] == across == [fourth[f"{name} ratio"][2] for name in PRINTED]
    assert second["Size, Ours ratio"][1::2] == first["Ours ratio"] == third["Size ratio"]
    ours = [first["Ours ratio"][i] for i in range(4)]
    assert [fourth[f"{name} ratio"][3] for name in PRINTED] == [fourth[f"{name} ratio"][4] for name in PRINTED] == ours
    assert [fourth[f"{name} ratio"][0] for name in PRINTED] == first["DD per domain ratio"]
    ten = dict(zip(PRINTED, second["Size, Ours ratio"][0::2], strict=True))
    assert ten["VLCS"] / second["Size, across domains ratio"][0] == pytest.approx(1.895, abs=0.001), "worth 19 images"


def test_erm_is_run_on_both_networks(tables) -> None:
    assert tables[1]["ERM (R-18)"] == [100 * ERM_R18] * 4
    assert tables[1]["ERM"] == [50] * 4
    (row,) = [row for row in load("ddfordg-table1").rows if row.label == "ERM (R-18)"]
    assert row.options == {"network": "resnet18"}
    assert row.hparams == {"freeze_bn": True}, "as the squeeze across domains"
