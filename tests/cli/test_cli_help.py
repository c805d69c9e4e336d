"""Help, versions, completion: quick, complete, and without importing anything heavy."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

import dfdgbench
from dfdgbench.cli.main import COMMANDS, make_parser

HEAVY = ("torch", "pandas", "pydantic", "numpy")
WITH_ACTIONS = {
    "data": ["status", "download", "verify", "cache"],
    "networks": ["status", "download"],
    "sweep": ["plan", "launch", "prefetch", "status", "logs", "retry", "cancel", "delete-incomplete", "merge", "work"],
    "artifacts": ["ls", "du", "gc", "export"],
}
EVERY = [[name] for name in COMMANDS] + [[name, action] for name, actions in WITH_ACTIONS.items() for action in actions]


@pytest.mark.parametrize("words", [[], *EVERY], ids=" ".join)
def test_help_shows_an_example(cli: Callable, words: list[str]) -> None:
    shown = cli(*words, "--help")
    assert shown.code == 0
    assert "example" in shown.out
    assert f"\n  dfdgbench {words[0] if words else 'list'}" in shown.out


@pytest.mark.parametrize("command", WITH_ACTIONS)
def test_every_action_of_a_command_is_tested_above(command: str) -> None:
    commands = next(action for action in make_parser()._actions if action.dest == "command")
    actions = next(action for action in commands.choices[command]._actions if action.dest == "action")
    assert list(actions.choices) == WITH_ACTIONS[command]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in WITH_ACTIONS])
def test_other_commands_have_no_actions(command: str) -> None:
    commands = next(action for action in make_parser()._actions if action.dest == "command")
    assert not [action for action in commands.choices[command]._actions if action.dest == "action"]


def test_help_takes_less_than_half_a_second() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dfdgbench", "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sweep", "launch", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: sys.stderr.write(repr([m for m in {HEAVY!r} if m in sys.modules])))\n"
        f"from dfdgbench.cli.main import main\nmain({arguments!r})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == "[]"


def test_version(cli: Callable) -> None:
    assert cli("--version").out == f"dfdgbench {dfdgbench.__version__}\n"


def test_no_command_shows_the_help_and_is_wrong_usage(cli: Callable) -> None:
    shown = cli()
    assert shown.code == 2
    assert "usage: dfdgbench" in shown.out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_script(cli: Callable, shell: str) -> None:
    shown = cli("--print-completion", shell)
    assert shown.code == 0
    assert "--test-envs" in shown.out
