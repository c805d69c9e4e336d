"""No data means no data: methods that may not see images train to the end where there are none."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dfdgbench.cli.main import main
from dfdgbench.datasets.base import DATASETS, Dataset, Domain, Metadata
from dfdgbench.datasets.domains import folder_domain
from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.engine.stage import walk
from dfdgbench.errors import DataError, MissingDataError
from dfdgbench.planning import Plan, plan
from dfdgbench.posing import open_dataset

DOMAINS, CLASSES, EACH = ("clay", "wood", "wire"), ("cup", "pot"), 10
METHODS = ("AvgPred", "Multi-DI", "DEKAN")
HPARAMS: dict[str, dict[str, Any]] = {
    "teacher": {"steps": 3, "batch_size": 8},
    "inversion": {"steps": 3, "images": 8, "group": 8, "required_accuracy": 0.0},
    "fusion": {"steps": 3, "images": 8, "group": 8, "required_accuracy": 0.0},
    "distillation": {"batch_size": 8},
}
GROUPS = {
    "AvgPred": ("teacher",),
    "Multi-DI": ("teacher", "inversion", "distillation"),
    "DEKAN": ("teacher", "inversion", "fusion", "distillation"),
    "ERM": (),
}
ACCURACIES = {f"env{domain}_{split}_acc" for domain in range(3) for split in ("in", "out")}


class Things(Dataset):
    """Three domains of pictures in folders."""

    metadata = Metadata(
        name="Things", description="pictures", domains=DOMAINS, classes=CLASSES, counts=(2 * EACH,) * 3, image_size=28,
        small=True, network="smallcnn", steps=4, checkpoint_freq=2, layout="Things/DOMAIN/CLASS/*.png",
    )  # fmt: skip

    def open(self, index: int) -> Domain:
        return folder_domain(DOMAINS[index], self.root() / "Things" / DOMAINS[index], CLASSES)


class Guarded(Things):
    """The same where it is away, with a list of who asked for it."""

    callers: list[list[str]] = []

    def open(self, index: int) -> Domain:
        self.callers.append(
            [f"{frame.filename.replace(chr(92), '/')}:{frame.name}" for frame in traceback.extract_stack()]
        )
        raise MissingDataError(f"The pictures of {DOMAINS[index]} are away.")


def write_pictures(root: Path) -> None:
    """Classes that differ in brightness, in other colours in every domain."""
    random = np.random.RandomState(0)
    for domain, name in enumerate(DOMAINS):
        for label, kind in enumerate(CLASSES):
            folder = root / "Things" / name / kind
            folder.mkdir(parents=True)
            for number in range(EACH):
                pixels = random.randint(100 * label, 100 * label + 120, (28, 28, 3))
                pixels[..., domain] //= 2
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


class World:
    """A data folder that can be taken away, and runs beside it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.data, self.monkeypatch = root, root / "data", monkeypatch
        write_pictures(self.data)
        self.bring_back()

    def show(self, dataset: type[Dataset]) -> None:
        DATASETS.names()
        self.monkeypatch.setitem(DATASETS._found, "Things", dataset)
        open_dataset.cache_clear()

    def take_away(self) -> None:
        self.data.rename(self.root / "elsewhere")
        Guarded.callers.clear()
        self.show(Guarded)

    def bring_back(self) -> None:
        if (self.root / "elsewhere").exists():
            (self.root / "elsewhere").rename(self.data)
        self.show(Things)

    def plan(self, algorithm: str, artifacts: str = "artifacts") -> Plan:
        """A fresh look at everything, as a new process has it."""
        open_dataset.cache_clear()
        hparams = {group: HPARAMS[group] for group in GROUPS[algorithm]}
        config = RunConfig.make(
            algorithm=algorithm, dataset="Things", data_dir=str(self.data), steps=4, hparams=hparams
        )
        return plan(config, Execution(device="cpu", artifacts=self.root / artifacts))

    def run(self, algorithm: str, name: str, artifacts: str = "artifacts") -> RunFolder:
        return self.plan(algorithm, artifacts).execute(self.root / name / algorithm)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield World(tmp_path, monkeypatch)
    open_dataset.cache_clear()


def release_teachers(world: World) -> None:
    """What the owner of the pictures does."""
    planned = world.plan("AvgPred")
    for stage in walk(planned.last):
        if stage.kind == "teacher":
            planned.engine().ensure(stage)


