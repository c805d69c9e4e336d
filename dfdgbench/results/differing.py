"""What differs between two sets of runs, other than their results: code, machines, options, data."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfdgbench.errors import listing
from dfdgbench.hparams import flatten
from dfdgbench.results.reading import read_object

Config = Mapping[str, Any]
# What sets the runs of one sweep apart, or only says where things lie.
_OWN = {"trial_seed", "hparams_seed", "hparams_trial", "seed", "test_envs", "data_dir"}
_ABSENT = "not set"


def configs(sweep: Path, runs: Iterable[str]) -> list[Config]:
    """config.json of each of the sweep's ``runs`` that has one."""
    found = (read_object(sweep / "runs" / run / "config.json") for run in runs)
    return [config for config in found if config]


def differing(a: Sequence[Config], b: Sequence[Config]) -> list[str]:
    """``torch: A 2.5.0, B 2.6.0``: versions, commit, device, threads, and the options of runs of one method.

    A fact that one side knows nothing of is not compared.
    """
    lines = _lines(_facts(a), _facts(b))
    ours, theirs = _by_method(a), _by_method(b)
    for method in ours:
        if method in theirs:
            before, after = _options(ours[method]), _options(theirs[method])
            for name in [*before, *after]:
                if name.startswith("hparams."):  # one that is not given is at its default; another option may be newer
                    before.setdefault(name, {_ABSENT})
                    after.setdefault(name, {_ABSENT})
            lines += _lines(before, after, f"{method[1]} on {method[0]}, ")
    return lines


def _lines(a: Mapping[str, set[str]], b: Mapping[str, set[str]], whose: str = "") -> list[str]:
    return [
        f"{whose}{name}: A {listing(sorted(a[name]), 3)}, B {listing(sorted(b[name]), 3)}"
        for name in a
        if name in b and a[name] != b[name]
    ]


def _facts(found: Sequence[Config]) -> dict[str, set[str]]:
    facts: dict[str, set[str]] = defaultdict(set)
    for config in found:
        versions = config.get("versions")
        known = dict(versions) if isinstance(versions, Mapping) else {}
        known |= {"commit": str(config["git"])[:12]} if config.get("git") else {}
        known |= {name: config[name] for name in ("device", "threads") if config.get(name) is not None}
        for name, value in known.items():
            facts[str(name)].add(str(value))
    return facts


def _by_method(found: Sequence[Config]) -> dict[tuple[str, str], list[Config]]:
    methods: dict[tuple[str, str], list[Config]] = defaultdict(list)
    for config in found:
        given = config.get("config")
        if isinstance(given, Mapping):
            methods[str(given.get("dataset")), str(given.get("algorithm"))].append(given)
    return methods


def _options(given: Sequence[Config]) -> dict[str, set[str]]:
    """Every option with the values that the runs have; one that only some of them know is "not set" in the others."""
    flat = [flatten({name: value for name, value in config.items() if name not in _OWN}) for config in given]
    names = dict.fromkeys(name for options in flat for name in options)
    return {name: {_text(options.get(name, _ABSENT)) for options in flat} for name in names}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
