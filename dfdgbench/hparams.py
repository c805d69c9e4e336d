"""Typed hyper-parameters: default, search distribution, by-dataset override and meaning, in one line each.

An algorithm declares them on itself::

    class Hparams(ERM.Hparams):
        mmd_gamma: float = hparam(1.0, search=log10_uniform(-1, 1), doc="weight of the alignment term")

and they are drawn as DomainBed draws them: hparams seed 0 is the defaults; any other seed gives every name a value of
its own from ``RandomState(seed_hash(seed_hash(hparams_seed, trial_seed), name))``, so that neither the algorithm nor
the other names matter. Hyper-parameters of a pipeline's stages stand in groups and have dotted names
(``inversion.lr``), by which they are drawn too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dfdgbench.errors import ConfigError, HparamError, unknown
from dfdgbench.seeds import seed_hash

Value = Any
Draw = Callable[[np.random.RandomState], Value]
H = TypeVar("H", bound="Hparams")

# Hyper-parameters of DomainBed that are options of their own here, and what to type instead.
DOMAINBED_ELSEWHERE = {
    "resnet18": "--network resnet18",
    "resnet50_augmix": "--network resnet50_augmix",
    "vit": "--network timm:vit_base_patch16_224",
    "dinov2": "--network timm:vit_base_patch14_dinov2",
}


class DatasetFacts(Protocol):
    """What a default may depend on; ``Metadata`` has it."""

    @property
    def name(self) -> str: ...

    @property
    def small(self) -> bool: ...


@dataclass(frozen=True)
class Search:
    """A distribution to search over, with the text that ``dfdgbench list hparams`` shows."""

    draw: Draw
    text: str


def uniform(low: float, high: float) -> Search:
    """U(low, high)."""
    return Search(lambda r: float(r.uniform(low, high)), f"U({low:g}, {high:g})")


def log10_uniform(low: float, high: float) -> Search:
    """10 to the U(low, high): the bounds are exponents, as in DomainBed's registry."""
    return Search(lambda r: float(10 ** r.uniform(low, high)), f"10^U({low:g}, {high:g})")


def log10_integer(low: float, high: float) -> Search:
    """10 to the U(low, high), cut to an integer: the bounds are exponents."""
    return Search(lambda r: int(10 ** r.uniform(low, high)), f"int(10^U({low:g}, {high:g}))")


def uniform_integer(low: float, high: float) -> Search:
    """U(low, high), cut to an integer."""
    return Search(lambda r: int(r.uniform(low, high)), f"int(U({low:g}, {high:g}))")


def log2_integer(low: float, high: float) -> Search:
    """2 to the U(low, high), cut to an integer: the bounds are exponents."""
    return Search(lambda r: int(2 ** r.uniform(low, high)), f"int(2^U({low:g}, {high:g}))")


def choice(*values: Value) -> Search:
    """One of ``values``, all equally likely."""
    return Search(lambda r: values[int(r.choice(len(values)))], "one of " + ", ".join(map(str, values)))


@dataclass(frozen=True)
class Case:
    """A default and a search that hold for some datasets."""

    default: Value
    search: Search | None = None


@dataclass(frozen=True)
class Spec:
    """All that is declared of one hyper-parameter."""

    general: Case
    small: Case | None = None
    by_dataset: Mapping[str, Case] = field(default_factory=dict)

    def case(self, dataset: DatasetFacts) -> Case:
        """The case that holds for ``dataset``: its own, else the small images', else the general one."""
        if dataset.name in self.by_dataset:
            return self.by_dataset[dataset.name]
        return self.small if self.small is not None and dataset.small else self.general


def case(default: Value, search: Search | None = None) -> Case:
    """An override for :func:`hparam`: the default, and the distribution where it is searched."""
    return Case(default, search)


def hparam(
    default: Value,
    *,
    search: Search | None = None,
    small: Case | None = None,
    by_dataset: Mapping[str, Case] | None = None,
    doc: str,
    name: str | None = None,
    **constraints: Any,
) -> Any:
    """Declare a hyper-parameter.

    Args:
        default: its value at hparams seed 0.
        search: what other seeds draw from; without one the default stays.
        small: what holds instead for datasets of small images (DomainBed's SMALL_IMAGES and ours like them).
        by_dataset: what holds instead for single datasets, before ``small``.
        doc: one line, shown by ``dfdgbench list hparams``.
        name: the name in flags, files and draws where Python reserves it ("lambda").
        constraints: pydantic's (``gt``, ``ge``, ``lt``, ``le``).
    """
    spec = Spec(Case(default, search), small, by_dataset or {})
    return Field(default, alias=name, description=doc, json_schema_extra={"spec": cast(Any, spec)}, **constraints)


def group(model: type[H], *, searched: bool = True, doc: str = "") -> H:
    """Declare a group of hyper-parameters of a stage. ``searched=False`` keeps it at its defaults in a search, as
    befits a stage that belongs to the owner of the data."""
    declared: H = Field(default_factory=model, description=doc, json_schema_extra={"searched": searched})
    return declared


@dataclass(frozen=True)
class PerDataset:
    """A preset's value that depends on the dataset.

    Attributes:
        general: for all others.
        by_dataset: for single datasets, by name.
    """

    general: Value
    by_dataset: Mapping[str, Value]

    def of(self, dataset: DatasetFacts) -> Value:
        """The value for ``dataset``."""
        return self.by_dataset.get(dataset.name, self.general)

    def __str__(self) -> str:
        return "; ".join([str(self.general), *(f"{name}: {value}" for name, value in self.by_dataset.items())])