def without(folder: RunFolder, left_out: Callable[[str], bool]) -> list[dict[str, Any]]:
    """A run's records without some keys."""
    return [
        {name: value for name, value in record.items() if not left_out(name)} for record in records.read(folder.results)
    ]


def test_data_free_methods_train_where_there_is_no_data_and_are_evaluated_when_it_comes(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    release_teachers(world)
    world.take_away()

    runs = {method: world.run(method, "runs") for method in METHODS}
    for method, folder in runs.items():
        found = records.read(folder.results)
        assert folder.done
        assert [record["step"] for record in found] == ([0] if method == "AvgPred" else [0, 2, 3])
        for record in found:
            assert {name for name in record if name.startswith("env")} == ACCURACIES
            assert all(math.isnan(record[name]) for name in ACCURACIES)

    assert Guarded.callers, "evaluation asked for the data"
    for stack in Guarded.callers:
        ours = [frame.split("/dfdgbench/", 1)[1] for frame in stack if "/dfdgbench/" in frame]
        assert {"engine/evaluation.py:_measured", "engine/problem.py:fingerprint"} & set(ours), "\n".join(ours)
        assert not [frame for frame in ours if frame.startswith(("stages/", "algorithms/"))], "\n".join(ours)

    # It is not there yet: nothing is lost by asking.
    before = {method: folder.results.read_bytes() for method, folder in runs.items()}
    for method, folder in runs.items():
        assert main(["evaluate", str(folder.path), "--pending"]) == 1
        assert "clay/in, clay/out, wood/in" in capsys.readouterr().out
        assert folder.results.read_bytes() == before[method]

    world.bring_back()
    for method, folder in runs.items():
        assert main(["evaluate", str(folder.path), "--pending"]) == 0
        reference = world.run(method, "reference", "artifacts of the reference")
        found, expected = (without(one, {"step_time", "args"}.__contains__) for one in (folder, reference))
        assert found == expected
        assert all(0 <= record[name] <= 1 for record in found for name in ACCURACIES)
        assert not folder.pending.exists()
        if method != "AvgPred":
            assert folder.model.read_bytes() == reference.model.read_bytes()
        # Once more changes nothing.
        filled = folder.results.read_bytes()
        assert main(["evaluate", str(folder.path), "--pending"]) == 0
        assert folder.results.read_bytes() == filled


def test_pending_weights_are_kept_until_the_records_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the records are filled, the same command still has all it needs."""
    release_teachers(world)
    world.take_away()
    folder = world.run("Multi-DI", "runs")
    world.bring_back()

    def kill(path: Path, found: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "rewrite", kill)
        assert main(["evaluate", str(folder.path), "--pending"]) == 130
    assert main(["evaluate", str(folder.path), "--pending"]) == 0
    assert all(0 <= record[name] <= 1 for record in records.read(folder.results) for name in ACCURACIES)


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_method_that_needs_images_says_so_in_one_message(
    world: World, capsys: pytest.CaptureFixture[str], seen_before: bool
) -> None:
    if seen_before:
        assert world.plan("ERM").last.key
    world.take_away()
    for method in ("ERM", "AvgPred"):
        arguments = ["--algorithm", method, "--dataset", "Things", "--data-dir", str(world.data), "--device", "cpu"]
        places = ["--output-dir", str(world.root / method), "--artifacts", str(world.root / "artifacts")]
        assert main(["train", *arguments, *places]) == 1
        assert capsys.readouterr().err == "dfdgbench: The pictures of wood are away.\n"
    assert not (world.root / "ERM" / "results.jsonl").exists()


def test_the_data_that_was_there_is_named_where_the_folder_is_gone(world: World) -> None:
    world.data.rename(world.root / "elsewhere")
    with pytest.raises(
        DataError, match=rf"data folder {world.data} does not exist. Things expects Things/DOMAIN/CLASS"
    ):
        world.run("ERM", "runs")


def test_a_record_without_data_is_json_that_domainbeds_reader_takes(world: World) -> None:
    release_teachers(world)
    world.take_away()
    text = world.run("AvgPred", "runs").results.read_text()
    assert text.count('_acc": NaN') == len(ACCURACIES)
    assert json.loads(text)["args"]["setting"] == "data-free"
