"""What a task asks of a scheduler, by what it is, checked before anything is submitted; and a site's defaults for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dfdgbench.errors import ConfigError, listing, near

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OWN = {"array", "begin", "chdir", "dependency", "error", "export-file", "job-name", "nodes", "no-requeue", "ntasks"}
_OWN |= {"ntasks-per-node", "open-mode", "output", "parsable", "requeue", "signal", "test-only", "wait", "wrap"}
_FLAGS = ("partition", "account", "qos", "constraint", "gres", "time", "mem")
_FOR = {"cpus-per-task": "cpus", **{name: name for name in _FLAGS}}
_NUMBERS = ("cpus", "runs_per_job", "tasks_per_gpu", "max_running")
_NOTHING = ("", "null", "~")  # as YAML writes it
RUN, COMBINE = "run", "combine"


def one_line(text: str) -> str:
    """``text``, where it has no line break or other control character: these would begin a line of the script."""
    if _CONTROL.search(text):
        raise ValueError("holds a line break or another control character, which no option of a scheduler may have")
    return text


def _of(characters: str, example: str) -> AfterValidator:
    """A value of these characters alone, so that none means anything to a shell."""

    def check(text: str) -> str:
        one_line(text)
        refused = sorted(set(re.findall(f"[^{characters}]", text)))
        if refused or not text:
            what = f"holds {' '.join(refused)}, which is not allowed here" if refused else "is empty"
            raise ValueError(f"{what}; type for example {example}")
        if text.startswith("-"):
            raise ValueError(f"begins with -, as an option does; type for example {example}")
        return text

    return AfterValidator(check)


def minutes(given: object) -> int:
    """A time limit in minutes, from minutes, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` or ``D-HH:MM:SS``.

    Seconds are rounded up.
    """
    text = str(given)
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if isinstance(given, bool) or match is None:
        raise ValueError("is no time limit; type minutes (90), HH:MM:SS (1:30:00) or D-HH:MM:SS (2-00:00:00)")
    days, first, second, third = (None if part is None else int(part) for part in match.groups())
    if days is not None:
        hours, mins, seconds = first or 0, second or 0, third or 0
    elif third is not None:
        hours, mins, seconds = first or 0, second or 0, third
    else:
        hours, mins, seconds = 0, first or 0, second or 0
    total = (days or 0) * 1440 + hours * 60 + mins + -(-seconds // 60)
    if total < 1:
        raise ValueError("is no time at all; type minutes from 1 (90), HH:MM:SS or D-HH:MM:SS")
    return total


def _memory(given: object) -> str:
    text = str(given)
    if not re.fullmatch(r"[1-9]\d*(?:[KMGT]B?)?", text, re.ASCII | re.IGNORECASE):
        raise ValueError("is no amount of memory; type a number of MB (4000) or one with a unit (16G)")
    return text.upper()


def _extra(given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name, re.ASCII):
            raise ValueError(f"'{one_line(name)}' is no long option of sbatch; type for example mail-type=END")
        if name in _OWN:
            raise ValueError(f"{name} is set by the launcher itself and cannot be given")
        if name in _FOR:
            raise ValueError(f"{name} has a flag of its own; type --{_FOR[name]} VALUE")
        one_line(value)
        refused = sorted(set(re.findall(r"[\"'`\\$;<>#|&!]", value)))
        if refused:
            raise ValueError(
                f"the value of {name} holds {' '.join(refused)}, which means something to a shell; leave it out"
            )
    return given


_NAME = _of(r"A-Za-z0-9_.@+-", "main")
Setup = Annotated[str, AfterValidator(one_line)]


