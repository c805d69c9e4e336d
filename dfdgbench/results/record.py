"""What one record says: whose it is, and the accuracies under its keys.

A record is a line of results.jsonl as DomainBed writes it: ``step``, ``args``, ``hparams`` and keys such as
``env0_in_acc``; other predictors than the default one have keys such as ``env0_in_acc@mask-ens``, and synthetic images
that were held out have ``syn_out_acc``. Everything but ``step``, ``args`` and the accuracies may be missing: what
DomainBed writes has changed over the years.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from dfdgbench.errors import unknown
from dfdgbench.hparams import flatten
from dfdgbench.settings import SETTINGS

Record = Mapping[str, Any]
Use = Literal["train", "validation", "test"]

NAN = float("nan")
SYNTHETIC = -1
"""The number that stands for the synthetic images where a domain's is expected."""
SYNTHETIC_KEY = "syn_out_acc"
_KEY = re.compile(r"(?:env(?P<env>\d{1,6})|syn)_(?P<split>[^_@]+)_(?P<metric>[^@]+)(?:@(?P<predictor>.+))?")


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
    "post-hoc": Splits("in", "out", "test"),
}


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
    return facts_of(record["args"])


def facts_of(args: Mapping[str, Any]) -> Facts:
    """:func:`facts` of a record with these ``args``."""
    trained = args.get("train_envs")
    return Facts(
        dataset=str(args["dataset"]),
        algorithm=str(args["algorithm"]),
        network=args.get("network") or "",
        variant=variant(args),
        test_envs=tuple(map(int, args["test_envs"])),
        train_envs=None if trained is None else tuple(map(int, trained)),
        trial_seed=int(args.get("trial_seed") or 0),
        hparams_seed=int(args.get("hparams_seed") or 0),
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


def splits(protocol: str) -> Splits:
    """The splits of the protocol called ``protocol``."""
    if protocol not in SPLITS:
        raise unknown("protocol", protocol, SPLITS)
    return SPLITS[protocol]


def score_key(protocol: str, env: int, use: Use, metric: str = "acc", predictor: str = "") -> str:
    """The key of a domain's value on the protocol's ``use`` split."""
    key = f"env{env}_{getattr(splits(protocol), use)}_{metric}"
    return f"{key}@{predictor}" if predictor else key


def value(record: Record, env: int, use: Use, metric: str = "acc", predictor: str = "") -> float:
    """A domain's value on the protocol's ``use`` split, a fraction; NaN where the record has none."""
    found = record.get(score_key(record["args"].get("protocol") or "domainbed", env, use, metric, predictor))
    return NAN if found is None else float(found)


def is_score(key: str) -> bool:
    """Whether values are under ``key``; all other keys of a record are the algorithm's own."""
    return _KEY.fullmatch(key) is not None


class Place(NamedTuple):
    """What a key says that its value is of.

    Attributes:
        env: the domain; ``SYNTHETIC`` for synthetic images.
    """

    env: int
    split: str
    metric: str
    predictor: str


def place(key: str, test_envs: Sequence[int]) -> Place:
    """What the value under ``key`` is of; the default predictor's name is "".

    DomainBed numbers uda splits among themselves; here ``env`` is the domain's number for these too.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"'{key}' is no key of a score")
    held_out = sorted(test_envs)
    env, split = SYNTHETIC if match["env"] is None else int(match["env"]), match["split"]
    if split == "uda" and 0 <= env < len(held_out):
        env = held_out[env]
    return Place(env, split, match["metric"], match["predictor"] or "")


UNKNOWN = "without the args of a run"


def fault(args: Any) -> str:
    """Why no table has a place for a record with these ``args``; "" where one has."""
    if not isinstance(args, Mapping) or not {"dataset", "algorithm", "test_envs"} <= args.keys():
        return UNKNOWN
    for name in ("dataset", "algorithm"):
        if not isinstance(args[name], str):
            return f"with {name} {args[name]!r}, which is no name"
    held_out = args["test_envs"]
    if not isinstance(held_out, list) or not held_out or not all(map(_is_env, held_out)):
        return f"with test_envs {held_out!r}, which is no list of domains' numbers"
    for name in ("trial_seed", "hparams_seed", "hparams_trial"):
        given = args.get(name)
        if given is not None and (not isinstance(given, int) or given < 0):
            return f"with {name} {given!r}, which is no seed"
    trained = args.get("train_envs")
    if trained is not None and not (isinstance(trained, list) and all(map(_is_env, trained))):
        return f"with train_envs {trained!r}, which is no list of domains' numbers"
    for name, known in (("protocol", SPLITS), ("setting", SETTINGS)):
        if args.get(name) and not (isinstance(args[name], str) and args[name] in known):
            return f"of the unknown {name} {args[name]!r} (known: {', '.join(known)})"
    return ""


def _is_env(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 10**6
