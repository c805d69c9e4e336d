"""Figures: drawn from any sweep, the same bytes every time, and one clear message where they cannot be."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filled_sweeps import add_steps, fill_sweep, rows
from matplotlib.figure import Figure as Canvas
from PIL import Image
from result_builders import small, write_ours

from dfdgbench.cli.main import main
from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ArtifactError, ConfigError, DfdgbenchError, UnknownNameError
from dfdgbench.results.figures import drawing
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep
from dfdgbench.results.figures.style import clean, inches, legend, looks, styled
from dfdgbench.results.ladder import height
from dfdgbench.settings import SETTINGS
from dfdgbench.tables.spec import Part, Published, Row, load

RESULTS = {
    "ERM": {0: [0.9, 0.88, 0.91], 1: [0.8, 0.78, 0.81]},
    "DEKAN": {0: [0.7, 0.74, 0.71], 1: [0.6, 0.58, 0.61]},
    "Soup": {0: [0.5, 0.49, 0.53], 1: [0.4, 0.44, 0.42]},
}
NAMES = ("access", "curves", "domains", "dots", "ranks")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, two domains, three trials, five records each, and published numbers of one row."""
    folder = tmp_path_factory.mktemp("figures") / "mine"
    spec = small(rows=rows(*RESULTS), parts=[small().parts[0].model_copy(update=published())])
    fill_sweep(folder, RESULTS, spec, settings={"ERM": "domain-generalisation"})
    add_steps(folder, [0, 10, 20, 30, 40])
    return folder


def published() -> dict[str, Any]:
    """A printed number of the row called DEKAN, 94.64, in the first column of ``small()``."""
    found = Part.model_validate(
        {
            "title": "MD",
            "dataset": "MiniDigits",
            "columns": {
                "handwritten": {"label": "H", "targets": ["handwritten"], "where": {"column": "MNIST"}},
                "blended": "B",
            },
            "average": None,
            "published": Published(
                file="dekan_table1.csv", where={"dataset": "Digits", "method": "DEKAN", "column": "MNIST"}
            ),
        }
    )
    return {name: getattr(found, name) for name in ("columns", "average", "published")}


@pytest.fixture
def drawn(sweep: Path, tmp_path: Path) -> Callable[..., Drawn]:
    def draw(name: str, *folders: Path, **options: Any) -> Drawn:
        return drawing.draw(name, folders or [sweep], [tmp_path / "f.png"], **options)

    return draw


def texts(canvas: Canvas) -> set[str]:
    """Every text of a figure."""
    from matplotlib.text import Text

    return {found.get_text() for found in canvas.findobj(Text) if found.get_text()}


