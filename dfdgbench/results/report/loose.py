"""A table of runs that no table spec lays out: methods by held-out domains, for each data set and selection rule."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dfdgbench.results.domainbed import ENVIRONMENTS
from dfdgbench.results.groups import Method, labels
from dfdgbench.results.reading import Run
from dfdgbench.results.record import Record, facts
from dfdgbench.results.selection import Rule, best, get_rule
from dfdgbench.results.table import Block, Cell, Table, TableRow
from dfdgbench.results.trials import summary
from dfdgbench.tables.spec import Column

# DomainBed's first, then what can be read of every run; the first that finds something is what figures show.
_RULES = ("training-domain", "last", "oracle")

Trials = Mapping[int, list[Run]]
"""Trial seed to the runs of every hparams seed."""


def table_of(name: str, runs: Sequence[Run]) -> Table:
    """The table of the ``runs`` that are done: a block for each data set and rule that finds something to choose from."""
    found: dict[str, dict[tuple[Method, int], dict[int, list[Run]]]] = defaultdict(dict)
    for run in runs:
        if run.done and run.records:
            said = facts(run.records[0])
            for env in said.test_envs:
                trials = found[said.dataset].setdefault((_method(run.records[0]), env), {})
                trials.setdefault(said.trial_seed, []).append(run)
    names = labels(sorted({method for places in found.values() for method, _ in places}, key=_by_name))
    blocks = [
        _block(dataset, domain_names(dataset, runs), places, names, get_rule(rule))
        for dataset, places in sorted(found.items())
        for rule in _RULES
    ]
    return Table(
        name=name,
        title=f"Runs in {name}",
        description="Accuracy on the held-out domain, by what the runs' records say: no table spec lays them out.",
        blocks=tuple(block for block in blocks if block.rows),
        ours=True,
    )


def domain_names(dataset: str, runs: Iterable[Run]) -> tuple[str, ...]:
    """What the domains of ``dataset`` are called: by a run's config.json, else by DomainBed; empty where neither says."""
    for run in runs:
        named = run.config.get("domains")
        if isinstance(named, list) and run.records and facts(run.records[0]).dataset == dataset:
            return tuple(map(str, named))
    return tuple(ENVIRONMENTS.get(dataset, ()))


def _method(record: Record) -> Method:
    said = facts(record)
    args = record["args"]
    return Method(
        said.algorithm,
        said.network,
        said.variant,
        said.protocol,
        setting=said.setting,
        oracle=bool(args.get("oracle")),
        transductive=bool(args.get("transductive")),
    )


def _by_name(method: Method) -> tuple[str, Method]:
    return method.algorithm.casefold(), method


def _block(
    dataset: str,
    domains: Sequence[str],
    places: Mapping[tuple[Method, int], Trials],
    names: Mapping[Method, str],
    rule: Rule,
) -> Block:
    cells = {place: _cell(place[0], trials, rule) for place, trials in places.items()}
    cells = {place: cell for place, cell in cells.items() if cell.runs}
    envs = sorted({env for _, env in cells})
    rows = []
    for method, name in names.items():
        if any(there == method for there, _ in cells):
            row = [cells.get((method, env), Cell()) for env in envs]
            rows.append(TableRow(name, (*row, _average(row)) if len(envs) > 1 else tuple(row)))
    called = [domains[env] if env < len(domains) else f"domain {env}" for env in envs]
    columns = [Column(label=name, targets=[name]) for name in called]
    if len(envs) > 1:
        columns.append(Column(label="Avg", targets=called))
    title = f"{dataset}, by {rule.title}"
    return Block(title, tuple(columns), tuple(rows), ((title, len(columns)),))


def _average(cells: Sequence[Cell]) -> Cell:
    """Over the trials that have all domains, the mean of the domains."""
    whole = set.intersection(*(set(cell.values) for cell in cells))
    values = {trial: statistics.fmean(cell.values[trial] for cell in cells) for trial in sorted(whole)}
    steps = {run: step for cell in cells for run, step in zip(cell.runs, cell.steps, strict=True)}
    return _of(values, max(cell.expected for cell in cells), any(cell.marked for cell in cells), steps)


def _cell(method: Method, trials: Trials, rule: Rule) -> Cell:
    values, behind = {}, {}
    for trial, runs in sorted(trials.items()):
        choice = best([record for run in runs for record in run.records], rule)
        if choice is not None:
            chosen = next(run for run in runs if any(record is choice.record for record in run.records))
            behind[chosen.name] = int(choice.record["step"])
            values[trial] = 100 * choice.test()
    finite = {trial: value for trial, value in values.items() if not math.isnan(value)}
    return _of(finite, len(trials), method.oracle or rule.marked(method.setting), behind)


def _of(values: Mapping[int, float], expected: int, marked: bool, steps: Mapping[str, int]) -> Cell:
    over_trials = summary(values.values())
    return Cell(
        mean=over_trials.mean if over_trials.n else None,
        se=over_trials.se,
        n=over_trials.n,
        expected=expected,
        marked=marked,
        values=values,
        runs=tuple(steps),
        steps=tuple(steps.values()),
    )
