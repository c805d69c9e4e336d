"""The curves of SFDA against K, alpha and beta, from a small sweep's runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from dfdgbench.cli.main import main
from dfdgbench.errors import ConfigError
from dfdgbench.results.figures.base import FIGURES, Drawn, Sweep
from dfdgbench.tables.spec import of_sweep

HEAD = """
name: sizes
title: Sizes
description: SFDA alone.
trials: 2
selection: last
options: {steps: 2, checkpoint_freq: 0}
hparams: {source.steps: 2, source.batch_size: 2, batch_size: 2, g.width: 4, g.latent: 8, d.width: 4, ipsm.k: 2}
rows:
"""
ROWS = {
    "without": "{gamma: 0}",
    "usual": "{}",
    "alpha 0.1": "{alpha: 0.1}",
    "beta 1": "{beta: 1.0, tau: 1.0}",
    "another kind": "{gamma: 0, lr: 0.5}",
}
PARTS = """
parts:
  - title: scenes
    dataset: DebugScenes
    options: {train_envs: ["0"]}
    columns:
      mean: {label: mIoU, targets: ["1"], metric: miou}
    average: null
    published: {file: printed.csv}
"""


def launched(folder: Path, rows: dict[str, str]) -> Sweep:
    """A finished sweep."""
    lines = [f'  - {{label: "{label}", algorithm: SFDA, hparams: {given}}}\n' for label, given in rows.items()]
    folder.mkdir()
    printed = ["paper,table,setting,dataset,backbone,method,column,value,std"]
    printed += [f"x,1,s,d,b,{label},mIoU,{40 + place},{''}" for place, label in enumerate(rows)]
    (folder / "printed.csv").write_text("\n".join(printed) + "\n")
    (folder / "sizes.yaml").write_text(HEAD + "".join(lines) + PARTS)
    typed = ["--output-dir", str(folder / "sweep"), "--artifacts", str(folder / "artifacts"), "--launcher", "debug"]
    assert main(["sweep", "launch", str(folder / "sizes.yaml"), *typed, "--device", "cpu"]) == 0
    return Sweep(folder / "sweep", of_sweep(folder / "sweep"))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return launched(tmp_path_factory.mktemp("sizes") / "all", ROWS)


def drawn(*sweeps: Sweep) -> tuple[Drawn, dict[str, Axes]]:
    found: Drawn = FIGURES.get("sfda-hparams")().draw(sweeps, 6.9)
    return found, {axes.get_xlabel().rsplit(" ", 1)[-1] or "β": axes for axes in found.canvas.axes}


def test_a_point_stands_where_all_else_is_as_usual(sweep: Sweep) -> None:
    _, panels = drawn(sweep)
    assert len(panels) == 3
    places = [[float(x) for x in axes.lines[0].get_xdata()] for axes in panels.values()]
    assert places == [[1, 2], [0.1, 1], [0.5, 1]]  # without IPSM K = 1; of the weights the usual value and the other
    cells = {row.key: row.cells[0] for row in sweep.table.parts[0].rows}
    heights = [float(y) for y in panels[list(panels)[1]].lines[0].get_ydata()]
    assert heights[0] == pytest.approx(cells["alpha 0.1"].mean)


def test_printed_numbers_and_errors_are_shown(sweep: Sweep) -> None:
    found, panels = drawn(sweep)
    crosses = [line for axes in panels.values() for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses) == 3 and [float(y) for y in crosses[0].get_ydata()] == [40, 41]
    assert all(len(axes.containers) == 1 for axes in panels.values())  # one set of bars
    assert any("standard errors" in note for note in found.notes) and any(
        "without IPSM" in note for note in found.notes
    )


@pytest.mark.parametrize("width", ["page", "column"])
def test_it_is_written(sweep: Sweep, tmp_path: Path, width: str) -> None:
    out = tmp_path / "hparams.png"
    assert main(["figure", "sfda-hparams", str(sweep.folder), "--out", str(out), "--width", width]) == 0
    assert out.stat().st_size > 5000


def test_runs_that_differ_in_nothing_have_no_curve(tmp_path: Path) -> None:
    alone = launched(tmp_path / "alone", {"usual": "{}"})
    with pytest.raises(ConfigError, match=r"differ in none of K, alpha and beta.*benchmarks/sfda-hparams.yaml"):
        drawn(alone)
