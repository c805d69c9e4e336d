"""The wheel: what is in it, and that it works in a fresh environment, away from the checkout.

Installs every dependency (several GB) and runs the quick start, so it is no part of the suite: `make test-installed`.
It fails, and does not skip, where it cannot run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (".py", ".yaml", ".csv", ".md", ".typed", ".html", ".css", ".js")


def call(command: Sequence[str | Path], folder: Path) -> str:
    """What ``command`` prints, called in ``folder`` without the variables that lead to a checkout or its caches."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DFDGBENCH_ARTIFACTS"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"DFDGBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{' '.join(map(str, command))}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "dfdgbench", folder / "source" / "dfdgbench", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder / "source")
    call([sys.executable, "-m", "build", "--wheel", "--outdir", folder, folder / "source"], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of a fresh environment that has the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    call([sys.executable, "-m", "venv", folder / "venv"], folder)
    programs = folder / "venv" / "bin"
    call([programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], folder)
    yield programs
    shutil.rmtree(folder)


def test_everything_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    sources = (path for path in (ROOT / "dfdgbench").rglob("*") if path.suffix in SHIPPED)
    expected = {path.relative_to(ROOT).as_posix() for path in sources if "__pycache__" not in path.parts}
    assert {"dfdgbench/py.typed", "dfdgbench/tables/quickstart.yaml"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
    assert expected - found == set()
    assert [name for name in found if not name.startswith("dfdgbench")] == []


def test_the_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    place = call([installed / "python", "-c", "import dfdgbench; print(dfdgbench.__file__)"], tmp_path)
    assert Path(place.strip()).is_relative_to(installed.parent)
    assert "DEKAN" in call([installed / "dfdgbench", "list", "algorithms"], tmp_path)


def test_the_quick_start_ends_with_a_table_and_a_picture(installed: Path, tmp_path: Path) -> None:
    shown = call([installed / "dfdgbench", "sweep", "launch", "quickstart", "--jobs", "2", "--device", "cpu"], tmp_path)
    assert "28 of 28 runs are done. Their table: dfdgbench table quickstart runs/quickstart" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("Synthetic images")]
    assert (tmp_path / line.partition(": ")[2]).is_file()
    table = call([installed / "dfdgbench", "table", "quickstart", "runs/quickstart"], tmp_path)
    assert all(f"| {row} " in table for row in ("ERM", "AvgPred", "BestTeacher", "Multi-DI", "DEKAN"))
