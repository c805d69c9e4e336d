"""DomainBed's tables of all runs below a folder: one a selection rule and dataset, and the averages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfdgbench.errors import ConfigError, listing
from dfdgbench.results.groups import Group, Key, Method, datasets_of, domain_labels, grouped, labels, methods_of
from dfdgbench.results.latex import document, escape, items, tabular
from dfdgbench.results.reading import Run, read_runs
from dfdgbench.results.render import DAGGER, grid
from dfdgbench.results.selection import RULES, Rule, get_rule, sweep_accuracy
from dfdgbench.results.trials import Summary, summary
from dfdgbench.versions import mixed

Format = Literal["markdown", "latex"]
NONE = "X"
# DomainBed's three in its order, then the others as they are registered.
_FIRST = ("training-domain", "leave-one-domain-out", "oracle")


@dataclass(frozen=True)
class _Grid:
    title: str
    header: list[str]
    rows: list[list[str]]


def collect(folder: str | Path, *, format: Format = "markdown", include_unfinished: bool = False) -> str:
    """Tables by every selection rule: mean ± standard error (sample deviation) over trials, in percent, X for nothing.

    As in DomainBed, a dataset's ``Avg`` is the mean of the row's cells, and the averages' table takes, of each trial,
    the mean over the domains that are there; runs without a ``done`` file, which DomainBed counts, are left out.

    Args:
        include_unfinished: count them too.

    Raises:
        ConfigError: there is no run, or none that is done.
    """
    found = read_runs(folder)
    counted = [run for run in found if run.done or include_unfinished]
    groups = grouped(counted)
    if not groups:
        raise ConfigError(
            f"None of the {len(found)} runs in {folder} has a result to collect. Wait for them, or type "
            "--include-unfinished."
        )
    write = _latex if format == "latex" else _markdown
    return write(sum(len(run.records) for run in counted), _tables(groups, counted), _remarks(found, groups))


def _tables(groups: Sequence[Group], runs: Sequence[Run]) -> dict[str, list[_Grid] | str]:
    """Title of a rule to its tables, or to why there are none."""
    names = labels(methods_of(groups))
    domains = {dataset: domain_labels(dataset, groups, runs) for dataset in datasets_of(groups)}
    tables: dict[str, list[_Grid] | str] = {}
    for rule in [get_rule(name) for name in dict.fromkeys((*_FIRST, *RULES.names()))]:
        accuracies = _accuracies(groups, rule)
        if not accuracies:
            tables[rule.title] = "No runs that this rule can choose from."
            continue
        rows = {method: _marked(label, method, rule) for method, label in names.items()}
        tables[rule.title] = _of_rule(rows, domains, accuracies)
    return tables


def _accuracies(groups: Sequence[Group], rule: Rule) -> dict[Key, float]:
    found = {group.key: sweep_accuracy(group.records, rule) for group in groups}
    return {key: value for key, value in found.items() if value is not None and not math.isnan(value)}


def _of_rule(
    rows: Mapping[Method, str], domains: Mapping[str, Sequence[str]], accuracies: Mapping[Key, float]
) -> list[_Grid]:
    grids = []
    for dataset, columns in domains.items():
        cells = {
            method: [_over_trials(accuracies, method, dataset, env) for env in range(len(columns))] for method in rows
        }
        grids.append(_grid(f"Dataset: {dataset}", columns, rows, cells))
    means = {method: [_of_means(accuracies, method, dataset) for dataset in domains] for method in rows}
    grids.append(_grid("Averages", list(domains), rows, means))
    return grids


def _over_trials(accuracies: Mapping[Key, float], method: Method, dataset: str, env: int) -> Summary:
    return summary(
        100 * value for key, value in accuracies.items() if (key[0], key[1], key[3]) == (method, dataset, env)
    )


def _of_means(accuracies: Mapping[Key, float], method: Method, dataset: str) -> Summary:
    """Over trials, the mean of the domains that a trial has: as in DomainBed, even where it lacks some."""
    trials: dict[int, list[float]] = {}
    for (whose, where, trial, _), value in accuracies.items():
        if (whose, where) == (method, dataset):
            trials.setdefault(trial, []).append(100 * value)
    return summary(sum(values) / len(values) for values in trials.values())


def _grid(
    title: str, columns: Sequence[str], rows: Mapping[Method, str], cells: Mapping[Method, list[Summary]]
) -> _Grid:
    lines = []
    for method, label in rows.items():
        found = cells[method]
        average = f"{sum(cell.mean for cell in found) / len(found):.1f}" if all(cell.n for cell in found) else NONE
        lines.append([label, *map(_cell, found), average])
    return _Grid(title, ["Algorithm", *columns, "Avg"], lines)


def _cell(found: Summary) -> str:
    if not found.n:
        return NONE
    return f"{found.mean:.1f}" + ("" if found.se is None else f" ± {found.se:.1f}")


def _marked(label: str, method: Method, rule: Rule) -> str:
    return f"{label} {DAGGER}" if method.oracle or rule.marked(method.setting) else label


def _remarks(found: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    unfinished = [run.name for run in found if not run.done]
    remarks = [f"{len(unfinished)} of {len(found)} runs are unfinished: {listing(unfinished)}."] if unfinished else []
    mixture = mixed([run.config for run in found])
    remarks += [f"The runs mix versions: {'; '.join(mixture)}."] if mixture else []
    remarks += [f"{run.name}: {note}." for run in found for note in run.notes]
    remarks += [note for group in groups for note in group.notes]
    methods = {group.key[0] for group in groups}
    if any(method.oracle or RULES.get(name).marked(method.setting) for name in RULES.names() for method in methods):
        remarks.append(f"{DAGGER}: the method or the rule looks at more than the method's setting grants.")
    return list(dict.fromkeys(remarks))


def _markdown(count: int, tables: Mapping[str, list[_Grid] | str], remarks: Sequence[str]) -> str:
    parts = [f"Total records: {count}"]
    for rule, grids in tables.items():
        parts.append(f"## Model selection: {rule}")
        if isinstance(grids, str):
            parts.append(grids)
            continue
        for found in grids:
            parts += [f"### {found.title}", grid(found.header, found.rows)]
    return "\n\n".join([*parts, "\n".join(f"- {remark}" for remark in remarks)]) + "\n"


def _latex(count: int, tables: Mapping[str, list[_Grid] | str], remarks: Sequence[str]) -> str:
    parts = [f"% Total records: {count}"]
    for rule, grids in tables.items():
        parts.append(rf"\section*{{Model selection: {escape(rule)}}}")
        if isinstance(grids, str):
            parts.append(escape(grids))
            continue
        for found in grids:
            parts += [rf"\subsection*{{{escape(found.title)}}}", tabular(found.header, found.rows)]
    return document([*parts, *items(remarks)])
