"""``dfdgbench train``: one run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import add_execution, add_method, execution, folder, method_options, overrides
from dfdgbench.cli.output import say
from dfdgbench.datasets.typed import Typed, typed

if TYPE_CHECKING:
    from dfdgbench.datasets.metadata import Metadata

EXAMPLES = """\
examples:
  dfdgbench train --algorithm ERM --dataset PACS --data-dir data --test-envs 3
  dfdgbench train --algorithm DEKAN --dataset MiniDigits --test-envs 0 --preset image-prior
  dfdgbench train --algorithm DEKAN --dataset PACS --data-dir data --test-envs sketch --hparam inversion.epsilon=30
  dfdgbench train --algorithm mypackage.mymodule:MyMethod --dataset MiniDigits

The same command goes on where an earlier one was stopped."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "train",
        help="train one run",
        description="Train and evaluate one run; flags are DomainBed's where it has them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("problem")
    group.add_argument(
        "--algorithm", default="ERM", metavar="NAME", help="see `dfdgbench list algorithms`; or package.module:Class"
    )
    group.add_argument("--dataset", default="MiniDigits", metavar="NAME", help="see `dfdgbench list datasets`")
    group.add_argument("--data-dir", metavar="DIR", help="the folder that holds the dataset's folder")
    group.add_argument(
        "--test-envs", type=typed, nargs="+", default=[0], metavar="ENV", help="held-out domains, by number or name"
    )
    group.add_argument("--train-envs", type=typed, nargs="+", metavar="ENV", help="source domains; default: all others")
    group.add_argument("--protocol", metavar="NAME", help="how domains are split; default: the dataset's own")
    group.add_argument(
        "--holdout-fraction", type=float, default=0.2, metavar="F", help="share of each domain's out split"
    )
    group.add_argument(
        "--uda-holdout-fraction", type=float, default=0.0, metavar="F", help="share kept for unlabelled adaptation"
    )
    group.add_argument(
        "--transductive", action="store_true", help="unlabelled adaptation reads the test images; tables mark it"
    )
    group.add_argument(
        "--task", choices=["domain_generalization", "domain_adaptation"], default="domain_generalization"
    )
    group = parser.add_argument_group("seeds")
    group.add_argument("--trial-seed", type=int, default=0, help="splits, and random hyper-parameters")
    group.add_argument("--hparams-seed", type=int, default=0, help="0: defaults; others: random configurations")
    group.add_argument(
        "--hparams-trial",
        type=int,
        metavar="N",
        help="the trial whose random configurations are drawn; default: the run's",
    )
    group.add_argument("--seed", type=int, default=0, help="everything else")
    add_method(parser)
    add_execution(parser)
    parser.add_argument(
        "--output-dir", type=folder, metavar="DIR", help="the run's folder; default: runs/ and a name of the run's own"
    )
    parser.set_defaults(run=run)


PROBLEM = (
    "algorithm",
    "dataset",
    "data_dir",
    "test_envs",
    "train_envs",
    "protocol",
    "holdout_fraction",
    "uda_holdout_fraction",
    "transductive",
    "task",
    "trial_seed",
    "hparams_seed",
    "hparams_trial",
    "seed",
)


def _resolved(metadata: Metadata, env: int | str) -> int | str:
    """Digits, which may be a number or a name, as a number; the rest as it was typed, which a run's name is made of."""
    return metadata.index(env) if isinstance(env, Typed) else env


def run(options: argparse.Namespace) -> int:
    """Train."""
    from dfdgbench.engine.config import RunConfig
    from dfdgbench.planning import plan
    from dfdgbench.posing import open_dataset
    from dfdgbench.results.sheet import write_sheet

    given = (
        {name: getattr(options, name) for name in PROBLEM} | method_options(options) | {"hparams": overrides(options)}
    )
    config = RunConfig.make(**given)
    metadata = open_dataset(config.dataset, config.data_dir).metadata
    envs = {name: getattr(options, name) for name in ("test_envs", "train_envs")}
    resolved = {name: [_resolved(metadata, env) for env in given] for name, given in envs.items() if given is not None}
    config = config.model_copy(update=resolved)
    planned = plan(config, execution(options))
    folder = planned.execute(options.output_dir or Path("runs") / planned.config.run_id)
    say(
        f"The run is in {folder.path} (results.jsonl, config.json{', model.safetensors' if folder.model.exists() else ''})."
    )
    sheet = write_sheet([folder.config], options.artifacts, folder.path.name)
    if sheet is not None:
        say(f"Synthetic images, by set and class: {sheet}")
    if folder.pending.exists():
        say(f"The held-out data was not here. When it is: dfdgbench evaluate {folder.path} --pending --data-dir DIR")
    return 0
