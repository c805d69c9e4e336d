"""DomainBed's ``collect_results``, to the byte: what it prints of a folder, its oddities included.

Where it differs from our own tables: every record counts, of unfinished runs and of runs that are there twice too; a
cell knows algorithm, dataset and held-out domain, and nothing of networks and variants; the standard error is of the
population's deviation; fields are cut at their width. Source: the specification of DomainBed at b93c22a, sections 6 and 7.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfdgbench.errors import ConfigError, listing
from dfdgbench.results.domainbed import ALGORITHMS, ENVIRONMENTS
from dfdgbench.results.groups import Group, Key, Method, method_of
from dfdgbench.results.ledger import Content, Entry, Ledger, Part
from dfdgbench.results.reading import read_object
from dfdgbench.results.record import facts_of
from dfdgbench.results.scan import SWEEP
from dfdgbench.results.scores import Floats, Shape
from dfdgbench.results.selection import Member, get_rule
from dfdgbench.results.stored import read_ledger
from dfdgbench.results.winners import chosen, test_accuracy

_RULES = ("training-domain", "leave-one-domain-out", "oracle")
_WIDTH, _AVERAGES_WIDTH = 20, 25
_NONE = "X"

# Algorithm, dataset, trial, held-out domain.
_Cell = tuple[str, str, int, int]


def domainbed_text(folder: str | Path, *, latex: bool = False) -> tuple[str, list[str]]:
    """What DomainBed prints of ``folder``, whose folders hold runs; and remarks on what it would have stumbled over.

    Raises:
        ConfigError: no folder in it is a run's, or DomainBed knows none of their data sets.
    """
    ledger, said = _read(Path(folder))
    records = len(ledger.steps)
    lines = _head(records) if latex else [f"Total records: {records}"]
    groups = _grouped(ledger)
    algorithms = _algorithms(ledger)
    present = {part.args["dataset"] for entry in ledger.entries for part in entry.content.parts}
    datasets = [name for name in ENVIRONMENTS if name in present]
    unknown = sorted(present - set(datasets))
    if not datasets:
        raise ConfigError(
            f"DomainBed's collector knows none of the data sets of these runs ({listing(unknown)}), and ends in an error. "
            f"Leave --domainbed-parity out: dfdgbench collect {folder}"
        )
    for name in _RULES:
        rule = get_rule(name)
        tests = ledger.spread(test_accuracy)
        found: dict[_Cell, float] = {}
        for (method, dataset, trial, env), (_, pick) in chosen(ledger, groups, rule).items():
            found[method.algorithm, dataset, trial, env] = float(tests[pick.row])
        if latex:
            lines += ["", rf"\subsection{{Model selection: {rule.title}}}"]
        with np.errstate(invalid="ignore"):  # the deviation of what is infinite
            lines += _Tables(algorithms, datasets, rule.title, latex).lines(found)
    if latex:
        lines.append(r"\end{document}")
    if unknown:
        said.append(f"DomainBed does not know and drops: {listing(unknown)}.")
    return "\n".join(lines) + "\n", said


def _read(folder: Path) -> tuple[Ledger, list[str]]:
    """The runs that are folders of ``folder`` (of a sweep's folder ``runs``), in the order in which the system lists them."""
    below = "runs" if (folder / SWEEP).is_file() and (folder / "runs").is_dir() else ""
    ledger = read_ledger(folder)
    by_name = {entry.name: entry for entry in ledger.entries}
    names = [f"{below}/{name}" if below else name for name in os.listdir(folder / below)]
    entries = [by_name[name] for name in names if name in by_name and len(by_name[name].content.steps)]
    if not entries:
        raise ConfigError(
            f"DomainBed's collector reads {folder / below}/*/results.jsonl, and there is no record. Give the folder whose "
            "folders are the runs."
        )
    said = [f"{entry.name}: {note} (DomainBed stops here)." for entry in entries for note in entry.content.notes]
    deeper = len(ledger.entries) - sum(name in by_name for name in names)
    if deeper:
        runs = "1 run further down is" if deeper == 1 else f"{deeper} runs further down are"
        said.append(f"DomainBed reads one level of folders: {runs} left out.")
    planned = len(read_object(folder / SWEEP).get("runs", ()))
    if len(entries) < planned:
        said.append(f"{len(entries)} of {planned} planned runs have a record.")
    return Ledger.of([(entry.name, _plain(entry)) for entry in entries], (), ()), said + _mixed(entries)


def _plain(entry: Entry) -> Content:
    """The run without what DomainBed's collector does not look at."""
    parts = tuple(Part(_args(part.args), part.hparams, part.count) for part in entry.content.parts)
    return replace(entry.content, parts=parts)


def _args(args: Mapping[str, Any]) -> dict[str, Any]:
    seeds = {name: args.get(name) or 0 for name in ("trial_seed", "hparams_seed")}
    return {name: args[name] for name in ("dataset", "algorithm", "test_envs")} | seeds


def _mixed(entries: Iterable[Entry]) -> list[str]:
    """Algorithms of which runs of several kinds fall into one cell."""
    kinds: dict[str, set[Method]] = {}
    for entry in entries:
        for part in entry.content.parts:
            method = method_of(facts_of(part.args), part.args, entry)
            kinds.setdefault(method.algorithm, set()).add(replace(method, setting=""))
    several = [name for name, found in kinds.items() if len(found) > 1]
    if not several:
        return []
    return [
        f"DomainBed's cells hold runs of several networks, variants or protocols of {listing(several)}; "
        "--export-domainbed writes a folder for each."
    ]


def _grouped(ledger: Ledger) -> list[Group]:
    groups: dict[Key, Group] = {}
    for entry in ledger.entries:
        start = entry.rows[0]
        for part in entry.content.parts:
            args, rows = part.args, np.arange(start, start + part.count)
            start += part.count
            for env in args["test_envs"]:
                key = (Method(args["algorithm"]), args["dataset"], args["trial_seed"], env)
                members = groups.setdefault(key, Group(key)).members
                members.setdefault(args["hparams_seed"], []).append(Member(Shape.of(args), rows))
    return list(groups.values())


def _algorithms(ledger: Ledger) -> list[str]:
    """All that have a record: DomainBed's in the order of its registry, then the others as they appear."""
    present = dict.fromkeys(part.args["algorithm"] for entry in ledger.entries for part in entry.content.parts)
    return [*(name for name in ALGORITHMS if name in present), *(name for name in present if name not in ALGORITHMS)]


@dataclass(frozen=True)
class _Tables:
    """One rule's tables: a table a dataset, then the averages."""

    algorithms: Sequence[str]
    datasets: Sequence[str]
    rule: str
    latex: bool

    def lines(self, found: Mapping[_Cell, float]) -> Iterator[str]:
        """Their text.

        Args:
            found: test accuracies, as fractions, in the order of the groups.
        """
        for dataset in self.datasets:
            columns = ENVIRONMENTS[dataset]
            cells = [
                [_of(found, algorithm, dataset, env) for env in range(len(columns))] for algorithm in self.algorithms
            ]
            yield from self._table(f"Dataset: {dataset}", dataset, columns, cells, _WIDTH)
        means = [
            [_trial_means(found, algorithm, dataset) for dataset in self.datasets] for algorithm in self.algorithms
        ]
        yield from self._table("Averages", "Averages", self.datasets, means, _AVERAGES_WIDTH)

    def _table(
        self, title: str, section: str, columns: Sequence[str], cells: Sequence[Sequence[Floats]], width: int
    ) -> Iterator[str]:
        header = ["Algorithm", *columns, "Avg"]
        rows = [
            [algorithm, *map(self._cell, of_row), _average(of_row)]
            for algorithm, of_row in zip(self.algorithms, cells, strict=True)
        ]
        if not self.latex:
            yield from ("", f"-------- {title}, model selection method: {self.rule}")
            yield from ("  ".join(_cut(row, width)) + " " for row in (header, *rows))
            return
        bold = [rf"\textbf{{{label}}}".replace("%", r"\%") for label in header]
        yield from ("", rf"\subsubsection{{{section}}}", "", r"\begin{center}", r"\adjustbox{max width=\textwidth}{%")
        yield from (
            rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}",
            r"\toprule",
            _latex_row(bold, width),
            r"\midrule",
        )
        yield from (_latex_row(row, width) for row in rows)
        yield from (r"\bottomrule", r"\end{tabular}}", r"\end{center}")

    def _cell(self, values: Floats) -> str:
        if not len(values):
            return _NONE
        # Divided before, not after: the last digit of a tie is DomainBed's.
        error = 100 * np.std(values / np.sqrt(len(values)))
        sign = r"$\pm$" if self.latex else "+/-"
        return f"{100 * np.mean(values):.1f} {sign} {error:.1f}"


