"""The commands that make what a table still lacks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfdgbench.engine.config import RunConfig
from dfdgbench.results.slots import Slots
from dfdgbench.tables import spec as specs

_ALWAYS = ("algorithm", "dataset", "test_envs", "trial_seed")
# Flags of `dfdgbench sweep launch` that keep some of the table's runs alone.
_CHOICES = {"--datasets", "--algorithms", "--test-envs", "--trials", "--n-trials"}
_OUTPUT = "--output-dir"
_DEFAULTS = RunConfig().model_dump()


def train(config: Mapping[str, Any], folder: Path, execution: Mapping[str, Any]) -> str:
    """``dfdgbench train`` with the run's options, into its folder of the sweep.

    Args:
        config: the run's ``RunConfig``, as sweep.json holds it.
        execution: the sweep's, as sweep.json holds it; where its artifacts are is passed on.
    """
    words = ["dfdgbench", "train"]
    for name in (*_ALWAYS, *(name for name in _DEFAULTS if name not in _ALWAYS)):
        given = config.get(name, _DEFAULTS[name])
        if name in _ALWAYS or given != _DEFAULTS[name]:
            words += _flag(name, given)
    return shlex.join([*words, *_artifacts(execution), "--output-dir", str(folder)])


def evaluate(config: Mapping[str, Any], folder: Path) -> str:
    """``dfdgbench evaluate --pending``, for a run that was trained where its test data was not."""
    data = ["--data-dir", str(config["data_dir"])] if config.get("data_dir") else []
    return shlex.join(["dfdgbench", "evaluate", str(folder), "--pending", *data])


def launch(slots: Slots, *, whole: bool) -> str:
    """The command that launches what the sweep still lacks: the recorded one where there is one.

    Args:
        whole: without the recorded command's choice of runs (``--datasets`` and the like).
    """
    recorded = shlex.split(str(slots.content.get("command", "")))
    if recorded[:3] == ["dfdgbench", "sweep", "launch"]:
        of_flags = (
            slots.content.get("launch", {}).get("table", "") is None
        )  # then they are no choice, but the sweep itself
        words = _without(recorded, _CHOICES) if whole and not of_flags else recorded
        return shlex.join(_into(words, slots.folder))
    name = str(slots.content["spec"]["name"])
    table = name if name in specs.names() else f"{name}.yaml"
    folders = {entry["config"].get("data_dir") for entry in slots.content["runs"]} - {None}
    data = ["--data-dir", *folders] if len(folders) == 1 else []
    artifacts = _artifacts(slots.content.get("execution", {}))
    return shlex.join(["dfdgbench", "sweep", "launch", table, *data, *artifacts, "--output-dir", str(slots.folder)])


def _into(words: Sequence[str], folder: Path) -> list[str]:
    """The words of a launch with ``folder`` for what is recorded, where a sweep was copied or moved since."""
    given = [_value(words, i) for i, word in enumerate(words) if _flag_of(word) == _OUTPUT]
    if not given or Path(given[-1]).resolve() == folder.resolve():
        return list(words)
    return [*_without(words, {_OUTPUT}), _OUTPUT, str(folder)]


def _value(words: Sequence[str], place: int) -> str:
    _, sign, value = words[place].partition("=")
    return value if sign else next(iter(words[place + 1 :]), "")


def _without(words: Sequence[str], flags: Container[str]) -> list[str]:
    kept, dropping = [], False
    for word in words:
        if word.startswith("--"):
            dropping = _flag_of(word) in flags
        if not dropping:
            kept.append(word)
    return kept


def _flag_of(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _flag(name: str, given: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(given, bool):
        return [flag] if given else []
    if isinstance(given, dict):
        return [flag, json.dumps(given, sort_keys=True)]
    if isinstance(given, list | tuple):
        return [flag, *map(str, given)]
    return [flag, str(given)]


def _artifacts(execution: Mapping[str, Any]) -> list[str]:
    given = execution.get("artifacts")
    return ["--artifacts", str(given)] if given and given != "artifacts" else []
