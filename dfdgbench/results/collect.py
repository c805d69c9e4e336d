"""DomainBed's tables of all runs below a folder: one a selection rule and dataset, and the averages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dfdgbench.errors import ConfigError, listing
from dfdgbench.results import collected, winners
from dfdgbench.results.collected import Collected, Line, RuleTables, Table
from dfdgbench.results.groups import Group, Key, Method, datasets_of, domain_labels, grouped, labels, methods_of
from dfdgbench.results.ledger import Ledger
from dfdgbench.results.remarks import Note, remarks, without_infinite
from dfdgbench.results.render import DAGGER
from dfdgbench.results.selection import RULES, Rule, get_rule
from dfdgbench.results.stored import read_ledger
from dfdgbench.results.trials import Summary, summary
from dfdgbench.results.winners import Winner, chosen

Format = Literal["markdown", "latex", "csv", "json"]
# DomainBed's three in its order, then the others as they are registered.
_FIRST = ("training-domain", "leave-one-domain-out", "oracle")


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is to be collected.

    Attributes:
        domains: labels of each dataset's domains, datasets in the order of the tables.
    """

    ledger: Ledger
    groups: Sequence[Group]
    domains: Mapping[str, Sequence[str]]
    remarks: Sequence[str]
    records: int

    @property
    def methods(self) -> dict[Method, str]:
        """Every method with its label, by name."""
        return labels(methods_of(self.groups))


def collect(folder: str | Path, *, format: Format = "markdown", include_unfinished: bool = False) -> str:
    """Tables by every selection rule: mean ± standard error (sample deviation) over trials, in percent, X for nothing.

    As in DomainBed, a dataset's ``Avg`` is the mean of the row's cells, and the averages' table takes, of each trial,
    the mean over the domains that are there; runs without a ``done`` file, which DomainBed counts, are left out.

    Args:
        include_unfinished: count them too.

    Raises:
        ConfigError: there is no run, or none that is done.
    """
    return collected.write(tables(read_sweep(folder, include_unfinished=include_unfinished)), format)


def collect_winners(
    folder: str | Path, *, format: Format = "markdown", include_unfinished: bool = False
) -> tuple[str, list[str]]:
    """The run, hyper-parameters and step that each rule chose of every cell and trial; and what there is to remark."""
    if format == "latex":
        raise ConfigError("Winners are no LaTeX table. Type --format markdown, csv or json.")
    sweep = read_sweep(folder, include_unfinished=include_unfinished)
    found: list[Winner] = []
    for name in rules():
        found += winners.winners(sweep.ledger, chosen(sweep.ledger, sweep.groups, get_rule(name)), name, sweep.domains)
    if format == "json":
        return winners.as_json(found), list(sweep.remarks)
    if format == "csv":
        return winners.as_csv(found), list(sweep.remarks)
    titles = {name: RULES.get(name).title for name in rules()}
    return winners.as_markdown(found, sweep.methods, titles), list(sweep.remarks)


def rules() -> list[str]:
    """The names of all rules, DomainBed's first."""
    return list(dict.fromkeys((*_FIRST, *RULES.names())))


def read_sweep(folder: str | Path, *, include_unfinished: bool = False) -> Sweep:
    """The runs below ``folder`` in their groups.

    Raises:
        ConfigError: there is no run, or none that is done.
    """
    ledger, notes = without_infinite(read_ledger(folder))
    groups = grouped(ledger, include_unfinished=include_unfinished)
    said = remarks(ledger, groups, [*notes, *_not_evaluated(ledger, groups)])
    if not groups:
        raise ConfigError(
            "\n".join(
                [
                    f"None of the {len(ledger.entries) + len(ledger.planned)} runs in {folder} has a result to collect. "
                    "Wait for them, or type --include-unfinished.",
                    *said,
                ]
            )
        )
    counted = [entry for entry in ledger.entries if entry.done or include_unfinished]
    domains = {dataset: domain_labels(dataset, groups, ledger) for dataset in datasets_of(groups)}
    return Sweep(ledger, groups, domains, said, sum(len(entry.own[0]) for entry in counted))