class Resources(BaseModel):
    """What one job asks for. Every job has one node and one process.

    Attributes:
        time: minutes.
        slurm: more long options of sbatch, by name.
        runs_per_job: how many tasks one job executes; None: as many as at a time on one GPU.
        tasks_per_gpu: how many of them share a GPU at a time, each in a process of its own; of a job without a GPU, how
            many it executes at a time.
        max_running: how many jobs of a level run at a time; None: as many as the scheduler lets.
        setup: lines of shell before the command, such as ``module load cuda``.
        python: what starts Python in a job; None for the Python that launches.
        kinds: what tasks of a kind ask for instead: a stage's kind, ``run``, or ``combine`` for runs whose own stage makes no
            step. Keys are those above, None for what such tasks do not ask for. ``combine`` is like ``run`` where it is absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    partition: Annotated[str, _of(r"A-Za-z0-9_.,@+-", "gpu")] | None = None
    account: Annotated[str, _NAME] | None = None
    qos: Annotated[str, _NAME] | None = None
    constraint: Annotated[str, _of(r"A-Za-z0-9_.,:&|*()\[\]@+-", "'a100|h100'")] | None = None
    gres: Annotated[str, _of(r"A-Za-z0-9_.,:=+-", "gpu:1")] | None = None
    time: Annotated[int, BeforeValidator(minutes)] | None = None
    mem: Annotated[str, BeforeValidator(_memory)] | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
    slurm: Annotated[dict[str, str], AfterValidator(_extra)] = Field(default_factory=dict)
    runs_per_job: Annotated[int, Field(ge=1)] | None = None
    tasks_per_gpu: Annotated[int, Field(ge=1)] = 1
    max_running: Annotated[int, Field(ge=1)] | None = None
    setup: list[Setup] = Field(default_factory=list)
    python: Setup | None = None
    kinds: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def bundle(self) -> int:
        """How many tasks a job executes."""
        return self.runs_per_job or self.tasks_per_gpu

    @property
    def asks_for_gpu(self) -> bool:
        """Whether a GPU is named; a partition may give one unnamed."""
        return "gpu" in (self.gres or "") or any(name.startswith("gpus") for name in self.slurm)

    def entry(self, kind: str) -> str | None:
        """The key of :attr:`kinds` that tasks of ``kind`` follow; None where they ask for what all ask for."""
        followed = RUN if kind == COMBINE and COMBINE not in self.kinds else kind
        return followed if followed in self.kinds else None

    def of(self, kind: str) -> Resources:
        """What a task of ``kind`` asks for."""
        entry = self.entry(kind)
        return self._laid_over(self.kinds[entry] if entry else {}, "")

    def _laid_over(self, more: Mapping[str, Any], where: str) -> Resources:
        """These with a kind's entry on top."""
        if "kinds" in more:
            raise ConfigError(f"{where} cannot hold kinds of its own.")
        given = {**self.model_dump(exclude={"kinds"}), **more}
        given["slurm"] = {**self.slurm, **(more.get("slurm") or {})}
        given["slurm"] = {name: value for name, value in given["slurm"].items() if value is not None}
        return Resources.make({name: value for name, value in given.items() if value is not None}, where)

    @classmethod
    def make(cls, given: Mapping[str, Any], where: str = "") -> Resources:
        """Resources from options; all that is wrong with them is one ``ConfigError``.

        Args:
            where: the file they stand in; empty for flags.
        """
        try:
            made = cls.model_validate(dict(given))
        except ValidationError as error:
            raise ConfigError("\n".join(_told(dict(e), where) for e in error.errors())) from error
        for kind, more in made.kinds.items():
            made._laid_over(more, f"kinds.{one_line(kind)} of {where}" if where else f"--for {kind}")
        return made


_SINGLE = [name for name in Resources.model_fields if name not in ("setup", "slurm", "kinds")]


def _told(error: dict[str, Any], where: str) -> str:
    name = ".".join(str(part) for part in error["loc"] if error["loc"][0] == "kinds") or str(error["loc"][0])
    shown = f"{name} of {where}" if where else f"--{name.replace('_', '-')}"
    if error["type"] == "extra_forbidden":
        known = list(Resources.model_fields)
        close = near(name, known)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        return f"{where or 'The resources'}: there is no key '{name}'.{meant} Known: {listing(known)}."
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    return f"{shown}: {error['input']!r}: {reason}."