def _of(found: Mapping[_Cell, float], algorithm: str, dataset: str, env: int) -> Floats:
    """The accuracies over trials."""
    return np.array([value for key, value in found.items() if (key[0], key[1], key[3]) == (algorithm, dataset, env)])


def _trial_means(found: Mapping[_Cell, float], algorithm: str, dataset: str) -> Floats:
    """Of every trial, the mean over the domains that it has."""
    trials: dict[int, list[float]] = {}
    for (whose, where, trial, _), value in found.items():
        if (whose, where) == (algorithm, dataset):
            trials.setdefault(trial, []).append(value)
    return np.array([np.mean(trials[trial]) for trial in sorted(trials)])


def _average(cells: Sequence[Floats]) -> str:
    if not all(map(len, cells)):
        return _NONE
    means = [100 * float(np.mean(values)) for values in cells]
    return f"{sum(means) / len(means):.1f}"


def _cut(row: Sequence[str], width: int) -> list[str]:
    return [text.ljust(width)[:width] for text in row]


def _latex_row(row: Sequence[str], width: int) -> str:
    return " & ".join(_cut(row, width)) + r" \\"


def _head(records: int) -> list[str]:
    return [
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        r"\usepackage{adjustbox}",
        r"\begin{document}",
        r"\section{Full DomainBed results}",
        f"% Total records: {records}",
    ]
