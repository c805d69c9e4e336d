"""``dfdgbench``: parse, dispatch, and tell what went wrong in one message."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from dfdgbench import __version__
from dfdgbench.cli.output import fail, listen
from dfdgbench.engine.interrupt import Interrupted
from dfdgbench.errors import DfdgbenchError

COMMANDS = (
    "list", "data", "networks", "train", "evaluate", "sweep", "collect", "table", "compare", "figure", "report", "artifacts",
    "new", "check",
)  # fmt: skip

DESCRIPTION = """\
Methods for generalising to unseen domains, trained, swept, selected and tabulated in one harness."""

EXAMPLES = """\
examples:
  dfdgbench list algorithms
  dfdgbench train --algorithm DEKAN --dataset MiniDigits --test-envs 0
  dfdgbench sweep plan dekan-table1 --data-dir DIR
  dfdgbench sweep launch quickstart
  dfdgbench table quickstart runs/quickstart

`dfdgbench COMMAND --help` shows a command's options."""


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that ends with exit code 2 and one message, and takes ``--test_envs`` for ``--test-envs``."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message}\nType `{self.prog} --help` for what is allowed.\n")

    def _match_arguments_partial(self, actions: Sequence[argparse.Action], arg_strings_pattern: str) -> list[int]:
        """Before Python 3.12.7, an argument that may be left out was taken for left out at the first flag, and could not
        come after one."""
        counts: list[int] = super()._match_arguments_partial(actions, arg_strings_pattern)
        while "O" in arg_strings_pattern and counts and not counts[-1]:
            counts.pop()
        return counts


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="dfdgbench", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"dfdgbench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        importlib.import_module(f"dfdgbench.cli.{name}").add(commands)
    try:
        import shtab
    except ImportError:
        return parser
    shtab.add_argument_to(parser, ["--print-completion"], help="print a completion script for bash, zsh or tcsh")
    return parser


def with_dashes(arguments: Sequence[str]) -> list[str]:
    """DomainBed's spelling of flags as ours: ``--test_envs`` becomes ``--test-envs``; values stay."""
    spelled = []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            argument = name.replace("_", "-") + equals + value
        spelled.append(argument)
    return spelled


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (it could not be done), 2 (wrong usage), 128 + n (stopped by a signal)."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a person's own `module:Class` lies; last, so that it hides nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8, nor terminals
    parser = make_parser()
    options = parser.parse_args(with_dashes(sys.argv[1:] if arguments is None else arguments))
    if options.command is None:
        parser.print_help()
        return 2
    with listen():
        try:
            return int(options.run(options) or 0)
        except DfdgbenchError as error:
            fail(str(error))
            return 1
        except KeyboardInterrupt:
            fail("Stopped. The same command goes on from the last snapshot.")
            return 130
        except BrokenPipeError:
            # Whoever read our output (head, less) has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Interrupted as error:
            fail(str(error))
            return 128 + error.signal


if __name__ == "__main__":
    sys.exit(main())
