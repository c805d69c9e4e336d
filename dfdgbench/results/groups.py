"""Records in DomainBed's groups: one trial, dataset, method and held-out domain, over all hparams seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dfdgbench.results.domainbed import ENVIRONMENTS
from dfdgbench.results.reading import Run
from dfdgbench.results.record import Facts, Record, consecutive, facts


@dataclass(frozen=True, order=True)
class Method:
    """What makes a row: an algorithm, and all that may set two rows of the same algorithm apart.

    Attributes:
        sources: the domains trained on, as ``from 0+2``; "" for all that are not held out.
    """

    algorithm: str
    network: str = ""
    variant: str = ""
    protocol: str = ""
    sources: str = ""
    setting: str = ""
    oracle: bool = False
    transductive: bool = False


# What a label names where methods of one algorithm differ in it.
_DETAILS = ("network", "variant", "protocol", "sources")

Key = tuple[Method, str, int, int]


@dataclass
class Group:
    """Attributes:
    key: method, dataset, trial seed, held-out domain.
    """

    key: Key
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def grouped(runs: Iterable[Run]) -> list[Group]:
    """The groups of ``runs``; a run with two held-out domains is in two of them.

    Of two runs that nothing tells apart, the first by name counts; the group's notes say so.
    """
    groups: dict[Key, Group] = {}
    first: dict[tuple[Method, Facts], str] = {}
    for run in runs:
        if not run.records:
            continue
        said = facts(run.records[0])
        method = _method(said, run.records[0])
        earlier = first.setdefault((method, said), run.name)
        for env in said.test_envs:
            key = (method, said.dataset, said.trial_seed, env)
            group = groups.setdefault(key, Group(key))
            if earlier == run.name:
                group.records += run.records
            else:
                group.notes.append(f"{run.name} is left out: {earlier} is the same method, problem and seeds.")
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


def domain_labels(dataset: str, groups: Iterable[Group], runs: Iterable[Run]) -> list[str]:
    """The labels of a dataset's domains: DomainBed's, else those that a run's config.json names, else numbers."""
    if dataset in ENVIRONMENTS:
        return list(ENVIRONMENTS[dataset])
    for run in runs:
        args = run.config.get("args", {})
        if args.get("dataset") == dataset and run.config.get("domains"):
            return list(map(str, run.config["domains"]))
    records = [record for group in groups if group.key[1] == dataset for record in group.records]
    count = max((len(consecutive(record, "test")) for record in records), default=0)
    held_out = max((group.key[3] + 1 for group in groups if group.key[1] == dataset), default=0)
    return list(map(str, range(max(count, held_out))))


def _method(said: Facts, record: Record) -> Method:
    sources = ""
    if said.train_envs is not None:
        others = {env for env in consecutive(record, "test") if env not in said.test_envs}
        if set(said.train_envs) != others:
            sources = "from " + "+".join(map(str, said.train_envs))
    oracle, transductive = (bool(record["args"].get(name)) for name in ("oracle", "transductive"))
    return Method(
        said.algorithm, said.network, said.variant, said.protocol, sources, said.setting, oracle, transductive
    )
