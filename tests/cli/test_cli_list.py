"""``dfdgbench list`` and ``dfdgbench data status``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.catalogue import KINDS
from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.get.transfer import address

SHOWN = {
    "algorithms": "DEKAN",
    "datasets": "MiniDigits",
    "networks": "smallcnn",
    "launchers": "local",
    "rules": "last",
    "settings": "data-free",
    "tables": "quickstart",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_shown_for_persons_and_programs(cli: Callable, kind: str) -> None:
    table, rows = cli("list", kind), cli("list", kind, "--json")
    assert (table.code, rows.code) == (0, 0)
    assert SHOWN[kind] in table.out
    names = [row["name"] for row in json.loads(rows.out)]
    assert any(name.startswith(SHOWN[kind]) for name in names)
    assert all(name in table.out for name in names)


@pytest.mark.parametrize("kind", ["algorithms", "datasets", "networks", "launchers", "rules", "tables"])
def test_everything_says_what_it_is(cli: Callable, kind: str) -> None:
    assert [row["name"] for row in json.loads(cli("list", kind, "--json").out) if not row["what"]] == []


def test_datasets_have_a_task_protocols_and_a_licence(cli: Callable) -> None:
    (row,) = [row for row in json.loads(cli("list", "datasets", "--json").out) if row["name"] == "PACS"]
    del row["what"]
    assert row == {
        "name": "PACS",
        "task": "classification",
        "domains": "art_painting, cartoon, photo, sketch",
        "classes": "7",
        "images": "9,991",
        "size": "224x224",
        "protocols": "domainbed, official",
        "licence": "not stated; research use",
    }
    shown = cli("list", "datasets").out
    assert shown.splitlines()[0].split() == [*row]
    assert max(map(len, shown.splitlines())) < 160
    assert "Or folder:PATH for images of your own in PATH/DOMAIN/CLASS/IMAGE." in shown


@pytest.mark.parametrize("name", DATASETS.names())
def test_one_dataset_in_full(cli: Callable, name: str) -> None:
    metadata = DATASETS.get(name).metadata
    shown = cli("list", "datasets", name)
    text = " ".join(shown.out.split())
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"{name}: {metadata.description}\n")
    for each in (*metadata.domains, *metadata.labels, *metadata.classes, *metadata.protocols, metadata.homepage):
        assert each in text
    for each in (metadata.citation, metadata.layout, metadata.manual):
        assert "".join(each.split()) in "".join(shown.out.split())
    for count in metadata.counts or ():
        assert f"{count:,}" in text
    for source in metadata.sources:
        assert source.file in text
        assert source.sha256 in text
        assert all(address(url) in text for url in source.urls)
    assert (f"dfdgbench data download {name} " in text) == bool(metadata.sources)


def test_one_dataset_for_programs(cli: Callable) -> None:
    content = json.loads(cli("list", "datasets", "PACS", "--json").out)
    assert content == DATASETS.get("PACS").metadata.model_dump(mode="json")


def test_a_tree_of_ones_own_in_full(cli: Callable, tmp_path: Path) -> None:
    for domain, classes in (("ink", ("cat", "dog")), ("oil", ("cat", "dog", "emu"))):
        for name in classes:
            (tmp_path / "tree" / domain / name).mkdir(parents=True)
            (tmp_path / "tree" / domain / name / "1.png").write_bytes(b"")
    text = cli("list", "datasets", "folder:tree").out
    assert "2 domains of 3 classes" in text
    assert "The domain 'ink' has no image of 1 of the 3 classes: emu." in text
    assert "Nothing is to be got" in text


def test_a_name_that_goes_with_nothing_is_told(cli: Callable) -> None:
    shown = cli("list", "networks", "resnet18")
    assert shown.code == 1
    assert "`list networks` takes no name; 'resnet18' was given" in shown.err
    assert "Did you mean PACS?" in cli("list", "datasets", "PACSS").err


def test_hparams_have_defaults_searches_and_meanings(cli: Callable) -> None:
    rows = {row["name"]: row for row in json.loads(cli("list", "hparams", "ERM", "--json").out)}
    assert rows["lr"]["default"] == "5e-05 (small images: 0.001)"
    assert rows["lr"]["search"] == "10^U(-5, -3.5)"
    assert all(row["what"] for row in rows.values())


def test_dotted_hparams_of_a_pipeline(cli: Callable) -> None:
    assert "inversion.epsilon" in cli("list", "hparams", "DEKAN").out


def test_presets(cli: Callable) -> None:
    assert "paper-literal" in cli("list", "presets", "DEKAN").out
    assert "ERM has no presets" in cli("list", "presets", "ERM").out


def test_the_second_list_reads_the_cache_and_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from dfdgbench.cli.main import main; main(['list', 'algorithms']);"
        "sys.stderr.write(str('torch' in sys.modules))"
    )
    environment = {**os.environ, "DFDGBENCH_CACHE": str(tmp_path)}
    ended = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [each.stderr for each in ended] == ["True", "False"]
    assert ended[0].stdout == ended[1].stdout


def test_a_damaged_cache_is_made_anew(cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFDGBENCH_CACHE", str(tmp_path / "cache"))
    first = cli("list", "algorithms")
    (kept,) = (tmp_path / "cache").rglob("catalogue-*.json")
    kept.write_text("{")
    assert cli("list", "algorithms") == first


def test_a_cache_that_cannot_be_written_is_no_error(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DFDGBENCH_CACHE", str(tmp_path / "file"))
    assert cli("list", "tables").code == 0


def test_data_status_without_a_folder(cli: Callable) -> None:
    shown = cli("data", "status")
    assert shown.code == 0
    assert "embedded" in shown.out
    assert "missing" in shown.out


def test_data_status_of_one_dataset_that_is_not_there(cli: Callable, tmp_path: Path) -> None:
    shown = cli("data", "status", "PACS", "--data-dir", tmp_path)
    assert shown.code == 1
    assert shown.out.splitlines()[2].split()[:7] == ["PACS", "all", "4", "missing", "-", "9,991", "download"]


def test_data_status_of_a_whole_and_of_a_damaged_dataset(cli: Callable, pacs: Path) -> None:
    whole = cli("data", "status", "PACS", "MiniDigits", "--data-dir", pacs)
    assert (whole.code, whole.out.count(" ok ")) == (0, 4)
    (pacs / "PACS" / "sketch" / "dog" / "0.png").unlink()
    damaged = cli("data", "status", "PACS", "--data-dir", pacs)
    assert damaged.code == 1
    assert "13 images instead of 14" in damaged.out


def test_data_status_of_a_dataset_of_arrays_of_which_some_is_there(cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "SVHN").mkdir()
    for part in ("train", "test"):
        (tmp_path / "SVHN" / f"{part}_32x32.mat").write_bytes(b"<html>")
    whole, named = (cli("data", "status", *name, "--data-dir", tmp_path) for name in ((), ("Digits",)))
    assert (whole.code, named.code) == (0, 1)
    for shown in (whole, named):
        rows = [line.split() for line in shown.out.splitlines() if line.startswith("Digits ")]
        assert [row[1:6] for row in rows] == [
            ["MNIST", "missing", "-", "70,000", "download"],
            ["MNIST-M", "missing", "-", "68,002", "download"],
            ["SVHN", "wrong", "-", "99,289", "download"],
            ["USPS", "missing", "-", "9,298", "download"],
        ]
        assert "train_32x32.mat cannot be read as SVHN's MATLAB file" in " ".join(shown.out.split())
