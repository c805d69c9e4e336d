"""The losses know tensors alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dfdgbench.losses

MODULES = sorted(Path(dfdgbench.losses.__path__[0]).glob("*.py"))


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_loss_imports_nothing_of_the_project_but_errors_and_losses(path: Path) -> None:
    ours = {name for name in imported(path.read_text()) if name.startswith((".", "dfdgbench"))}
    assert {name for name in ours if not name.startswith("dfdgbench.losses.")} <= {"dfdgbench.errors"}


def test_the_check_sees_every_kind_of_import() -> None:
    assert len(MODULES) >= 6
    source = "import dfdgbench.seeds\nfrom .prior import x\ndef f():\n    from dfdgbench.engine import y\n"
    assert set(imported(source)) == {"dfdgbench.seeds", ".prior", "dfdgbench.engine"}
