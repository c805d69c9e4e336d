"""``dfdgbench evaluate``: a trained run on any data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfdgbench.cli.options import add_local
from dfdgbench.cli.output import say, say_table
from dfdgbench.errors import ConfigError

EXAMPLES = """\
examples:
  dfdgbench evaluate runs/RUN
  dfdgbench evaluate runs/RUN --dataset PACS --data-dir data
  dfdgbench evaluate runs/RUN --pending --data-dir data"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a trained run",
        description="Evaluate a trained run's predictors on every domain and split.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--dataset", metavar="NAME", help="default: the run's own; another one must have the same classes"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="default: where it was")
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="default: where they were")
    add_local(parser)
    parser.add_argument(
        "--pending", action="store_true", help="fill the records of a run that was trained without data"
    )
    parser.add_argument("--native-size", action="store_true", help="score masks in their own size, too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate."""
    from dfdgbench.api import load

    if options.pending and (options.native_size or options.dataset):
        given = "--native-size" if options.native_size else "--dataset"
        raise ConfigError(
            f"--pending fills the run's own records, as they were planned. Leave {given} out, or --pending."
        )
    loaded = load(
        options.run_folder, data_dir=options.data_dir, artifacts=options.artifacts, local_dir=options.local_dir
    )
    if options.pending:
        absent = loaded.evaluate_pending()
        if absent:
            say(f"Still not evaluated, their data is not here: {', '.join(absent)}.")
            return 1
        say(f"Every record of {options.run_folder} is evaluated.")
        return 0
    values = loaded.evaluate(dataset=options.dataset, native_size=options.native_size)
    say_table([{"metric": name, "%": f"{100 * value:.2f}"} for name, value in values.items()])
    return 0
