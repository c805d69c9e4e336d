"""A new algorithm is one file: written, checked, trained, swept and tabulated without touching the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.algorithms.base import ALGORITHMS

TABLE = """
name: mine
title: Mine beside ERM
trials: 1
options: {network: smallcnn, steps: 2, checkpoint_freq: 0}
hparams: {batch_size: 4}
parts: [{title: Debug28, dataset: Debug28, columns: {"0": first, "2": third}}]
rows: [{label: ERM, algorithm: ERM}, {label: Mine, algorithm: "mymethod:MyMethod", hparams: {smoothing: 0.2}}]
"""

BROKEN = '''
from torch import Tensor
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.hparams import hparam
from dfdgbench.settings import DOMAIN_GENERALISATION

@register("Broken", setting=DOMAIN_GENERALISATION, paper=Paper("Nobody"))
class Broken(ERM):
    """Broken."""

'''

FAULTS = {
    "no-doc": (
        "    class Hparams(ERM.Hparams):\n        gamma: float = hparam(1.0, doc='')",
        "'gamma' has no doc",
    ),
    "undeclared": (
        "    class Hparams(ERM.Hparams):\n        gamma: float = 1.0",
        "gamma must be declared by hparam",
    ),
    "unknown-preset": ("    presets = {'p': {'gamma': 1}}", "preset 'p' names unknown hyper-parameters"),
    "not-finite": (
        "    def predict(self, x: Tensor) -> Tensor:\n        return super().predict(x) * float('nan')",
        "not finite",
    ),
    "scores-of-another-shape": (
        "    def predictors(self):\n        return {'default': self.network.featurizer}",
        "scores of 3 images have the shape",
    ),
    "state-not-in-snapshot": (
        "    def update(self, minibatches, unlabeled=None):\n"
        "        self.seen = [*getattr(self, 'seen', []), 1]\n"
        "        for group in self.optimizer.param_groups:\n"
        "            group['lr'] = 1e-3 * len(self.seen)\n"
        "        return super().update(minibatches, unlabeled)",
        "killed and resumed",
    ),
}


@pytest.fixture
def mine(cli: Callable, module: Callable) -> None:
    """A new algorithm, as the template has it."""
    assert cli("new", "algorithm", "MyMethod").code == 0


def test_what_new_prints_is_what_to_type(cli: Callable, tmp_path: Path) -> None:
    shown = cli("new", "algorithm", "MyMethod", "--folder", "package")
    assert (tmp_path / "package" / "mymethod.py").is_file()
    assert "dfdgbench check mymethod:MyMethod" in shown.out
    assert "dfdgbench train --algorithm mymethod:MyMethod" in shown.out
    assert "[dfdgbench.algorithms] MyMethod = mymethod:MyMethod" in shown.out


@pytest.mark.usefixtures("mine")
def test_the_template_keeps_the_contract(cli: Callable) -> None:
    checked = cli("check", "mymethod:MyMethod")
    assert checked.code == 0
    assert checked.out.splitlines()[-1] == "mymethod:MyMethod keeps the contract."


@pytest.mark.usefixtures("mine")
def test_it_can_be_checked_in_its_folder_by_the_installed_command(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("dfdgbench"), "list", "hparams", "mymethod:MyMethod"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "weight of the uniform distribution" in shown.stdout


@pytest.mark.usefixtures("mine")
def test_it_is_trained_swept_and_tabulated(cli: Callable, train: Callable, tmp_path: Path) -> None:
    assert train("--algorithm", "mymethod:MyMethod", "--hparam", "smoothing=0.2", "--output-dir", "one").code == 0
    assert json.loads((tmp_path / "one" / "config.json").read_text())["hparams"]["smoothing"] == 0.2
    (tmp_path / "mine.yaml").write_text(TABLE)
    launched = cli("sweep", "launch", "mine.yaml", "--launcher", "debug", "--device", "cpu")
    assert (launched.code, launched.err) == (0, "")
    assert "4 of 4 runs are done. Their table: dfdgbench table mine.yaml runs/mine" in launched.out
    table = cli("table", "mine.yaml", "runs/mine")
    assert table.code == 0
    (row,) = [line for line in table.out.splitlines() if line.startswith("| Mine")]
    assert all(any(digit in cell for digit in "0123456789") for cell in row.split("|")[2:4])
    collected = cli("collect", "runs/mine")
    assert collected.code == 0
    assert "MyMethod" in collected.out


@pytest.mark.usefixtures("mine")
def test_an_entry_point_makes_it_known_by_name(tmp_path: Path) -> None:
    info = tmp_path / "mypackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dfdgbench.algorithms]\nMyMethod = mymethod:MyMethod\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "dfdgbench", "list", "algorithms", "--json"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (row,) = [row for row in json.loads(shown.stdout) if row["name"] == "MyMethod"]
    assert row["setting"] == "domain-generalisation"


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_what_is_broken(cli: Callable, module: Callable, fault: str) -> None:
    body, message = FAULTS[fault]
    module(f"broken_{fault.replace('-', '_')}", BROKEN + body + "\n")
    failed = cli("check", f"broken_{fault.replace('-', '_')}:Broken")
    assert failed.code == 1
    assert message in failed.err
    assert "Traceback" not in failed.err


def test_an_algorithm_without_a_docstring_is_refused(cli: Callable, module: Callable) -> None:
    module("undocumented", BROKEN.replace('    """Broken."""', "    pass"))
    failed = cli("check", "undocumented:Broken")
    assert failed.code == 1
    assert "has no docstring" in failed.err


def test_a_name_taken_is_refused(cli: Callable, module: Callable) -> None:
    module("taken", BROKEN.replace('"Broken"', '"DEKAN"'))
    failed = cli("check", "taken:Broken")
    assert failed.code == 1
    assert "registered twice" in failed.err
    assert ALGORITHMS.get("DEKAN").__module__ == "dfdgbench.algorithms.dekan"
