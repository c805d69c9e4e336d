"""Which runs a sweep has: trial, part, row, held-out domains and hparams seed of each, and which of them a rule needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.datasets.base import DATASETS
from dfdgbench.errors import ConfigError, listing, unknown
from dfdgbench.settings import Setting
from dfdgbench.tables.rules import RuleNeeds
from dfdgbench.tables.spec import Part, Row, TableSpec


class Place(NamedTuple):
    """A run of a table: ``part`` and ``row`` are indices into the spec's, ``envs`` the held-out domains.

    ``hparams_seed`` is None where the row's own options say it.
    """

    trial: int
    part: int
    row: int
    envs: tuple[int, ...]
    hparams_seed: int | None


@dataclass(frozen=True)
class Choice:
    """What of a spec is run.

    Attributes:
        rules: what every known selection rule needs; None: every run of the grid, whatever it is for.
        datasets, algorithms, test_envs: these alone; empty: all.
    """

    spec: TableSpec
    rules: Mapping[str, RuleNeeds] | None = None
    datasets: Sequence[str] = ()
    algorithms: Sequence[str] = ()
    test_envs: Sequence[int | str] = ()

    @cached_property
    def parts(self) -> list[tuple[int, Part]]:
        """The parts that are run."""
        named = [(i, part) for i, part in enumerate(self.spec.parts) if not part.quoted]
        return [(i, part) for i, part in named if not self.datasets or part.dataset in self.datasets]

    @cached_property
    def rows(self) -> list[tuple[int, Row]]:
        """The rows that are run."""
        wanted = set(self.algorithms)
        return [
            (j, row) for j, row in self.spec.run_rows() if not wanted or wanted & {row.algorithm, row.label, row.key}
        ]

    @cached_property
    def cells(self) -> list[tuple[int, int]]:
        """Indices of every part and row that have runs together."""
        return [(i, j) for i, part in self.parts for j, row in self.rows if self.spec.stands(row, part)]

    def needs(self, row: Row, more: str = "") -> list[tuple[str, RuleNeeds]]:
        """Names and needs of the rules that the row's runs are for, and of the rule ``more``."""
        assert self.rules is not None
        names = [*(self.spec.search.rules or [row.selection or self.spec.selection]), *([more] if more else [])]
        for name in names:
            if name not in self.rules:
                raise unknown("selection rule", name, self.rules)
        return [(name, self.rules[name]) for name in names]

    def searched(self, row: Row, part: Part, more: str = "") -> bool:
        """Whether any rule compares configurations of the row's method on the part's data, and there are any to compare."""
        if self.rules is None:
            return True
        hparams = ALGORITHMS.get(row.name).Hparams
        return bool(self.able(row, more)) and hparams.searched(DATASETS.get(part.dataset).metadata) > 0

    def able(self, row: Row, more: str = "") -> list[RuleNeeds]:
        """The rules that may compare configurations, or steps, of the row's method."""
        selection = setting_of(row).selection
        return [rule for _, rule in self.needs(row, more) if rule.searches(selection)]

    def pairs(self, row: Row, more: str = "") -> bool:
        """Whether runs that hold out two domains are asked for, and any rule that may look at them needs them."""
        grid = self.spec.search.test_env_grid
        if self.rules is None:
            return grid in ("pairs", "both")
        return any(rule.pairs for rule in self.able(row, more)) and (grid != "single" or bool(more))


def setting_of(row: Row) -> Setting:
    """What the row's method is allowed."""
    return ALGORITHMS.get(row.name).setting


def places(choice: Choice, trials: int, more: str = "") -> Iterator[Place]:
    """Every run, in the order of DomainBed's sweep: trial, data set, algorithm, held-out domains, hparams seed.

    Args:
        more: a rule to plan for besides the spec's.
    """
    search = choice.spec.search
    pairs = {j: choice.pairs(row, more) for j, row in choice.rows}
    single = search.test_env_grid != "pairs" or bool(more)
    held_out = {
        (i, both): list(_held_out(part, choice.test_envs, single, both))
        for i, part in choice.parts
        for both in set(pairs.values())
    }
    spec = choice.spec
    seeds = {(i, j): _seeds(choice, spec.rows[j], spec.parts[i], more) for i, j in choice.cells}
    for trial in range(trials):
        for i, j in choice.cells:
            for envs in held_out[i, pairs[j]]:
                for seed in seeds[i, j]:
                    yield Place(trial, i, j, envs, seed)


