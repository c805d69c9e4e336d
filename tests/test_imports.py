"""Imports point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dfdgbench

ROOT = Path(dfdgbench.__file__).parent
MODULES = {
    ".".join(("dfdgbench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
# A folder, and what nothing in it may import, in functions or outside.
FORBIDDEN = {
    "losses": ("algorithms", "stages", "engine", "networks", "datasets", "tasks", "sweeps", "results", "tables", "cli",
               "planning", "posing", "api", "registry", "hparams", "settings", "seeds"),
    "networks": ("datasets", "algorithms", "stages", "engine", "tasks", "sweeps", "results", "tables", "cli", "planning", "posing",
                 "api"),
    "datasets": ("algorithms", "stages", "engine", "networks", "sweeps", "results", "tables", "cli", "planning", "posing", "api"),
    "tasks": ("algorithms", "stages", "engine", "networks", "sweeps", "results", "tables", "cli", "planning", "posing", "api"),
    "engine": ("algorithms", "stages", "sweeps", "results", "tables", "cli", "planning", "posing", "api"),
    "stages": ("algorithms", "sweeps", "results", "tables", "cli", "planning", "posing", "api"),
    "algorithms": ("sweeps", "results", "tables", "cli"),
    "sweeps": ("results", "cli"),
    "tables": ("algorithms", "stages", "networks", "datasets", "tasks", "sweeps", "results", "cli", "planning", "posing", "api"),
    "results": ("algorithms", "stages", "networks", "datasets", "tasks", "cli", "planning", "posing", "api"),
}  # fmt: skip
NOT_TORCH = ("torch", "torchvision", "timm", "safetensors")


class _Imports(ast.NodeVisitor):
    """Names of imported modules, but for those that only a type checker imports."""

    def __init__(self, module: str, functions: bool) -> None:
        self.module, self.functions = module, functions
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)
        for other in node.orelse:
            self.visit(other)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if self.functions:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {name.name for name in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, f"{self.module}: imports are absolute"
        base = node.module or ""
        self.found.add(base)
        self.found |= {f"{base}.{name.name}" for name in node.names if f"{base}.{name.name}" in MODULES}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module: str, functions: bool = True) -> set[str]:
    """Every module that ``module`` imports; those in functions too, unless told otherwise."""
    visitor = _Imports(module, functions)
    visitor.visit(tree(module))
    return visitor.found


def inside(folder: str) -> Iterator[str]:
    yield from sorted(name for name in MODULES if f"{name}.".startswith(f"dfdgbench.{folder}."))


def at_import(module: str, seen: set[str] | None = None) -> set[str]:
    """Everything that importing ``module`` imports, packages' own modules included."""
    seen = set() if seen is None else seen
    parts = module.split(".")
    for name in (".".join(parts[:count]) for count in range(1, len(parts) + 1)):
        if name not in seen:
            seen.add(name)
            for imported in imports(name, functions=False) if name in MODULES else ():
                at_import(imported, seen)
    return seen


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_imports_nothing_above_it(folder: str) -> None:
    above = tuple(f"dfdgbench.{name}." for name in FORBIDDEN[folder])
    wrong = [
        f"{module} imports {name}"
        for module in inside(folder)
        for name in imports(module)
        if f"{name}.".startswith(above)
    ]
    assert list(inside(folder)), f"there is no folder {folder}"
    assert not wrong, "\n".join(wrong)


def test_losses_know_tensors_and_errors_only() -> None:
    for module in inside("losses"):
        ours = {name for name in imports(module) if name.startswith("dfdgbench")}
        assert all(name == "dfdgbench.errors" or name.startswith("dfdgbench.losses") for name in ours), module


@pytest.mark.parametrize("folder", ["results", "tables", "cli"])
def test_light_folders_do_not_import_torch(folder: str) -> None:
    for module in inside(folder):
        heavy = {name for name in at_import(module) if name.split(".")[0] in NOT_TORCH}
        assert not heavy, f"importing {module} imports {', '.join(sorted(heavy))}"


def test_help_and_results_do_not_load_torch() -> None:
    loaded = [name for folder in ("results", "tables") for name in inside(folder)]
    code = f"import sys, dfdgbench.cli.main as m; m.make_parser(); import {', '.join(loaded)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_the_command_line_prints() -> None:
    for module in MODULES:
        calls = [
            node for node in ast.walk(tree(module)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        printed = [node.lineno for node in calls if node.func.id == "print"]  # type: ignore[union-attr]
        assert not printed or module.startswith("dfdgbench.cli"), f"{module} prints in lines {printed}"


def test_the_check_sees_what_it_should() -> None:
    """A guard of the guards: real imports are found, a type checker's are not."""
    assert "dfdgbench.engine.problem" in imports("dfdgbench.algorithms.erm") | imports("dfdgbench.algorithms.dekan")
    assert "dfdgbench.engine.problem" not in imports("dfdgbench.engine.stage")
    assert "torch" in at_import("dfdgbench.planning")
