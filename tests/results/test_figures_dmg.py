"""DMG's figures: what they show of masks and accuracies that are known, and what they say where nothing is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from result_builders import finish, plan

from dfdgbench.engine import diagnostics
from dfdgbench.errors import ArtifactError, ConfigError
from dfdgbench.results.figures.base import FIGURES
from dfdgbench.results.figures.dmg_runs import runs_of
from dfdgbench.results.figures.drawing import draw, open_sweeps
from dfdgbench.tables.spec import Part, Row, TableSpec

FIGURE_NAMES = ("dmg-iou", "dmg-lambda", "dmg-masks", "dmg-units")
WEIGHTS = (0.0, 0.01, 1.0)
SOURCES = ("blended", "printed", "numbers")


def spec(weights=WEIGHTS, algorithm="DMG", **options) -> TableSpec:
    return TableSpec(
        name="dmg",
        title="DMG",
        trials=2,
        selection="last",
        options=options,
        rows=[Row(label=f"λ = {weight}", algorithm=algorithm, hparams={"lambda_iou": weight}) for weight in weights]
        if algorithm == "DMG"
        else [Row(label="ERM", algorithm=algorithm)],
        parts=[Part(title="MD", dataset="MiniDigits", columns={"handwritten": "H"})],
    )


def arrays(trial: int, weight: float) -> dict[str, np.ndarray]:
    """Two sites of 30 and 10 units; overlap falls with the weight."""
    iou = np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]]) - 0.1 * weight - 0.02 * trial
    return {
        "domains": np.array(SOURCES),
        "sites": np.array(["layer4", "fc"]),
        "pairs": np.array([[0, 1], [0, 2], [1, 2]]),
        "units": np.array([30, 10]),
        "hard_iou": iou,
        "hard_iou_pooled": iou.mean(0),
        "active": np.array([[0.8, 0.8, 0.8], [0.4, 0.4, 0.4]]),
        "off": np.array([0.1, 0.3]),
        "shared": np.array([0.6, 0.2]),
        "specific": np.array([0.3, 0.5]),
    }


def two_grids() -> TableSpec:
    """The overlap's weights, then those of the L1 norm with the overlap's 0, and a run that has both."""
    given = [{"lambda_iou": weight} for weight in WEIGHTS]
    given += [{"lambda_iou": 0.0, "lambda_sparsity": weight} for weight in (0.1, 10.0)]
    given.append({"lambda_iou": 0.5, "lambda_sparsity": 0.5})
    rows = [Row(label=str(place), algorithm="DMG", hparams=hparams) for place, hparams in enumerate(given)]
    return spec().model_copy(update={"rows": rows})


def sweep(folder: Path, table: TableSpec, masks: bool = True) -> Path:
    """A finished sweep of ``table``, whose accuracies say which mask and which domain they are of."""
    for entry in plan(table, folder, trials=2):
        trial, weight = entry["config"]["trial_seed"], entry["config"]["hparams"].get("lambda_iou", 0.1)
        scores = {f"env{env}_in_acc": 0.5 + 0.1 * env for env in (1, 2, 3)}
        for env in range(4):
            for row, name in enumerate((*SOURCES, "ens")):
                scores[f"env{env}_in_acc@mask-{name}"] = 0.1 * env + 0.01 * row
            scores[f"env{env}_in_acc@pred-ens"] = 0.1 * env + 0.05
            scores[f"env{env}_in_acc@known-domain"] = 0.1 * env + 0.06 if env else float("nan")
        finish(folder, entry, 0.4 + 0.1 * weight + 0.02 * trial, **scores)
        run = folder / "runs" / entry["id"]
        lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
        sparsity = entry["config"]["hparams"].get("lambda_sparsity", 0.0)
        lines = [line | {"hparams": {"lambda_iou": weight, "lambda_sparsity": sparsity}} for line in lines]
        (run / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if masks:
            diagnostics.write(run, lines[-1]["step"], arrays(trial, weight))
    return folder


def drawn(name: str, folder: Path):
    return FIGURES.get(name)().draw(open_sweeps(name, [folder]), 6.75)


def heights(axes) -> np.ndarray:
    return np.array([bar.get_height() for bar in axes.patches])


def test_the_bars_of_overlap(tmp_path):
    canvas = drawn("dmg-iou", sweep(tmp_path / "s", spec(WEIGHTS[:1]))).canvas
    axes = canvas.axes[0]
    shown = heights(axes).reshape(3, 5)
    first, second = np.array([89, 79, 69]), np.array([59, 49, 39])
    assert np.allclose(shown[0], [*first, first.mean(), 80])
    assert np.allclose(shown[1], [*second, second.mean(), 40])
    assert np.allclose(shown[2], [*((first + second) / 2), (first + second).mean() / 2, 70]), (
        "30 and 10 units weigh 3 to 1"
    )
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "blen.–prin.", "blen.–numb.", "prin.–numb.", "average", "in use",
    ]  # fmt: skip
    assert axes.get_title("left") == "→ handwritten"


def test_every_row_of_a_sweep_has_a_panel(tmp_path):
    titles = [axes.get_title("left") for axes in drawn("dmg-iou", sweep(tmp_path / "s", spec())).canvas.axes]
    assert titles == [f"λ = {weight}, → handwritten" for weight in WEIGHTS]


def test_the_curves_against_lambda(tmp_path):
    result = drawn("dmg-lambda", sweep(tmp_path / "s", spec()))
    out, inside, iou = result.canvas.axes
    for axes, values in ((out, [41, 41.1, 51]), (inside, [70, 70, 70]), (iou, [64, 63.9, 54])):
        line = axes.lines[0]
        assert line.get_xdata().tolist() == list(WEIGHTS)
        assert line.get_ydata().tolist() == pytest.approx(values)
    assert out.get_xscale() == "symlog"
    assert [tick.get_text() for tick in out.get_xticklabels()] == ["0", "0.01", "1"]
    assert "on the sources' training images" in result.notes[1]


def test_the_overlap_of_every_layer_has_a_line(tmp_path):
    result = drawn("dmg-lambda", sweep(tmp_path / "s", spec()))
    pooled, *layers = result.canvas.axes[2].lines
    expected = {"layer4": [79, 78.9, 69], "fc": [49, 48.9, 39]}
    assert [line.get_ydata().tolist() for line in layers] == [pytest.approx(values) for values in expected.values()]
    assert {line.get_color() for line in layers} == {pooled.get_color()}, "a colour is a held-out domain's"
    assert len({line.get_marker() for line in (pooled, *layers)}) == 3
    assert [text.get_text() for text in result.canvas.legends[0].get_texts()] == [
        "→ handwritten",
        *expected,
        "all layers",
    ]
    assert "all layers as one mask" in result.notes[0]


@pytest.mark.parametrize(("width", "labelled"), [(6.75, [1, 1, 1, 1, 1, 1]), (3.25, [0, 0, 1, 0, 0, 1])])
def test_each_weight_that_varies_has_a_row_of_its_own(tmp_path, width, labelled):
    result = FIGURES.get("dmg-lambda")().draw(open_sweeps("dmg-lambda", [sweep(tmp_path / "s", two_grids())]), width)
    panels = result.canvas.axes
    assert [axes.get_ylabel() for axes in panels[:3]] == [axes.get_ylabel() for axes in panels[3:]]
    names = ["λ of the overlap"] * 3 + ["λ of the L1 norm"] * 3
    assert [axes.get_xlabel() for axes in panels] == [
        name * bool(shown) for name, shown in zip(names, labelled, strict=True)
    ]
    for axes, places in zip(panels, [list(WEIGHTS)] * 3 + [[0, 0.1, 10]] * 3, strict=True):
        assert axes.lines[0].get_xdata().tolist() == places
    assert panels[3].lines[0].get_ydata().tolist() == pytest.approx([41, 41, 41]), "the overlap's weight is 0 in all"
    assert "2 runs differ from those drawn in both weights" in result.notes[1]


def test_a_layer_that_some_runs_lack_is_drawn_where_it_is(tmp_path):
    folder = sweep(tmp_path / "s", spec())
    for run in folder.glob("runs/*"):
        record = json.loads((run / "results.jsonl").read_text().splitlines()[-1])
        if record["hparams"]["lambda_iou"] == 1:
            diagnostics.write(run, record["step"], arrays(0, 1.0) | {"sites": np.array(["layer3", "fc"])})
    lines = drawn("dmg-lambda", folder).canvas.axes[2].lines
    assert [line.get_xdata().tolist() for line in lines] == [[*WEIGHTS], [0, 0.01], [*WEIGHTS], [1]]


def test_with_an_official_protocol_in_domain_is_what_it_says(tmp_path):
    from dfdgbench.results.figures.dmg_runs import seen_in_training

    runs = runs_of(open_sweeps("dmg-masks", [sweep(tmp_path / "s", spec())]))
    assert seen_in_training(runs)
    args = {**runs[0].chosen.record["args"], "protocol": "official"}
    other = runs[0]._replace(chosen=runs[0].chosen._replace(record={**runs[0].chosen.record, "args": args}))
    assert not seen_in_training([other])


def test_the_stacks_of_units(tmp_path):
    axes = drawn("dmg-units", sweep(tmp_path / "s", spec(WEIGHTS[:1]))).canvas.axes[0]
    shown = heights(axes).reshape(3, 3)
    assert np.allclose(shown[:, :2], [[60, 20], [30, 50], [10, 30]])
    assert np.allclose(shown[:, 2], [50, 35, 15]), "30 and 10 units weigh 3 to 1"
    assert np.allclose(shown.sum(0), 100)


def test_the_matrix_of_masks(tmp_path):
    axes = drawn("dmg-masks", sweep(tmp_path / "s", spec(WEIGHTS[:1]))).canvas.axes[0]
    texts = np.array([text.get_text() for text in axes.texts]).reshape(6, 4)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["blended", "printed", "numbers", "handwritten"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "blended", "printed", "numbers", "own domain's", "mean mask", "combined",
    ]  # fmt: skip
    assert texts[1].tolist() == ["11.0", "21.0", "31.0", "1.0"]
    assert texts[3].tolist() == ["16.0", "26.0", "36.0", "–"]
    framed = [text.get_text() for text in axes.texts if text.get_bbox_patch() is not None]
    assert framed == ["16.0", "26.0", "36.0", "5.0"], "the best of each domain"


@pytest.mark.parametrize("name", FIGURE_NAMES)
@pytest.mark.parametrize("width", ["column", "page"])
def test_the_same_results_give_the_same_file(tmp_path, name, width):
    folder = sweep(tmp_path / "s", spec())
    files = [tmp_path / f"{i}.svg" for i in range(2)]
    for file in files:
        draw(name, [folder], [file], width=width)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_a_sweep_without_dmg_is_told(tmp_path, name):
    with pytest.raises(ConfigError, match="no finished run of DMG"):
        drawn(name, sweep(tmp_path / "s", spec(algorithm="ERM")))


def test_one_lambda_is_no_curve(tmp_path):
    with pytest.raises(ConfigError, match="the same lambda"):
        drawn("dmg-lambda", sweep(tmp_path / "s", spec(WEIGHTS[:1])))


def test_masks_that_were_not_kept_are_told(tmp_path):
    with pytest.raises(ArtifactError, match="has no diagnostics of step 100"):
        drawn("dmg-iou", sweep(tmp_path / "s", spec(), masks=False))


def test_masks_of_several_networks_are_told(tmp_path):
    folder = sweep(tmp_path / "s", spec(WEIGHTS[:1]))
    run = next(iter(sorted(folder.glob("runs/*"))))
    diagnostics.write(run, 100, arrays(0, 0.0) | {"sites": np.array(["layer4", "head"])})
    with pytest.raises(ConfigError, match="masks at other sites"):
        drawn("dmg-units", folder)