class TestEveryFigure:
    def test_these_are_there(self) -> None:
        assert set(NAMES) <= set(FIGURES.names())
        assert all(FIGURES.get(name).summary().endswith(".") for name in FIGURES.names())

    @pytest.mark.parametrize("name", NAMES)
    def test_the_same_bytes_in_every_format(self, name: str, sweep: Path, tmp_path: Path) -> None:
        outs = [tmp_path / f"{turn}.{kind}" for turn in (1, 2) for kind in ("pdf", "svg", "png")]
        for turn in (outs[:3], outs[3:]):
            drawing.draw(name, [sweep], turn)
        for first, second in zip(outs[:3], outs[3:], strict=True):
            assert first.read_bytes() == second.read_bytes(), first.suffix

    @pytest.mark.parametrize("name", NAMES)
    def test_fonts_are_embedded_and_nothing_tells_when(self, name: str, sweep: Path, tmp_path: Path) -> None:
        drawing.draw(name, [sweep], [tmp_path / "f.pdf", tmp_path / "f.svg"])
        content = (tmp_path / "f.pdf").read_bytes()
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"/CreationDate" not in content
        assert "<dc:date>" not in (tmp_path / "f.svg").read_text()

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("width", ["column", "page", "5.5"])
    def test_nothing_is_cut(self, name: str, width: str, sweep: Path, drawn: Callable[..., Drawn]) -> None:
        canvas = drawn(name, width=width).canvas
        assert canvas.get_size_inches()[0] == inches(width)
        with styled():
            canvas.draw_without_rendering()
            box = canvas.get_tightbbox()
        assert box.x0 > -0.02, "something is left of the page"
        assert box.x1 < inches(width) + 0.02, "something is right of the page"

    @pytest.mark.parametrize("name", NAMES)
    def test_hostile_names_are_shown_as_they_are(self, name: str, tmp_path: Path) -> None:
        labels = [r"$\alpha_{", "_under", "<b>&amp;</b> 中 \U0001f600", "tab\tline\nbell\a", "x" * 90]
        parts = [small().parts[0].model_copy(update={"title": "$x_", **published()})]
        made = [
            row.model_copy(update={"where": {"method": "DEKAN"} if row.label == labels[0] else None})
            for row in rows(*labels)
        ]
        spec = small(rows=made, parts=parts)
        results = {label: {0: [0.5 + i / 20, 0.52 + i / 20], 1: [0.4, 0.41]} for i, label in enumerate(labels)}
        folder = fill_sweep(tmp_path / "$s_", results, spec)
        add_steps(folder, [0, 1])
        out = [tmp_path / "f.pdf", tmp_path / "f.svg", tmp_path / "f.png"]
        shown = texts(drawing.draw(name, [folder], out).canvas)
        assert any(text.startswith(r"$\alpha_{") for text in shown)
        assert name == "dots" or any(text.startswith("_under") for text in shown)
        assert not any("\n" in text or "\t" in text for text in shown if text.startswith("tab"))

    def test_the_users_matplotlibrc_changes_nothing(self, sweep: Path, tmp_path: Path) -> None:
        script = "import sys; from dfdgbench.cli.main import main; sys.exit(main(sys.argv[1:]))"
        (tmp_path / "matplotlibrc").write_text(
            "font.size: 20\nbackend: TkAgg\naxes.facecolor: red\ntext.usetex: True\n"
        )
        words = ["figure", "domains", str(sweep), "--out", "f.png"]
        subprocess.run([sys.executable, "-c", script, *words], check=True, cwd=tmp_path, capture_output=True)
        drawing.draw("domains", [sweep], [tmp_path / "g.png"])
        assert (tmp_path / "f.png").read_bytes() == (tmp_path / "g.png").read_bytes()