class Hparams(BaseModel):
    """Base of every set of hyper-parameters; unknown names and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=False, allow_inf_nan=False)

    @classmethod
    @cache
    def entries(cls) -> tuple[tuple[str, FieldInfo, Spec, bool], ...]:
        """Dotted name, pydantic field, declaration and whether it is searched, for every hyper-parameter."""
        return tuple(cls._entries())

    @classmethod
    def _entries(cls, prefix: str = "", searched: bool = True) -> Iterator[tuple[str, FieldInfo, Spec, bool]]:
        for attribute, info in cls.model_fields.items():
            extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
            name = prefix + (info.alias or attribute)
            inner = info.annotation
            if isinstance(inner, type) and issubclass(inner, Hparams):
                yield from inner._entries(name + ".", searched and bool(extra.get("searched", True)))
            elif "spec" in extra:
                yield name, info, cast(Spec, extra["spec"]), searched
            else:
                raise ConfigError(f"{cls.__qualname__}.{attribute} must be declared by hparam(...) or group(...).")

    @classmethod
    def names(cls) -> list[str]:
        """Every dotted name."""
        return [name for name, *_ in cls.entries()]

    @classmethod
    def defaults(cls, dataset: DatasetFacts) -> dict[str, Value]:
        """Dotted names to what hparams seed 0 gives for ``dataset``."""
        return {name: spec.case(dataset).default for name, _, spec, _ in cls.entries()}

    @classmethod
    def searched(cls, dataset: DatasetFacts) -> int:
        """How many hyper-parameters are drawn where the hparams seed is not 0."""
        return sum(drawn and spec.case(dataset).search is not None for _, _, spec, drawn in cls.entries())

    @classmethod
    def draws(cls, dataset: DatasetFacts, hparams_seed: int, trial_seed: int) -> dict[str, Value]:
        """Dotted names to the values of random configuration ``hparams_seed`` in trial ``trial_seed``; 0 is the defaults."""
        values = cls.defaults(dataset)
        if hparams_seed == 0:
            return values
        seed = seed_hash(hparams_seed, trial_seed)
        for name, _, spec, searched in cls.entries():
            search = spec.case(dataset).search
            if searched and search is not None:
                values[name] = search.draw(np.random.RandomState(seed_hash(seed, name)))
        return values

    @classmethod
    def build(cls: type[H], values: Mapping[str, Value], owner: str) -> H:
        """The validated set from dotted or nested ``values``; what is wrong is a ``HparamError`` that lists all of it."""
        dotted, names = flatten(values), cls.names()
        wrong = [_unknown(name, owner, names) for name in dotted if name not in names]
        try:
            built = cls.model_validate(nest({name: value for name, value in dotted.items() if name in names}))
        except ValidationError as error:
            raise HparamError("\n".join([*wrong, *_explain(error, owner, dotted, cls)])) from error
        if wrong:
            raise HparamError("\n".join(wrong))
        return built

    def flat(self) -> dict[str, Value]:
        """Dotted names to values, as records and configs hold them."""
        return flatten(self.model_dump(by_alias=True))


def resolve(
    model: type[H],
    owner: str,
    dataset: DatasetFacts,
    *,
    hparams_seed: int = 0,
    trial_seed: int = 0,
    layers: tuple[Mapping[str, Value], ...] = (),
) -> H:
    """Defaults or draws of ``model`` for ``dataset``, with each of ``layers`` (a preset, then a person's own) on top."""
    values = model.draws(dataset, hparams_seed, trial_seed)
    for layer in layers:
        given = flatten(layer)
        values.update(
            {name: value.of(dataset) if isinstance(value, PerDataset) else value for name, value in given.items()}
        )
    return model.build(values, owner)


def flatten(values: Mapping[str, Value], prefix: str = "") -> dict[str, Value]:
    """Nested dicts as one dict with dotted names; dotted names stay.

    >>> flatten({"inversion": {"lr": 0.1}, "a.b": 1})
    {'inversion.lr': 0.1, 'a.b': 1}
    """
    flat: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def nest(dotted: Mapping[str, Value]) -> dict[str, Value]:
    """The inverse of :func:`flatten`."""
    tree: dict[str, Value] = {}
    for name, value in dotted.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _unknown(name: str, owner: str, known: list[str]) -> str:
    if name in DOMAINBED_ELSEWHERE:
        return f"'{name}' is no hyper-parameter here: the network is an option. Type {DOMAINBED_ELSEWHERE[name]}."
    tails = [full for full in known if full.rsplit(".", 1)[-1] == name]
    if tails:
        return f"{owner} has no hyper-parameter '{name}'. Did you mean {' or '.join(tails)}?"
    return str(unknown(f"hyper-parameter of {owner}", name, known))


def _explain(error: ValidationError, owner: str, given: Mapping[str, Value], model: type[Hparams]) -> list[str]:
    lines = []
    defaults = {name: spec.general.default for name, _, spec, _ in model.entries()}
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        value = given.get(name, problem.get("input"))
        one_of_several = problem["type"] == "tuple_type" and isinstance(value, str | int | float)
        instead = f"'{name}={json.dumps([value])}'" if one_of_several else _typed(name, defaults.get(name))
        example = f" Type for example --hparam {instead}." if instead else ""
        lines.append(f"{owner}: hyper-parameter '{name}' = {value!r}: {problem['msg']}.{example}")
    return lines


def _typed(name: str, default: Value) -> str:
    """How a default is typed; "" for one that is no number and no word."""
    if isinstance(default, bool):
        return f"{name}={str(default).lower()}"
    return f"{name}={default}" if isinstance(default, int | float | str) and default != "" else ""