def _seeds(choice: Choice, row: Row, part: Part, more: str) -> list[int | None]:
    search = choice.spec.search
    if any("hparams_seed" in options for options in (choice.spec.options, part.options, row.options)):
        return [None]
    seeds: list[int | None] = [*range(search.n_hparams_from, search.n_hparams)]
    return seeds if choice.searched(row, part, more) else [seed for seed in seeds if seed == 0]


def _held_out(part: Part, wanted: Sequence[int | str], single: bool, pairs: bool) -> Iterator[tuple[int, ...]]:
    """Each domain alone, then with every later one: DomainBed's order where the columns are in the data set's."""
    metadata = DATASETS.get(part.dataset).metadata
    chosen = {metadata.index(env) for env in wanted}
    columns = [metadata.index(domain) for domain in part.targets]
    targets = [env for env in columns if not chosen or env in chosen]
    order = [*columns, *(env for env in range(len(metadata.domains)) if env not in columns)]
    for position, first in enumerate(order):
        if single and first in targets:
            yield (first,)
        for second in order[position + 1 :] if pairs and len(order) > 2 else []:
            if first in targets or second in targets:
                yield min(first, second), max(first, second)


def check_search(choice: Choice) -> None:
    """Raise ``ConfigError`` where the range of hparams seeds is empty, or rules and test-env grid do not go together."""
    search = choice.spec.search
    if search.n_hparams <= search.n_hparams_from:
        raise ConfigError(
            f"No hparams seed is left from {search.n_hparams_from} to {search.n_hparams}: --n-hparams is the end of the range, "
            f"not a count, as in DomainBed. Type --n-hparams {search.n_hparams_from + search.n_hparams} for "
            f"{search.n_hparams} seeds from {search.n_hparams_from} on."
        )
    if choice.rules is None:
        return
    for _, row in choice.rows:
        needs = choice.needs(row)
        pairs = [name for name, rule in needs if rule.pairs]
        if pairs and search.test_env_grid == "single":
            raise ConfigError(
                f"The rule {pairs[0]} needs runs that hold out two domains, and the test-env grid is single. Leave "
                "--single-test-envs (--test-env-grid) or the rule out."
            )
        if not pairs and search.test_env_grid == "pairs":
            raise ConfigError(
                f"The test-env grid is pairs, which none of the rules needs: {listing(name for name, _ in needs)}. Type "
                "--rules leave-one-domain-out, or leave --test-env-grid out."
            )
        if pairs:
            _check_domains(choice, pairs[0])


def _check_domains(choice: Choice, rule: str) -> None:
    for _, part in choice.parts:
        metadata = DATASETS.get(part.dataset).metadata
        if len(metadata.domains) < 3:
            raise ConfigError(
                f"The rule {rule} needs at least three domains, and {metadata.name} has {len(metadata.domains)}. Type "
                "--single-test-envs, or leave the data set out."
            )


def additions(choice: Choice, trials: int) -> dict[str, int]:
    """How many runs every rule that the sweep is not planned for would add; rules that add none are left out."""
    planned = set(places(choice, trials))
    found = {name: len(set(places(choice, trials, name)) - planned) for name in choice.rules or {}}
    return {name: count for name, count in found.items() if count}


def remarks(choice: Choice) -> list[str]:
    """Where the search is cut to the defaults, and where it looks at more than is granted."""
    search = choice.spec.search
    if choice.rules is None or (search.n_hparams <= 1 and not any(choice.pairs(row) for _, row in choice.rows)):
        return []
    found: dict[str, list[str]] = {}
    for _, row in choice.rows:
        said = _remark(choice, row)
        if said:
            found.setdefault(said, []).append(row.label)
    return [f"{listing(labels)}: {said}" for said, labels in found.items()]


def _remark(choice: Choice, row: Row) -> str:
    setting, able = setting_of(row), choice.able(row)
    if not able:
        return (
            "hparams seed 0 and one held-out domain at a time, since none of the rules may compare configurations in the "
            f"setting '{setting.name}'."
        )
    if not any(choice.searched(row, part) for _, part in choice.parts):
        return "hparams seed 0 alone, since it has no hyper-parameter to search."
    if not any(rule.uses <= setting.selection for rule in able):
        return f"searched by more than the setting '{setting.name}' grants, which tables mark with †."
    return ""