def site_file() -> Path:
    """Where a site's defaults stand: ``$DFDGBENCH_SITE``, else ``~/.config/dfdgbench/site.yaml``."""
    named = os.environ.get("DFDGBENCH_SITE")
    return Path(named) if named else Path.home() / ".config" / "dfdgbench" / "site.yaml"


def site_defaults() -> dict[str, Any]:
    """What the site's file says, checked; nothing where there is no file."""
    path = site_file()
    if not path.exists():
        if os.environ.get("DFDGBENCH_SITE"):
            raise ConfigError(
                f"DFDGBENCH_SITE names the file {path}, which does not exist. Make it, or unset the variable."
            )
        return {}
    try:
        # Every value as its text: YAML's own reading makes a number of seconds of 4:00:00, and 8 of an account 010.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The site's file {path} cannot be read as YAML: {error}") from error
    if not content:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"The site's file {path} must hold keys and values, for example 'partition: gpu'.")
    content = _typed({name: value for name, value in content.items() if value not in _NOTHING})
    if isinstance(content.get("kinds"), dict):
        entries = {kind: {} if more in _NOTHING else more for kind, more in content["kinds"].items()}
        content["kinds"] = {kind: _typed(more) if isinstance(more, dict) else more for kind, more in entries.items()}
    Resources.make(content, str(path))
    return content


def _typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as what they stand for: numbers, and nothing."""
    typed: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, dict) and name == "slurm":
            typed[name] = {option: None if text in _NOTHING else text for option, text in value.items()}
        elif isinstance(value, str) and value in _NOTHING:
            typed[name] = None
        else:
            typed[name] = int(value) if name in _NUMBERS and str(value).isdecimal() else value
    return typed


def resources_of(flags: Mapping[str, Any], extra: Iterable[str] = (), kinds: Iterable[Sequence[str]] = ()) -> Resources:
    """The site's defaults with what was typed on top.

    Args:
        flags: values by key, None where a flag was not given.
        extra: ``KEY=VALUE`` pairs, further options of sbatch.
        kinds: a kind and its ``KEY=VALUE`` pairs; an empty value takes a default away.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    defaults = site_defaults()
    more = dict(defaults.get("slurm", {}))
    for pair in extra:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--slurm {pair!r} is not KEY=VALUE. Type for example --slurm mail-type=END.")
        more[name.removeprefix("--")] = value
    entries: dict[str, dict[str, Any]] = {kind: dict(entry) for kind, entry in defaults.get("kinds", {}).items()}
    for kind, *pairs in kinds:
        _add_pairs(entries.setdefault(kind, {}), kind, pairs)
    laid = {**({"slurm": more} if more else {}), **({"kinds": entries} if entries else {})}
    return Resources.make({**defaults, **given, **laid})


def _add_pairs(entry: dict[str, Any], kind: str, pairs: Sequence[str]) -> None:
    """Lay what was typed after ``--for KIND`` over that kind's entry."""
    if not pairs:
        raise ConfigError(f"--for {kind}: there is no KEY=VALUE. Type for example --for {kind} partition=cpu gres=")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.removeprefix("--").replace("-", "_") if not name.startswith("slurm.") else name
        if not equals or not name:
            raise ConfigError(
                f"--for {kind}: {pair!r} is not KEY=VALUE. Type for example --for {kind} partition=cpu gres=, and the "
                "table's name before --for."
            )
        if name.startswith("slurm."):
            entry["slurm"] = {**(entry.get("slurm") or {}), name.removeprefix("slurm."): value or None}
        elif name in ("setup", "slurm", "kinds"):
            raise ConfigError(
                f"--for {kind}: {name} is for the site's file. As flags: {listing(_SINGLE)}, slurm.OPTION."
            )
        else:
            entry |= _typed({name: value})
