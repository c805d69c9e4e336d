"""Which runs a sweep has, from the command line: a table, a file of one's own, or DomainBed's flags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import method_options, overrides, positive
from dfdgbench.datasets.typed import typed
from dfdgbench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dfdgbench.sweeps.run import SweepRun
    from dfdgbench.tables.rules import RuleNeeds
    from dfdgbench.tables.spec import TableSpec

PROBLEM = ("protocol", "holdout_fraction", "uda_holdout_fraction", "transductive", "task")
SEARCH = ("n_hparams_from", "n_hparams", "test_env_grid", "seed_protocol", "rules")


@dataclass(frozen=True)
class Chosen:
    """What the command line asks for.

    Attributes:
        remarks: what a person should know of the runs, a sentence each.
        would_add: selection rules to how many more runs they would need.
    """

    spec: TableSpec
    runs: list[SweepRun]
    remarks: list[str]
    would_add: dict[str, int]

    def lines(self) -> list[str]:
        """The remarks, and what other rules would add, with what to type for it."""
        search = self.spec.search
        now = search.rules or dict.fromkeys(row.selection or self.spec.selection for _, row in self.spec.run_rows())
        grid = " --test-env-grid both" if search.test_env_grid == "single" else ""
        return self.remarks + [
            f"{rule} would add {count} runs: --rules {' '.join([*now, rule])}{grid if self._needs_pairs(rule) else ''}"
            for rule, count in self.would_add.items()
        ]

    @staticmethod
    def _needs_pairs(rule: str) -> bool:
        from dfdgbench.results.selection import RULES

        return RULES.get(rule).pairs


def add_grid(parser: argparse.ArgumentParser) -> None:
    """The flags that say which runs there are."""
    group = parser.add_argument_group("which runs")
    group.add_argument(
        "--datasets", nargs="+", default=[], metavar="NAME", help="without TABLE: those of the sweep; else these alone"
    )
    group.add_argument(
        "--algorithms",
        nargs="+",
        default=[],
        metavar="NAME",
        help="without TABLE: those of the sweep; else these rows alone",
    )
    group.add_argument(
        "--test-envs", nargs="+", type=typed, default=[], metavar="ENV", help="these held-out domains alone"
    )
    group.add_argument(
        "--trials", "--n-trials", dest="trials", type=positive, metavar="N", help="default: the table's, else 3"
    )
    group.add_argument(
        "--n-hparams",
        type=positive,
        metavar="END",
        help="the end (exclusive) of the range of hparams seeds, as in DomainBed, not their count; seed 0 is the defaults; "
        "default: the table's, else 20",
    )
    group.add_argument(
        "--n-hparams-from", type=int, metavar="START", help="the first hparams seed of the range; default: 0"
    )
    held_out = group.add_mutually_exclusive_group()
    held_out.add_argument(
        "--test-env-grid",
        choices=["single", "pairs", "both"],
        help="hold out one domain, two (leave-two-out), or both, as DomainBed does; default: what the rules need",
    )
    held_out.add_argument(
        "--single-test-envs", dest="test_env_grid", action="store_const", const="single", help="--test-env-grid single"
    )
    group.add_argument(
        "--seed-protocol",
        choices=["domainbed", "tune-then-repeat"],
        help="domainbed (default): random configuration k differs between trials; tune-then-repeat: it is trial 0's in all",
    )
    group.add_argument(
        "--rules",
        nargs="+",
        metavar="RULE",
        help="plan only the runs that these selection rules need; default: the table's, else training-domain and, unless "
        "--single-test-envs, leave-one-domain-out",
    )
    group.add_argument(
        "--seed", type=int, help="taken and not used, as in DomainBed: a run's seed is a hash of what it is"
    )
    group = parser.add_argument_group("problem")
    group.add_argument("--protocol", metavar="NAME", help="how domains are split; default: the data set's own")
    group.add_argument(
        "--holdout-fraction", type=float, metavar="F", help="share of each domain's out split; default 0.2"
    )
    group.add_argument("--uda-holdout-fraction", type=float, metavar="F", help="share kept for unlabelled adaptation")
    group.add_argument(
        "--transductive", action="store_true", default=None, help="unlabelled adaptation reads the test images"
    )
    group.add_argument("--task", choices=["domain_generalization", "domain_adaptation"], help="DomainBed's")


def choose(options: argparse.Namespace) -> Chosen:
    """The runs that a command line asks for.

    Raises:
        ConfigError: it names neither a table nor a grid, or what it names has mistakes.
    """
    from dfdgbench.results.selection import needs
    from dfdgbench.sweeps.grid import runs_of
    from dfdgbench.sweeps.places import Choice, additions, remarks
    from dfdgbench.tables.spec import Search

    rules = needs()
    spec = chosen_spec(options, rules)
    narrowed: dict[str, Any] = {"test_envs": options.test_envs}
    if options.table is not None:
        narrowed |= {"datasets": options.datasets, "algorithms": options.algorithms}
    given = method_options(options) | _given(options, PROBLEM)
    runs = runs_of(
        spec,
        data_dir=options.data_dir,
        options=given,
        hparams=overrides(options),
        trials=options.trials,
        rules=rules,
        **narrowed,
    )
    choice = Choice(spec, rules, **narrowed)
    more = additions(choice, options.trials or spec.trials) if spec.search != Search() else {}
    return Chosen(spec, runs, remarks(choice), more)


def chosen_spec(options: argparse.Namespace, rules: Mapping[str, RuleNeeds]) -> TableSpec:
    """The table that the runs fill, with the command line's search."""
    from dfdgbench.sweeps.grids import spec_of
    from dfdgbench.tables.grid import Grid, source
    from dfdgbench.tables.spec import Search

    search = _given(options, SEARCH)
    if options.table is None:
        found: TableSpec | Grid = _from_flags(options, search)
    else:
        found = source(options.table)
    if isinstance(found, Grid):
        trials = {"n_trials": options.trials} if options.trials else {}
        return spec_of(Grid.make(**(found.model_dump() | search | trials)), rules)
    return found.model_copy(update={"search": Search.make(**(found.search.model_dump() | search))})


def _from_flags(options: argparse.Namespace, search: dict[str, Any]) -> Any:
    from dfdgbench.tables.grid import Grid

    missing = [name for name in ("algorithms", "datasets") if not getattr(options, name)]
    if missing:
        raise ConfigError(
            f"Without a table there is no sweep: --{missing[0]} is missing. Name a table (`dfdgbench list tables`), a YAML file "
            "of your own, or --algorithms and --datasets."
        )
    return Grid.make(algorithms=options.algorithms, datasets=options.datasets, **search)


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}
