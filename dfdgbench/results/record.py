"""What one record says: whose it is, and the accuracies under its keys.

A record is a line of results.jsonl as DomainBed writes it: ``step``, ``args``, ``hparams`` and keys such as
``env0_in_acc``; other predictors than the default one have keys such as ``env0_in_acc@mask-ens``. Everything but
``step``, ``args`` and the accuracies may be missing: what DomainBed writes has changed over the years.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any, Literal, NamedTuple

from dfdgbench.errors import unknown
from dfdgbench.hparams import flatten

Record = Mapping[str, Any]
Use = Literal["train", "validation", "test"]

NAN = float("nan")
_KEY = re.compile(r"env(?P<env>\d+)_(?P<split>[^_@]+)_(?P<metric>[^@]+)(?:@(?P<predictor>.+))?")


class Splits(NamedTuple):
    """Which split of a protocol is what.

    Attributes:
        train: what a source domain is trained on.
        validation: what selection may use of a source domain, and an oracle of a held-out one.
        test: what is reported of a held-out domain.
    """

    train: str
    validation: str
    test: str


# The same as dfdgbench.datasets.protocols.PROTOCOLS, whose package is not imported for three words each.
SPLITS = {
    "domainbed": Splits("in", "out", "in"),
    "official": Splits("train", "val", "test"),
    "authors": Splits("train", "val", "all"),
    "adaptation": Splits("train", "val", "test"),
}


class Score(NamedTuple):
    """One value of a record and what it is of. ``value`` is a fraction, NaN where it was not evaluated."""

    env: int
    split: str
    metric: str
    predictor: str
    value: float


@dataclass(frozen=True)
class Facts:
    """What a record's ``args`` say of its run.

    Attributes:
        network: the predictor's; "" where the record does not say.
        variant: preset and explicit overrides, as text; "" for the method's defaults.
        train_envs: the source domains; None where the record does not say (DomainBed: all others).
        hparams_trial: the trial whose draw of hyper-parameters the run uses; None: its own.
    """

    dataset: str
    algorithm: str
    network: str
    variant: str
    test_envs: tuple[int, ...]
    train_envs: tuple[int, ...] | None
    trial_seed: int
    hparams_seed: int
    setting: str
    protocol: str
    hparams_trial: int | None = None


def facts(record: Record) -> Facts:
    """What ``record`` says of its run, with DomainBed's values for what it leaves out."""
    args = record["args"]
    trained = args.get("train_envs")
    return Facts(
        dataset=str(args["dataset"]),
        algorithm=str(args["algorithm"]),
        network=args.get("network") or "",
        variant=variant(args),
        test_envs=targets(record),
        train_envs=None if trained is None else tuple(map(int, trained)),
        trial_seed=int(args.get("trial_seed") or 0),
        hparams_seed=hparams_seed(record),
        setting=args.get("setting") or "domain-generalisation",
        protocol=args.get("protocol") or "domainbed",
        hparams_trial=args.get("hparams_trial"),
    )


def targets(record: Record) -> tuple[int, ...]:
    """The held-out domains of the record's run."""
    return tuple(map(int, record["args"]["test_envs"]))


def hparams_seed(record: Record) -> int:
    """The hparams seed of the record's run."""
    return int(record["args"].get("hparams_seed") or 0)


def variant(args: Mapping[str, Any]) -> str:
    """Preset, explicit overrides and what else sets runs apart, in a short stable text: ``paper, inversion.epsilon=30``."""
    return ", ".join(_given(args) + _marks(args))


def _marks(args: Mapping[str, Any]) -> list[str]:
    """Options of a run's data that a reader of a table must know of."""
    marks = [name for name in ("transductive", "val_augment") if args.get(name)]
    return marks + ["exact data path"] * (args.get("data_path") == "exact")


def _given(args: Mapping[str, Any]) -> list[str]:
    given = args.get("hparams")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return [given]
    named = [str(args["preset"])] if args.get("preset") else []
    values = sorted(flatten(given).items()) if isinstance(given, Mapping) else []
    return named + [f"{name}={json.dumps(value, sort_keys=True).strip(chr(34))}" for name, value in values]


def splits(record: Record) -> Splits:
    """The splits of the protocol that the record's run was evaluated by."""
    name = record["args"].get("protocol") or "domainbed"
    if name not in SPLITS:
        raise unknown("protocol", name, SPLITS)
    return SPLITS[name]


def value(record: Record, env: int, use: Use, metric: str = "acc", predictor: str = "") -> float:
    """A domain's value on the protocol's ``use`` split, a fraction; NaN where the record has none."""
    found = record.get(_key(record, env, use, metric, predictor))
    return NAN if found is None else float(found)


def has(record: Record, env: int, use: Use, predictor: str = "") -> bool:
    """Whether the record has the accuracy of a domain at all, be it NaN."""
    return _key(record, env, use, "acc", predictor) in record


def consecutive(record: Record, use: Use, predictor: str = "") -> list[int]:
    """Domains 0, 1, ... up to the first without an accuracy: how DomainBed counts a record's domains."""
    return list(takewhile(lambda env: has(record, env, use, predictor), count()))


def sources(record: Record, use: Use = "validation", predictor: str = "") -> list[int]:
    """The source domains: those the record names, else all that it has accuracies of and that are not held out."""
    named = record["args"].get("train_envs")
    if named is not None:
        return [int(env) for env in named if has(record, int(env), use, predictor)]
    held_out = targets(record)
    return [env for env in consecutive(record, use, predictor) if env not in held_out]


def scores(record: Record) -> Iterator[Score]:
    """Every value of the record, the default predictor's under the name "".

    DomainBed numbers uda splits among themselves; here ``env`` is the domain's number for these too.
    """
    held_out = sorted(targets(record))
    for key, found in record.items():
        match = _KEY.fullmatch(key)
        if match is None or not isinstance(found, int | float):
            continue
        env, split = int(match["env"]), match["split"]
        if split == "uda" and env < len(held_out):
            env = held_out[env]
        yield Score(env, split, match["metric"], match["predictor"] or "", float(found))


def _key(record: Record, env: int, use: Use, metric: str, predictor: str) -> str:
    key = f"env{env}_{getattr(splits(record), use)}_{metric}"
    return f"{key}@{predictor}" if predictor else key
