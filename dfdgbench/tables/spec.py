"""Table specs: what a published table is made of, in YAML.

A spec says which runs fill the table, with what hyper-parameters, which selection rule represents each, and how rows
and columns are laid out and labelled, beside which published numbers. ``tables/NAME.yaml`` are the built-in ones; a
path to one's own works wherever a name does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfdgbench.errors import ConfigError, listing, unknown
from dfdgbench.files import read_json

if TYPE_CHECKING:
    from typing_extensions import Self

FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"
SWEEP_FILE = "sweep.json"
_KINDS = "A table spec has 'parts' and 'rows', a grid has 'algorithms' and 'datasets'."


SeedProtocol = Literal["domainbed", "tune-then-repeat"]
TestEnvGrid = Literal["single", "pairs", "both"]


_SENTENCES = {
    "list_type": "must be a list, such as [A, B]",
    "dict_type": "must be a mapping, such as {lr: 0.001}",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "too_short": "must name at least one",
}


class Strict(BaseModel):
    """Base of what a person writes: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def make(cls, **content: Any) -> Self:
        """One of these; what is wrong with ``content`` is one ``ConfigError`` that lists all of it."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError("\n".join(_sentence(problem) for problem in error.errors())) from error


def _sentence(problem: Any) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        return f"{key}: is missing."
    text = _SENTENCES.get(problem["type"], problem["msg"][:1].lower() + problem["msg"][1:])
    return f"{key}: {text} (given: {problem['input']!r})."


class Published(Strict):
    """Printed numbers: the rows of one CSV for which every column in ``where`` has the given value."""

    file: str
    where: dict[str, str] = Field(default_factory=dict)


class Row(Strict):
    """A row: a printed label, and the algorithm (with preset and overrides) whose runs fill it.

    Attributes:
        label: as printed; ties the row to the published ``method``.
        options: options of ``dfdgbench train`` for this row's runs.
        selection: the rule that chooses the record; None for the table's.
        note: a footnote.
    """

    label: str
    algorithm: str
    options: dict[str, Any] = Field(default_factory=dict)
    hparams: dict[str, Any] = Field(default_factory=dict)
    selection: str | None = None
    oracle: bool = Field(default=False, description="whether the method itself looks at the target's validation split")
    note: str = ""


class Part(Strict):
    """A block of columns: one dataset, a column for each held-out domain, and their average.

    Attributes:
        columns: domain to printed column label, in printed order.
        average: label of the average's column; None for none.
        quoted: a block of published numbers alone, of other data than ours; nothing is run for it.
    """

    title: str
    dataset: str
    columns: dict[str, str]
    average: str | None = "Average"
    options: dict[str, Any] = Field(default_factory=dict)
    hparams: dict[str, Any] = Field(default_factory=dict)
    published: Published | None = None
    quoted: bool = False
    note: str = ""


class Search(Strict):
    """Which runs there are for each row and part; as it stands, the defaults, with one held-out domain each.

    Attributes:
        n_hparams_from, n_hparams: the range of hparams seeds, whose end is exclusive, as in DomainBed.
        test_env_grid: runs that hold out one domain, two (leave-two-out), or both; None: as the rules need.
        seed_protocol: "domainbed": random configuration k differs between trials, because it is drawn from the trial's
            seed too; "tune-then-repeat": it is that of trial 0 in all trials, while splits and runs follow their trial.
        rules: the selection rules that the runs are for; empty: each row's own.
    """

    n_hparams_from: int = Field(default=0, ge=0)
    n_hparams: int = Field(default=1, gt=0)
    test_env_grid: TestEnvGrid | None = None
    seed_protocol: SeedProtocol = "domainbed"
    rules: list[str] = Field(default_factory=list)


class TableSpec(Strict):
    """A table. ``options`` and ``hparams`` hold for all runs; a part's come on top, then a row's.

    Attributes:
        grid: whether its rows and parts are a grid's lists, to which a later launch may add.
    """

    name: str
    title: str
    description: str = ""
    layout: Literal["leave-one-domain-out"] = "leave-one-domain-out"
    trials: int = Field(default=3, gt=0)
    selection: str = "last"
    search: Search = Field(default_factory=Search)
    grid: bool = False
    options: dict[str, Any] = Field(default_factory=dict)
    hparams: dict[str, Any] = Field(default_factory=dict)
    parts: list[Part]
    rows: list[Row]
    notes: list[str] = Field(default_factory=list)


def names() -> list[str]:
    """The built-in tables."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@lru_cache(maxsize=64)
def load(name: str) -> TableSpec:
    """The table called ``name``, or the one in the YAML file at that path."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.exists():
        raise unknown("table", name, names(), "A path to a YAML file works too.")
    kind, content = read(path)
    if kind == "grid":
        raise ConfigError(
            f"{path} is a grid (it has 'algorithms'), not a table. Type the sweep's folder to see its table: "
            f"dfdgbench table runs/{path.stem}"
        )
    return _validated(content, f"The table spec {path}")


def of_sweep(folder: Path) -> TableSpec:
    """The table that the sweep in ``folder`` fills, as its last launch left it."""
    content = read_json(folder / SWEEP_FILE)
    if not isinstance(content, dict) or "spec" not in content:
        raise ConfigError(f"{folder} is no sweep's folder: its {SWEEP_FILE} has no spec.")
    return _validated(content["spec"], f"The table in {folder / SWEEP_FILE}")


def read(path: Path) -> tuple[Literal["table", "grid"], dict[str, Any]]:
    """Whether a sweep's YAML file is a table spec or a grid, and its content.

    Raises:
        ConfigError: it cannot be read, is no YAML, or is neither.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"The sweep file {path} is no YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The sweep file {path} is no YAML: it is no text in UTF-8 ({error}).") from error
    except OSError as error:
        raise ConfigError(f"The sweep file {path} cannot be read: {error.strerror}.") from error
    if not isinstance(content, dict):
        what = "it is empty" if content is None else f"it is a {type(content).__name__}, not keys with values"
        raise ConfigError(f"The sweep file {path} has mistakes: {what}. {_KINDS}")
    keys = {str(key).replace("-", "_") for key in content}
    table, grid = keys & {"parts", "rows"}, keys & {"algorithms", "datasets"}
    if bool(table) == bool(grid):
        what = f"it has both {min(table)} and {min(grid)}" if table else f"its keys are {listing(map(str, content))}"
        raise ConfigError(f"The sweep file {path} is neither a table spec nor a grid: {what}. {_KINDS}")
    return ("table" if table else "grid"), content


def _validated(content: Any, what: str) -> TableSpec:
    try:
        return TableSpec.model_validate(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{what} has mistakes:\n" + "\n".join(lines)) from error


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers' union, later ones on top."""
    union: dict[str, Any] = {}
    for layer in layers:
        union.update(layer)
    return union