def _not_evaluated(ledger: Ledger, groups: Sequence[Group]) -> Iterable[Note]:
    tests = ledger.spread(winners.test_accuracy)
    if not np.isnan(tests).any():
        return
    for group in groups:
        for members in group.members.values():
            for member in members:
                if len(member.shape.targets) == 1 and math.isnan(tests[member.rows[-1]]):
                    name = ledger.entry_of(int(member.rows[-1])).name
                    yield (
                        name,
                        "the held-out domain was not evaluated (`dfdgbench evaluate RUN --pending` does it later)",
                    )


def tables(sweep: Sweep) -> Collected:
    """Every rule's tables."""
    every = [_of_rule(name, sweep) for name in rules()]
    said = [*sweep.remarks, *_said_of_partial(every)]
    methods = {group.key[0] for group in sweep.groups}
    if any(method.oracle or RULES.get(name).marked(method.setting) for name in rules() for method in methods):
        said.append(f"{DAGGER}: the method or the rule looks at more than the method's setting grants.")
    return Collected(sweep.records, every, said)


def _partial(sweep: Sweep, values: Mapping[Key, float]) -> list[str]:
    """The methods, with the dataset, of which a trial lacks some domain."""
    domains = Counter((method, dataset, trial) for method, dataset, trial, _ in values)
    lacking = {found[:2] for found, count in domains.items() if count < len(sweep.domains[found[1]])}
    return [
        f"{label} on {dataset}"
        for dataset in sweep.domains
        for method, label in sweep.methods.items()
        if (method, dataset) in lacking
    ]


def _said_of_partial(every: Sequence[RuleTables]) -> list[str]:
    lacking = list(dict.fromkeys(name for rule in every for name in rule.partial))
    if not lacking:
        return []
    return [
        f"Averages of {listing(lacking, 5)}: of trials that lack domains, they take, as DomainBed does, the domains "
        "that are there. `dfdgbench table` averages only trials that have all."
    ]


def _of_rule(name: str, sweep: Sweep) -> RuleTables:
    rule = get_rule(name)
    tests = sweep.ledger.spread(winners.test_accuracy)
    values: dict[Key, float] = {}
    for key, (_, pick) in chosen(sweep.ledger, sweep.groups, rule).items():
        if not math.isnan(tests[pick.row]):
            values[key] = 100 * float(tests[pick.row])
    if not values:
        return RuleTables(name, rule.title, [])
    found = [*_by_dataset(sweep, rule, values), _averages(sweep, rule, values)]
    return RuleTables(name, rule.title, found, _partial(sweep, values))


def _by_dataset(sweep: Sweep, rule: Rule, values: Mapping[Key, float]) -> Iterable[Table]:
    trials: dict[tuple[Method, str, int], list[float]] = {}
    for (method, dataset, _, env), value in values.items():
        trials.setdefault((method, dataset, env), []).append(value)
    for dataset, columns in sweep.domains.items():
        lines = [
            _line(method, label, rule, [summary(trials.get((method, dataset, env), ())) for env in range(len(columns))])
            for method, label in sweep.methods.items()
        ]
        yield Table(dataset, tuple(columns), tuple(lines))


def _averages(sweep: Sweep, rule: Rule, values: Mapping[Key, float]) -> Table:
    """Over trials, the mean of the domains that a trial has: as in DomainBed, even where it lacks some."""
    domains: dict[tuple[Method, str, int], list[float]] = {}
    for (method, dataset, trial, _), value in values.items():
        domains.setdefault((method, dataset, trial), []).append(value)
    means: dict[tuple[Method, str], list[float]] = {}
    for (method, dataset, _), found in domains.items():
        means.setdefault((method, dataset), []).append(sum(found) / len(found))
    lines = [
        _line(method, label, rule, [summary(means.get((method, dataset), ())) for dataset in sweep.domains])
        for method, label in sweep.methods.items()
    ]
    return Table(None, tuple(sweep.domains), tuple(lines))


def _line(method: Method, label: str, rule: Rule, cells: Sequence[Summary]) -> Line:
    return Line(method, label, method.oracle or rule.marked(method.setting), tuple(cells))
