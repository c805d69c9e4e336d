"""What every shared stage makes, compared with what it made when its version was last raised."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.engine.stage import Stage, walk
from dfdgbench.planning import plan
from dfdgbench.stages.pool import load_pool

GOLDEN = Path(__file__).with_name("golden_stages.json")
REFRESH = "DFDGBENCH_REFRESH=1 python -m pytest tests/engine/test_engine_golden.py"
KINDS = ("teacher", "inverted", "fused", "noise", "squeeze", "sre2l", "g-vbsm", "rded", "dtl")
KINDS += ("classifier", "verifier", "source-statistics")
POINTS = 48
# Of other processors and other versions of PyTorch: mean distance of pixels (0 to 255), and of weights.
TOLERANCE = {"images": 2.0, "labels": 0.0, "weights": 2e-3, "statistics": 5e-3}

# Enough steps for a mistake to show, few enough for rounding not to.
HPARAMS = tiny.tiny("teacher", "inversion", "fusion", teacher__steps=6, inversion__steps=12, fusion__steps=12) | {
    "inversion.group": 8,
    "fusion.group": 8,
}


def _sampled(values: torch.Tensor) -> list[float]:
    """``POINTS`` values spread evenly over all of them."""
    flat = values.double().flatten()
    places = torch.linspace(0, len(flat) - 1, POINTS).long()
    return [round(value, 4) for value in flat[places].tolist()]


def _summary(folder: Path) -> dict[str, list[float]]:
    """An artifact in a few numbers."""
    if (folder / "images.npy").exists():
        pool = load_pool(folder)
        return {"images": _sampled(pool.images), "labels": _sampled(pool.labels)}
    what, file = "weights", "model.safetensors"
    if (folder / "statistics.safetensors").exists():
        what, file = "statistics", "statistics.safetensors"
    tensors = read_tensors(folder / file)
    return {what: _sampled(torch.cat([tensors[name].double().flatten() for name in sorted(tensors)]))}


def _stages(artifacts: Path) -> dict[str, Stage]:
    """The last stage of every kind."""
    found: dict[str, Stage] = {}
    given = {"DEKAN": HPARAMS, "KD-on-noise": tiny.tiny("teacher", noise__images=8)}
    for name in ("SRe2L", "G-VBSM", "RDED", "DTL-DSM"):
        given[name] = {**ALGORITHMS.get(name).tiny, "ipc": 4}
    given["G-VBSM"] |= {"recover.networks": ("smallcnn",)}
    given["Homogenization"] = ALGORITHMS.get("Homogenization").tiny
    for algorithm, hparams in given.items():
        config = RunConfig.make(algorithm=algorithm, dataset="Debug28", network="smallcnn", hparams=hparams)
        planned = plan(config, Execution(device="cpu", artifacts=artifacts))
        found = {stage.kind: stage for stage in walk(planned.last)} | found
    return {kind: found[kind] for kind in KINDS}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Version and content of an artifact of every kind."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    engine = tiny.engine(artifacts, every=1e9)
    found = {
        kind: {"version": stage.version, **_summary(engine.ensure(stage))} for kind, stage in _stages(artifacts).items()
    }
    if os.environ.get("DFDGBENCH_REFRESH"):
        GOLDEN.write_text(
            json.dumps(found, indent=1).replace(",\n   ", ", ").replace("[\n   ", "[").replace("\n  ]", "]") + "\n"
        )
    return found


def _distance(one: list[float], other: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stage_makes_changes_with_its_version_alone(made: dict[str, dict[str, Any]], kind: str) -> None:
    now, golden = dict(made[kind]), dict(json.loads(GOLDEN.read_text())[kind])
    version, recorded = now.pop("version"), golden.pop("version")
    assert version == recorded, f"The version of '{kind}' is {version}, version {recorded} is recorded. Type: {REFRESH}"
    changed = {name: _distance(now[name], golden[name]) for name in golden}
    wrong = {name: distance for name, distance in changed.items() if distance > TOLERANCE[name]}
    assert not wrong, (
        f"'{kind}' makes something else than version {version} did (mean distances {wrong}), and stored artifacts would be "
        f"taken for what it makes now. If that is meant, raise the stage's version and type: {REFRESH}"
    )


def test_the_comparison_can_tell() -> None:
    """A guard of the guard: other seeds, and another rate, are far outside of the tolerance."""
    golden = json.loads(GOLDEN.read_text())
    assert _distance(golden["inverted"]["images"], golden["fused"]["images"]) > 10 * TOLERANCE["images"]
    assert _distance(golden["noise"]["images"], golden["fused"]["images"]) > 10 * TOLERANCE["images"]
