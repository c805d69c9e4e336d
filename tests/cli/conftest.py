"""Commands called in process, in a folder of their own, on tiny data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfdgbench import posing
from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.cli.main import main
from dfdgbench.datasets.pacs import PACS
from dfdgbench.tables import spec

# A run that takes a fraction of a second.
PROBLEM = ("--dataset", "Debug28", "--network", "smallcnn", "--device", "cpu", "--checkpoint-freq", "0")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Calls ``dfdgbench`` with the given arguments, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: object) -> Outcome:
        for cache in (posing.open_dataset, spec.load):
            cache.cache_clear()  # a command is a process of its own
        importlib.invalidate_caches()
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def train(cli: Cli) -> Cli:
    """Calls ``dfdgbench train`` on tiny data, with more arguments on top."""

    def call(*arguments: object, algorithm: str = "ERM") -> Outcome:
        size = (
            ("--steps", 3, "--hparam", "batch_size=4") if algorithm == "ERM" else ("--hparam", "teacher.batch_size=4")
        )
        return cli("train", *PROBLEM, "--algorithm", algorithm, *size, *arguments)

    return call


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes an importable module; what it registers is forgotten after the test."""
    ALGORITHMS.names()  # which registers the package's own
    registered, imported = dict(ALGORITHMS._found), set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    yield write
    ALGORITHMS._found = registered
    for name in set(sys.modules) - imported:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def pacs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a PACS of two 32x32 pictures a class and domain."""
    for domain in PACS.metadata.domains:
        for label, name in enumerate(PACS.metadata.classes):
            folder = tmp_path / "data" / "PACS" / domain / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = np.random.RandomState(10 * label + number).randint(0, 256, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    monkeypatch.setattr(PACS, "metadata", PACS.metadata.model_copy(update={"counts": (14,) * 4}))
    return tmp_path / "data"