class TestWhatTheyShow:
    def test_domains_has_a_bar_a_cell_as_high_as_its_mean(self, drawn: Callable[..., Drawn]) -> None:
        axes = drawn("domains").canvas.axes[0]
        heights = sorted(round(bar.get_height(), 4) for bar in axes.patches)
        means = [100 * math.fsum(trials) / 3 for method in RESULTS.values() for trials in method.values()]
        assert heights == sorted(round(mean, 4) for mean in means)
        assert axes.get_ylabel() == "Accuracy (%)"

    def test_domains_names_measures_that_it_leaves_out(self, tmp_path: Path) -> None:
        columns = {"handwritten": "H", "time": {"label": "s", "targets": ["handwritten"], "metric": "miou"}}
        part = Part.model_validate({"title": "MD", "dataset": "MiniDigits", "columns": columns, "average": None})
        folder = fill_sweep(tmp_path / "s", {"A": {0: [0.5]}}, small(rows=rows("A"), parts=[part]))
        path = next(folder.glob("runs/*/results.jsonl"))
        path.write_text(path.read_text().replace('"env0_in_acc"', '"env0_in_miou": 0.3, "env0_in_acc"'))
        assert drawing.draw("domains", [folder], [tmp_path / "f.png"]).notes == (
            "Left out: columns in other measures (miou).",
        )

    def test_curves_are_means_over_trials(self, drawn: Callable[..., Drawn]) -> None:
        axes = next(axes for axes in drawn("curves").canvas.axes if axes.get_title(loc="left") == "H")
        line = next(line for line in axes.lines if len(line.get_xdata()) == 5)
        assert list(line.get_xdata()) == [0, 10, 20, 30, 40]
        mean = 100 * (0.9 + 0.88 + 0.91) / 3
        assert list(line.get_ydata()) == pytest.approx([mean * i / 5 for i in range(1, 6)])
        assert len(axes.collections) == 3, "a band for each method"

    def test_curves_of_trials_of_different_lengths_end_with_the_shorter(self, tmp_path: Path) -> None:
        folder = fill_sweep(tmp_path / "s", {"A": {0: [0.5, 0.6]}})
        add_steps(folder, [0, 10, 20])
        path = sorted(folder.glob("runs/*/results.jsonl"))[0]
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
        lines = drawing.draw("curves", [folder], [tmp_path / "f.png"]).canvas.axes[0].lines
        assert [list(line.get_xdata()) for line in lines] == [[0, 10]]

    def test_ranks_are_written_beside_the_names(self, drawn: Callable[..., Drawn]) -> None:
        shown = texts(drawn("ranks").canvas)
        assert {"ERM (1.00)", "DEKAN (2.00)", "Soup (3.00)"} <= shown
        assert any("over 2 held-out domains" in text for text in shown)

    def test_ranks_say_when_no_difference_can_be_significant(self, drawn: Callable[..., Drawn]) -> None:
        assert any("no two ranks can differ by as much" in note for note in drawn("ranks").notes)

    def test_access_orders_settings_by_what_they_grant(self, drawn: Callable[..., Drawn]) -> None:
        order = [setting.name for setting in sorted(SETTINGS.values(), key=height)]
        assert order == [
            "data-free", "distilled", "source-free", "post-hoc", "domain-generalisation", "unsupervised-adaptation",
        ]  # fmt: skip
        found = drawn("access")
        assert {"data-free", "domain-generalisation", "released model", "labelled source"} <= texts(found.canvas)
        assert found.notes == (
            "No method is shown of the settings distilled, post-hoc, source-free, unsupervised-adaptation.",
        )

    def test_access_names_methods_that_lack_a_domain(self, tmp_path: Path, drawn: Callable[..., Drawn]) -> None:
        folder = fill_sweep(tmp_path / "half", {"Ours": {0: [0.5], 1: [0.6]}, "Half": {0: [0.5]}})
        assert drawn("access", folder).notes[-1] == "Left out, as results are missing: Half."

    def test_access_shows_the_mean_over_domains(self, drawn: Callable[..., Drawn]) -> None:
        axes = drawn("access").canvas.axes[0]
        shown = sorted(float(bars.lines[0].get_ydata()[0]) for bars in axes.containers)
        means = [sum(math.fsum(trials) for trials in method.values()) * 100 / 6 for method in RESULTS.values()]
        assert shown == pytest.approx(sorted(means))

    def test_all_settings_fit_on_a_page(self, tmp_path: Path) -> None:
        results = {name: {0: [0.5 + i / 20], 1: [0.4 + i / 20]} for i, name in enumerate(SETTINGS)}
        folder = fill_sweep(tmp_path / "s", results, settings={name: name for name in SETTINGS})
        found = drawing.draw("access", [folder], [tmp_path / "f.png"], width="page")
        assert found.notes == ()
        with pytest.raises(ConfigError, match=r"6 settings do not fit .* --width page"):
            drawing.draw("access", [folder], [tmp_path / "f.png"])

    def test_dots_set_ours_against_the_printed_numbers(self, drawn: Callable[..., Drawn]) -> None:
        scatter = drawn("dots").canvas.axes[0]
        points = {
            (float(b.lines[0].get_xdata()[0]), round(float(b.lines[0].get_ydata()[0]), 4)) for b in scatter.containers
        }
        assert points == {(94.64, round(215 / 3, 4))}

    def test_sweeps_side_by_side_are_told_apart(self, sweep: Path, tmp_path: Path, drawn: Callable[..., Drawn]) -> None:
        other = fill_sweep(tmp_path / "other", {"ERM": RESULTS["ERM"], "New": RESULTS["Soup"]})
        shown = texts(drawn("domains", sweep, other, sweep).canvas)
        assert {"ERM [mine]", "ERM [other]", "DEKAN", "New"} <= shown
        assert "ERM" not in shown

    def test_a_new_figure_is_a_class(self, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Mine(Figure):
            """One of my own."""

            def draw(self, sweeps: Any, width: float) -> Drawn:
                return Drawn(Canvas((width, 1)))

        monkeypatch.setattr(FIGURES, "_found", dict(FIGURES.items()) | {"mine": Mine})
        drawing.draw("mine", [sweep], [tmp_path / "f.png"], width="2")
        assert Image.open(tmp_path / "f.png").size == (600, 300)


class TestStyle:
    def test_no_two_methods_look_alike(self) -> None:
        found = looks(f"M{i}" for i in range(28))
        assert len({(look.colour, look.marker, str(look.dashes)) for look in found.values()}) == 28
        assert len({(look.colour, look.hatch) for look in found.values()}) == 28

    def test_long_and_unprintable_texts(self) -> None:
        assert clean("a\x00b\ud800\n") == "a b  "
        assert len(clean("y" * 100)) == 48

    def test_a_legend_of_underscores(self) -> None:
        with styled():
            canvas = Canvas((3, 1))
            line = canvas.subplots().plot([0, 1])[0]
            legend(canvas, [line], ["_hidden"], 3)
        assert "_hidden" in texts(canvas)


class TestBadInput:
    def fails(self, error: type[DfdgbenchError], said: str, *words: Any, **options: Any) -> None:
        with pytest.raises(error, match=said):
            drawing.draw(*words, **options)

    def test_unknown_figure(self, sweep: Path, tmp_path: Path) -> None:
        self.fails(UnknownNameError, "no figure 'dot'.*Did you mean dots", "dot", [sweep], [tmp_path / "f.pdf"])

    @pytest.mark.parametrize(
        ("out", "said"),
        [
            ("f.jpg", "ends in '.jpg'.*Known: .pdf, .svg, .png"),
            ("f", "has no ending"),
            ("nowhere/f.pdf", "there is no folder .*mkdir -p"),
            ("folder.pdf", "that is a folder"),
        ],
    )
    def test_places_that_cannot_be_written(self, sweep: Path, tmp_path: Path, out: str, said: str) -> None:
        (tmp_path / "folder.pdf").mkdir()
        self.fails(ConfigError, said, "domains", [sweep], [tmp_path / out])

    def test_a_closed_folder(self, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.access", lambda path, mode: False)
        self.fails(ConfigError, "is closed to you", "domains", [sweep], [tmp_path / "f.pdf"])

    def test_a_full_disk_keeps_what_was_there(
        self, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "f.pdf"
        out.write_bytes(b"before")
        monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        self.fails(ArtifactError, "The figure could not be written", "domains", [sweep], [out])
        assert out.read_bytes() == b"before"
        assert list(tmp_path.iterdir()) == [out]

    @pytest.mark.parametrize("width", ["wide", "0", "nan", "1e9", ""])
    def test_widths(self, sweep: Path, tmp_path: Path, width: str) -> None:
        self.fails(ConfigError, "width .*'column' .*'page'", "domains", [sweep], [tmp_path / "f.pdf"], width=width)

    def test_no_sweep(self, sweep: Path, tmp_path: Path) -> None:
        self.fails(ConfigError, "Of which sweep", "domains", [], [tmp_path / "f.pdf"])
        self.fails(ConfigError, "is no sweep's folder", "domains", [sweep, tmp_path], [tmp_path / "f.pdf"])

    def test_a_run_is_no_sweep(self, tmp_path: Path) -> None:
        config = RunConfig.make(algorithm="DEKAN", dataset="MiniDigits", test_envs=[0])
        run = write_ours(tmp_path / "run", config, {"env0_in_acc": 0.5})
        self.fails(ConfigError, "is no sweep's folder", "domains", [run], [tmp_path / "f.pdf"])

    def test_two_sweeps_of_one_name(self, sweep: Path, tmp_path: Path) -> None:
        other = fill_sweep(tmp_path / sweep.name, {"A": {0: [0.5]}})
        self.fails(ConfigError, "Two sweeps are called", "domains", [sweep, other], [tmp_path / "f.pdf"])

    def test_unknown_table(self, sweep: Path, tmp_path: Path) -> None:
        self.fails(UnknownNameError, "no table 'dekan'", "domains", [sweep], [tmp_path / "f.pdf"], table="dekan")
        self.fails(ConfigError, "holds the sweep 'small'", "dots", [sweep], [tmp_path / "f.pdf"], table="dekan-table1")

    @pytest.mark.parametrize("name", NAMES)
    def test_an_empty_sweep_says_what_is_missing(self, name: str, tmp_path: Path) -> None:
        empty = fill_sweep(tmp_path / "s", {"A": {}, "B": {}})
        if name != "dots":
            self.fails(ConfigError, "missing", name, [empty], [tmp_path / "f.pdf"])
        else:
            self.fails(ConfigError, "no published number", name, [empty], [tmp_path / "f.pdf"])

    def test_dots_without_a_result_beside_a_printed_number(self, tmp_path: Path) -> None:
        spec = load("dekan-table1")
        folder = fill_sweep(tmp_path / "s", {row.label: {} for row in spec.rows}, spec)
        self.fails(
            ConfigError, r"\d+ cells of the table have a published number, none", "dots", [folder], [tmp_path / "f.pdf"]
        )

    def test_curves_of_single_records(self, tmp_path: Path) -> None:
        folder = fill_sweep(tmp_path / "s", {"A": {0: [0.5]}})
        self.fails(ConfigError, "--checkpoint-freq", "curves", [folder], [tmp_path / "f.pdf"])

    def test_values_that_are_not_finite_are_left_out(self, tmp_path: Path) -> None:
        a = {0: [math.inf, 0.5, 0.7], 1: [0.5, math.nan, 0.6]}
        folder = fill_sweep(tmp_path / "s", {"A": a, "B": {0: [0.4, 0.4, 0.4], 1: [0.3, 0.3, 0.3]}})
        out = [tmp_path / "f.png"]
        heights = [bar.get_height() for bar in drawing.draw("domains", [folder], out).canvas.axes[0].patches]
        assert sorted(heights) == pytest.approx([30, 35, 40, 55, 60, 65])  # with averages
        bars = drawing.draw("access", [folder], out).canvas.axes[0].containers
        assert sorted(float(bar.lines[0].get_ydata()[0]) for bar in bars) == pytest.approx([35, 65])
        assert "A (1.00)" in texts(drawing.draw("ranks", [folder], out).canvas)

    def test_nothing_finite(self, tmp_path: Path) -> None:
        folder = fill_sweep(tmp_path / "s", {"A": {0: [math.inf], 1: [math.nan]}})
        for name in ("access", "curves", "domains", "ranks"):
            self.fails(ConfigError, "result|record", name, [folder], [tmp_path / "f.pdf"])

    def test_one_run(self, tmp_path: Path) -> None:
        folder = fill_sweep(tmp_path / "s", {"A": {0: [0.5]}})
        drawing.draw("domains", [folder], [tmp_path / "f.png"])
        self.fails(ConfigError, "at least two methods", "ranks", [folder], [tmp_path / "f.pdf"])


class TestCommand:
    def test_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["figure", "--list"]) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in NAMES)

    def test_writes_where_it_says(
        self, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["figure", "ranks", str(sweep)]) == 0
        assert main(["figure", "ranks", str(sweep), "--out", "a.svg", "b.PNG"]) == 0
        out = capsys.readouterr().out
        for name in ("ranks.pdf", "a.svg", "b.PNG"):
            assert (tmp_path / name).stat().st_size > 1000
            assert f"Written: {name}" in out

    def test_without_a_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["figure"]) == 1
        assert "Which figure?" in capsys.readouterr().err


def test_a_sweep_is_opened_once(sweep: Path) -> None:
    found = drawing.open_sweeps("domains", [sweep, sweep / ".." / sweep.name])
    assert [type(each) for each in found] == [Sweep]
    assert isinstance(found[0].spec.rows[0], Row)
