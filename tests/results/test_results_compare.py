"""Two sweeps cell by cell: verdicts, what else differs, exit codes, and bad input."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from filled_sweeps import Results, fill_sweep, rows
from result_builders import small

from dfdgbench.cli.main import main
from dfdgbench.errors import ConfigError
from dfdgbench.results import compare_text
from dfdgbench.results.compare import CellComparison, Comparison, compare
from dfdgbench.results.differing import differing
from dfdgbench.tables.spec import Column, Part, TableSpec

STABLE = {"Same": {0: [0.5, 0.6, 0.7], 1: [0.4, 0.5, 0.6]}}


def both(
    tmp_path: Path, a: Mapping[str, Results], b: Mapping[str, Results], spec: TableSpec | None = None
) -> Comparison:
    return compare(fill_sweep(tmp_path / "a", a, spec), fill_sweep(tmp_path / "b", b, spec))


def cell(found: Comparison, method: str, column: str) -> CellComparison:
    return next(cell for cell in found.cells if (cell.method, cell.column) == (method, column))


class TestVerdicts:
    def test_a_sweep_and_itself(self, tmp_path: Path) -> None:
        found = both(tmp_path, STABLE, STABLE)
        assert {cell.verdict for cell in found.cells} == {"same bits"}
        assert [each.verdict for each in (*found.methods, found.overall)] == ["same bits"] * 2
        assert not found.worse

    def test_one_cell_by_hand(self, tmp_path: Path) -> None:
        # d = -9, -10, -11: mean -10, se 1/sqrt(3), t = -17.3; two-sided p on 2 degrees is 0.0033, times 3 cells 0.0100.
        after = {"Same": {0: [0.41, 0.50, 0.59], 1: [0.41, 0.48, 0.61]}}
        found = both(tmp_path, STABLE, after)
        worse, noise = cell(found, "Same", "H"), cell(found, "Same", "B")
        assert (worse.a, worse.b, worse.pairs, worse.verdict) == (pytest.approx(60), pytest.approx(50), 3, "worse")
        assert worse.difference == pytest.approx(-10)
        assert worse.se == pytest.approx(1 / math.sqrt(3))
        assert worse.p == pytest.approx(0.00332, abs=1e-5)
        assert worse.corrected == pytest.approx(3 * (worse.p or 0))
        assert noise.verdict == "within noise"
        assert found.worse

    def test_where_small_numbers_are_good_less_is_better(self, tmp_path: Path) -> None:
        column = Column(label="H", targets=["handwritten"], best="low")
        part = Part(title="MD", dataset="MiniDigits", columns={"H": column}, average=None)
        spec = small(rows=rows("Same"), parts=[part])
        found = both(tmp_path, {"Same": {0: [0.5, 0.6, 0.7]}}, {"Same": {0: [0.41, 0.50, 0.59]}}, spec)
        assert cell(found, "Same", "H").verdict == "better"
        assert found.overall.test.mean == pytest.approx(10)

    def test_several_tests_are_corrected_for(self, tmp_path: Path) -> None:
        # p of one cell is 0.0334: better alone, not among 3.
        before, after = {0: [0.5, 0.5, 0.5], 1: [0.5, 0.5, 0.5]}, {0: [0.51, 0.52, 0.52], 1: [0.48, 0.5, 0.51]}
        found = cell(both(tmp_path, {"M": before}, {"M": after}), "M", "H")
        assert (found.p or 0) < 0.05 < (found.corrected or 0)
        assert found.verdict == "within noise"

    def test_one_trial_is_no_test(self, tmp_path: Path) -> None:
        found = both(tmp_path, {"M": {0: [0.5]}}, {"M": {0: [0.1]}})
        assert cell(found, "M", "H").verdict == "untested"
        assert cell(found, "M", "H").difference == pytest.approx(-40)
        assert not found.worse

    def test_trials_that_are_not_shared_are_compared_unpaired(self, tmp_path: Path) -> None:
        a = {"M": {0: [0.50, 0.51, 0.49]}}
        b = {"M": {0: [None, None, None, 0.30, 0.31, 0.29]}}
        found = cell(both(tmp_path, a, b), "M", "H")
        assert (found.pairs, found.verdict) == (0, "worse")
        assert found.difference == pytest.approx(-20)
        assert found.se == pytest.approx(math.sqrt(2 / 3))

    def test_what_only_one_has(self, tmp_path: Path) -> None:
        a = STABLE | {"Old": {0: [0.5]}, "Lost": {0: [0.5]}, "Found": {}}
        b = STABLE | {"New": {0: [0.5]}, "Lost": {}, "Found": {0: [0.5]}}
        found = both(tmp_path, a, b)
        verdicts = {method: cell(found, method, "H").verdict for method in ("Old", "New", "Lost", "Found")}
        assert verdicts == {"Old": "only in A", "New": "only in B", "Lost": "missing in B", "Found": "missing in A"}
        assert found.worse, "a result that is gone is no pass"

    def test_infinite_values_are_told_of(self, tmp_path: Path) -> None:
        found = both(tmp_path, STABLE, {"Same": {0: [math.inf, 0.6, 0.7], 1: [0.4, 0.5, math.nan]}})
        assert cell(found, "Same", "H").verdict == "not finite"
        assert cell(found, "Same", "B").pairs == 2
        text = compare_text.json(found)
        assert "Infinity" not in text
        assert "NaN" not in text

    def test_all_together_see_what_no_cell_alone_can(self, tmp_path: Path) -> None:
        draw = [0.01, 0.02, 0.005, 0.012, 0.03, 0.007]
        a = {f"M{i}": {0: [0.5]} for i in range(6)}
        b = {f"M{i}": {0: [0.5 - drop]} for i, drop in enumerate(draw)}
        found = both(tmp_path, a, b)
        assert {cell(found, f"M{i}", "H").verdict for i in range(6)} == {"untested"}
        assert {each.verdict for each in found.methods} == {"untested"}
        assert found.overall.verdict == "worse"
        assert found.overall.test.wilcoxon == pytest.approx(2 / 2**6)
        assert found.worse

    def test_a_method_that_loses_a_little_everywhere(self, tmp_path: Path) -> None:
        # Noise of a cell hides it; six pairs of one sign have p 2/64, and one method is tested, for the other is equal.
        before = {"Lost": {0: [0.5, 0.6, 0.7], 1: [0.4, 0.5, 0.6]}, "Kept": STABLE["Same"]}
        after = {"Lost": {0: [0.49, 0.57, 0.69], 1: [0.38, 0.499, 0.56]}, "Kept": STABLE["Same"]}
        found = both(tmp_path, before, after)
        assert {cell.verdict for cell in found.cells} == {"within noise", "same bits"}
        assert {each.method: each.verdict for each in found.methods} == {"Lost": "worse", "Kept": "same bits"}
        assert found.methods[0].corrected == pytest.approx(2 / 64)
        assert found.worse
        assert "Lost over all cells" in compare_text.worst(found)


class TestWhatElseDiffers:
    def test_versions_commit_device(self, tmp_path: Path) -> None:
        a = fill_sweep(tmp_path / "a", STABLE, git="a" * 40, device="A100", versions={"torch": "2.5.0", "numpy": "1"})
        b = fill_sweep(tmp_path / "b", STABLE, git="b" * 40, device="H200", versions={"torch": "2.6.0", "numpy": "1"})
        assert set(compare(a, b).differs) == {
            "torch: A 2.5.0, B 2.6.0", f"commit: A {'a' * 12}, B {'b' * 12}", "device: A A100, B H200",
        }  # fmt: skip

    def test_options_of_a_method(self) -> None:
        def config(**given: object) -> dict[str, object]:
            return {"config": {"algorithm": "DEKAN", "dataset": "MiniDigits", **given}}

        a = config(network="smallcnn", trial_seed=0, hparams={"fusion": {"steps": 5}})
        b = config(network="resnet18", trial_seed=1, hparams={"inversion.lr": 0.1}, data_path="fast")
        assert differing([a], [b]) == [
            "DEKAN on MiniDigits, network: A smallcnn, B resnet18",
            "DEKAN on MiniDigits, hparams.fusion.steps: A 5, B not set",
            "DEKAN on MiniDigits, hparams.inversion.lr: A not set, B 0.1",
        ]

    def test_nothing(self, tmp_path: Path) -> None:
        assert both(tmp_path, STABLE, STABLE).differs == ()
        assert differing([], [{"versions": None, "config": 3}]) == []


class TestCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
        code = main(["compare", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    def test_markdown_says_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill_sweep(tmp_path / "a", STABLE, git="a" * 40)
        code, out, _ = self.run(capsys, tmp_path / "a", fill_sweep(tmp_path / "b", STABLE, git="b" * 40))
        assert code == 0
        assert "| MD" in out
        assert "3 cells: 3 same bits." in out
        assert f"commit: A {'a' * 12}, B {'b' * 12}" in out

    @pytest.mark.parametrize(("drop", "code"), [(0.0, 0), (0.1, 1)])
    def test_fail_on_worse(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], drop: float, code: int) -> None:
        a = fill_sweep(tmp_path / "a", STABLE)
        after = {"Same": {0: [0.5 - drop, 0.6 - drop * 1.1, 0.7 - drop * 0.9], 1: [0.4, 0.5, 0.6]}}
        b = fill_sweep(tmp_path / "b", after)
        assert self.run(capsys, a, b)[0] == 0
        ended, _, err = self.run(capsys, a, b, "--fail-on-worse")
        assert ended == code
        assert ("MD, Same, H (worse)" in err) == bool(code)

    def test_csv_and_json_have_the_same_cells(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        a, b = fill_sweep(tmp_path / "a", STABLE), fill_sweep(tmp_path / "b", STABLE | {"New": {0: [0.5]}})
        _, out, _ = self.run(capsys, a, b, "--format", "csv")
        lines = list(csv.DictReader(io.StringIO(out)))
        _, out, _ = self.run(capsys, a, b, "--format", "json")
        content = json.loads(out)
        assert [line["verdict"] for line in lines] == [line["verdict"] for line in content["cells"]]
        assert lines[0]["difference"] == "0.0"
        assert content["overall"]["verdict"] == "same bits"

    @pytest.mark.parametrize("style", ["markdown", "csv", "json"])
    def test_one_sweep_compares_its_methods(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
    ) -> None:
        sweep = fill_sweep(tmp_path, {"First": {0: [0.9], 1: [0.6]}, "Second": {0: [0.8], 1: [0.5]}})
        code, out, _ = self.run(capsys, sweep, "--format", style)
        assert code == 0
        assert "First" in out
        if style == "markdown":
            assert "no signed-rank test can be significant" in out
            assert "With 2 methods on 2 domains no two ranks can differ by as much." in out
        if style == "json":
            assert json.loads(out)["ranks"] == {"First": 1.0, "Second": 2.0}

    @pytest.mark.parametrize("style", ["markdown", "json"])
    def test_without_ranks_it_says_why(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str) -> None:
        sweep = fill_sweep(tmp_path, {"First": {0: [0.9]}, "Second": {0: [0.8]}})
        code, out, _ = self.run(capsys, sweep, "--format", style)
        assert code == 0
        assert "Ranks need at least two methods" in out


class TestBadInput:
    def test_a_folder_that_is_no_sweep(self, tmp_path: Path) -> None:
        sweep = fill_sweep(tmp_path / "a", STABLE)
        run = next((sweep / "runs").iterdir())
        for wrong in (tmp_path / "nowhere", tmp_path, run):
            with pytest.raises(ConfigError, match="is no sweep's folder"):
                compare(sweep, wrong)

    def test_tables_that_do_not_overlap(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"No cell is in both.*MD: Mine.*MD: Theirs"):
            both(tmp_path, {"Mine": {0: [0.5]}}, {"Theirs": {0: [0.5]}})

    @pytest.mark.parametrize(
        ("a", "b", "said"), [([0.5], [], "b: no result there yet"), ([], [], "a and .*b: no result")]
    )
    def test_sweeps_without_results(self, tmp_path: Path, a: list[float], b: list[float], said: str) -> None:
        with pytest.raises(ConfigError, match=f"No cell has a result in both sweeps.*{said}"):
            both(tmp_path, {"M": {0: a}}, {"M": {0: b}})

    def test_results_in_different_cells(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="each has what the other lacks"):
            both(tmp_path, {"M": {0: [0.5]}}, {"M": {1: [0.5]}})

    def test_one_sweep_of_one_method(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["compare", str(fill_sweep(tmp_path, {"M": {0: [0.5]}}))]) == 1
        assert "fewer than two methods" in capsys.readouterr().err

    def test_fail_on_worse_wants_two(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["compare", str(fill_sweep(tmp_path, STABLE)), "--fail-on-worse"]) == 1
        assert "dfdgbench compare A B --fail-on-worse" in capsys.readouterr().err
