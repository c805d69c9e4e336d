"""Results are read, selected and rendered without torch."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import dfdgbench.results as package
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(found.name)
from dfdgbench.results import render, selection, table
from dfdgbench.tables import spec
selection.RULES.names()
render.markdown(table.build(spec.load("dekan-table1")))
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision", "timm")))
"""


def test_no_module_of_results_imports_torch() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
