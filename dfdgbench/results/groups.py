"""Runs in DomainBed's groups: one trial, dataset, method and held-out domain, over all hparams seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dfdgbench.results.domainbed import ENVIRONMENTS
from dfdgbench.results.ledger import Entry, Ledger
from dfdgbench.results.record import Facts, facts_of
from dfdgbench.results.scores import Shape
from dfdgbench.results.selection import Member


@dataclass(frozen=True, order=True)
class Method:
    """What makes a row: an algorithm, and all that may set two rows of the same algorithm apart.

    Attributes:
        sources: the domains trained on, as ``from 0+2``; "" for all that are not held out.
        options: what else of a run's options decides its result, as ``steps=300``; "" for the defaults.
    """

    algorithm: str
    network: str = ""
    variant: str = ""
    protocol: str = ""
    sources: str = ""
    options: str = ""
    setting: str = ""
    oracle: bool = False
    transductive: bool = False


# What a label names where methods of one algorithm differ in it.
_DETAILS = ("network", "variant", "protocol", "sources", "options")
# Options of a run, with the values that need not be told: its default, or what DomainBed leaves out or writes.
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "steps": (None,),
    "weights": (None, "default"),
    "image_size": (None,),
    "holdout_fraction": (None, 0.2),
    "uda_holdout_fraction": (None, 0),
    "task": (None, "domain_generalization"),
    "dtype": (None, "float32"),
}

Key = tuple[Method, str, int, int]


@dataclass
class Group:
    """Attributes:
    key: method, dataset, trial seed, held-out domain.
    members: runs by hparams seed.
    notes: runs that are left out, each with the one that it repeats.
    """

    key: Key
    members: dict[int, list[Member]] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)


def grouped(ledger: Ledger, *, include_unfinished: bool = False) -> list[Group]:
    """The groups of the runs; a run with two held-out domains is in two of them.

    Of two runs that nothing tells apart, the first by name counts; the group's notes say so.
    """
    groups: dict[Key, Group] = {}
    first: dict[tuple[Method, Facts], str] = {}
    for entry in ledger.entries:
        rows, _ = entry.own
        if not len(rows) or not (entry.done or include_unfinished):
            continue
        args = entry.part_of(int(rows[0])).args
        said = facts_of(args)
        method = method_of(said, args, entry)
        earlier = first.setdefault((method, said), entry.name)
        for env in dict.fromkeys(said.test_envs):
            key = (method, said.dataset, said.trial_seed, env)
            group = groups.setdefault(key, Group(key))
            if earlier == entry.name:
                group.members.setdefault(said.hparams_seed, []).append(Member(Shape.of(args), rows))
            else:
                group.notes.append((entry.name, earlier))
    return list(groups.values())


def methods_of(groups: Iterable[Group]) -> list[Method]:
    """Every method, by name."""
    return sorted({group.key[0] for group in groups}, key=lambda method: (method.algorithm.casefold(), method))


def labels(methods: Sequence[Method]) -> dict[Method, str]:
    """Short labels: the algorithm, and of everything else what tells it apart from the other methods of that name."""
    named = {}
    for method in methods:
        others = [other for other in methods if other.algorithm == method.algorithm]
        differing = [name for name in _DETAILS if len({getattr(other, name) for other in others}) > 1]
        details = [getattr(method, name) for name in differing if getattr(method, name)]
        if method.transductive and "variant" not in differing:  # told whether or not another row differs in it
            details.append("transductive")
        named[method] = f"{method.algorithm} [{', '.join(details)}]" if details else method.algorithm
    return named


def datasets_of(groups: Iterable[Group]) -> list[str]:
    """Every dataset: DomainBed's in the order of its tables, then the others by name."""
    order = list(ENVIRONMENTS)
    found = {group.key[1] for group in groups}
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def domain_labels(dataset: str, groups: Iterable[Group], ledger: Ledger) -> list[str]:
    """The labels of a dataset's domains: DomainBed's, else those that a run's config.json names, else numbers.

    Domains beyond those named, which only runs with other data can have held out, are numbers too.
    """
    named = list(ENVIRONMENTS.get(dataset, ())) or _named(dataset, ledger)
    count = max((group.key[3] + 1 for group in groups if group.key[1] == dataset), default=0)
    if not named:
        count = max(count, _counted(dataset, ledger))
    return [*named, *map(str, range(len(named), count))]


def _named(dataset: str, ledger: Ledger) -> list[str]:
    for entry in ledger.entries:
        config = entry.content.config
        if isinstance(config.get("domains"), list) and config.get("args", {}).get("dataset") == dataset:
            return list(map(str, config["domains"]))
    return []


def _counted(dataset: str, ledger: Ledger) -> int:
    """The most domains 0, 1, ... that records of ``dataset`` have test accuracies of."""
    shapes = {
        (Shape.of(part.args), entry.content.keys)
        for entry in ledger.entries
        for part in entry.content.parts
        if part.args["dataset"] == dataset
    }
    return max((counted_domains(shape, keys) for shape, keys in shapes), default=0)


def counted_domains(shape: Shape, keys: Iterable[str]) -> int:
    """How many domains 0, 1, ... there are test accuracies of among ``keys``."""
    there = set(keys)
    count = 0
    while shape.key(count, "test") in there:
        count += 1
    return count


def method_of(said: Facts, args: Mapping[str, Any], entry: Entry) -> Method:
    """The row that a run with these args belongs to."""
    sources = ""
    if said.train_envs is not None:
        count = counted_domains(Shape.of(args), entry.content.keys)
        if set(said.train_envs) != {env for env in range(count) if env not in said.test_envs}:
            sources = "from " + "+".join(map(str, said.train_envs))
    options = [f"{name}={args[name]}" for name, usual in _OPTIONS.items() if args.get(name) not in usual]
    oracle, transductive = (bool(args.get(name)) for name in ("oracle", "transductive"))
    return Method(
        said.algorithm, said.network, said.variant, said.protocol, sources, ", ".join(options), said.setting,
        oracle, transductive,
    )  # fmt: skip
