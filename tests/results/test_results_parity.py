"""DomainBed's own text, to the byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from golden_sweep import write_golden_sweep
from result_builders import TARGET as T
from result_builders import record, write_domainbed, write_ours

from dfdgbench.cli.main import main
from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.results.parity import domainbed_text

NAN = float("nan")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_golden_sweep(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize(
    ("format", "size", "md5"),
    [([], 5777, "b104c3cb7664f49499ec1b300abe0b5f"), (["--format", "latex"], 7029, "f79ee1adf6d652d7119cab372596a713")],
)
def test_the_golden_sweep(
    golden: Path, capsys: pytest.CaptureFixture[str], format: list[str], size: int, md5: str
) -> None:
    """Size and digest of what DomainBed's collector (b93c22a) printed."""
    assert main(["collect", str(golden), "--domainbed-parity", *format]) == 0
    printed = capsys.readouterr().out.encode()
    assert (len(printed), hashlib.md5(printed).hexdigest()) == (size, md5)


def cells(folder: Path, rule: str) -> list[str]:
    """The one row of PACS by ``rule``, in domain A."""
    text, _ = domainbed_text(folder)
    table = text.split(f"Dataset: PACS, model selection method: {rule}")[1].splitlines()
    return [field.strip() for field in (table[2][i : i + 20] for i in range(0, len(table[2]) - 2, 22))]


IID, ORACLE = "training-domain validation set", "test-domain validation set (oracle)"
LOO = "leave-one-domain-out cross-validation"


def test_ties_population_error_and_unfinished_runs(tmp_path: Path) -> None:
    """The larger hparams seed wins a tie; trials of 30 % and 50 % have a mean of 40 and an error of 10 / sqrt(2)."""
    for trial, test in ((0, 0.3), (1, 0.5)):
        for seed in (0, 1):
            made = record(0, seed, (test if seed else 0.9, 0.1, T), (0.0, 0.5), (0.0, 0.5), (0.0, 0.5))
            made["args"]["trial_seed"] = trial
            write_domainbed(tmp_path / f"{trial}{seed}", [made], done=trial == 0)
    assert cells(tmp_path, IID) == ["ERM", "40.0 +/- 7.1", "X", "X", "X", "X"]


def test_fields_are_cut_and_lines_end_in_blanks(tmp_path: Path) -> None:
    made = record(0, 0, (0.5, 0.1, T), (0.0, 0.5))
    made["args"]["algorithm"] = "AnAlgorithmOfAVeryLongName"
    write_domainbed(tmp_path / "a", [made])
    text, _ = domainbed_text(tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("AnAlg"))
    assert row == "AnAlgorithmOfAVeryLo  50.0 +/- 0.0          " + "  ".join(["X".ljust(20)] * 4) + " "
    latex, _ = domainbed_text(tmp_path, latex=True)
    assert r"\textbf{Algorithm}   & \textbf{A}           &" in latex


def test_nan_stays_where_it_comes_first(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a", [record(0, 0, (0.3, 0.1, T), (0, NAN)), record(1, 0, (0.4, 0.1, T), (0, 0.9))])
    assert cells(tmp_path, IID)[1] == "30.0 +/- 0.0"
    assert cells(tmp_path, ORACLE)[1] == "40.0 +/- 0.0"


def test_a_test_accuracy_of_nan_is_printed(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a", [record(0, 0, (NAN, 0.1, T), (0, 0.5))])
    assert cells(tmp_path, IID)[1] == "nan +/- nan"


@pytest.mark.filterwarnings("error")
def test_an_infinite_test_accuracy_is_printed(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a", [record(0, 0, (float("inf"), 0.1, T), (0, 0.5))])
    assert cells(tmp_path, IID)[1] == "inf +/- nan"


def test_records_of_a_rerun_all_count(tmp_path: Path) -> None:
    """Two records of one step make leave-one-out impossible there, and the oracle takes the last."""
    single = [record(0, 0, (0.3, 0.5, T), (0, 0)), record(0, 0, (0.9, 0.1, T), (0, 0))]
    write_domainbed(tmp_path / "a", single)
    write_domainbed(tmp_path / "b", [record(0, 0, (0, 0, T), (0.5, 0, T))])
    assert cells(tmp_path, LOO)[1] == "X"
    assert cells(tmp_path, ORACLE)[1] == "90.0 +/- 0.0"
    assert domainbed_text(tmp_path)[0].startswith("Total records: 3\n")


def test_what_domainbed_stumbles_over_or_drops_is_said(tmp_path: Path) -> None:
    folder = write_domainbed(tmp_path / "a", [record(0, 0, (0.3, 0.5, T), (0, 0))])
    with open(folder / "results.jsonl", "a") as file:
        file.write('{"step": 1, "ar')
    other = record(0, 0, (0.3, 0.5, T), (0, 0))
    other["args"]["dataset"] = "MyData"
    write_domainbed(tmp_path / "b", [other])
    write_domainbed(tmp_path / "deeper" / "c", [other])
    text, said = domainbed_text(tmp_path)
    assert text.startswith("Total records: 2\n")
    assert said == [
        "a: 1 torn or foreign line left out (DomainBed stops here).",
        "DomainBed reads one level of folders: 1 run further down is left out.",
        "DomainBed does not know and drops: MyData.",
    ]


def test_a_sweep_of_ours_is_read_from_its_runs(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": [{"id": "a"}, {"id": "z"}]}))
    for name, preset in (("a", None), ("b", "paper")):
        write_ours(
            tmp_path / "runs" / name,
            RunConfig.make(dataset="PACS", test_envs=[0], preset=preset),
            {"env0_in_acc": 0.5, "env1_out_acc": 0.5},
        )
    text, said = domainbed_text(tmp_path)
    assert text.startswith("Total records: 2\n")
    assert "DomainBed's cells hold runs of several networks, variants or protocols of ERM" in "\n".join(said)


def test_what_cannot_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_domainbed(tmp_path / "one" / "deep", [record(0, 0, (0.3, 0.5, T))])
    with pytest.raises(ConfigError, match="the folder whose folders are the runs"):
        domainbed_text(tmp_path)
    assert main(["collect", str(tmp_path / "one"), "--domainbed-parity", "--format", "csv"]) == 1
    assert "DomainBed prints no csv" in capsys.readouterr().err


def test_data_sets_that_domainbed_knows_none_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its collector divides by their number."""
    made = record(0, 0, (0.3, 0.5, T), (0, 0))
    made["args"]["dataset"] = "MyData"
    write_domainbed(tmp_path / "a", [made])
    assert main(["collect", str(tmp_path), "--domainbed-parity"]) == 1
    said = capsys.readouterr().err
    assert "knows none of the data sets of these runs (MyData)" in said
    assert f"Leave --domainbed-parity out: dfdgbench collect {tmp_path}" in said
