"""Table specs: what a published table is made of, in YAML.

A spec says which runs fill the table, with what hyper-parameters, which selection rule represents each, and how rows
and columns are laid out and labelled, beside which published numbers. ``tables/NAME.yaml`` are the built-in ones; a
path to one's own works wherever a name does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dfdgbench.errors import ConfigError, listing, unknown
from dfdgbench.tables.sweepfile import SWEEP_FILE, read_sweep_file

if TYPE_CHECKING:
    from typing_extensions import Self

FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"
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
    "string_pattern_mismatch": "must be of letters, digits and . _ + - alone, since folders and jobs are called so",
}
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$")]
"""What a sweep may be called."""


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
    """Printed numbers: the rows of one CSV for which every column in ``where`` has the given value.

    The file lies beside the spec, or among the package's own.

    A CSV's column "setting" may hold several facts, ``IPC=50;squeeze=R-18``; each of them can be named as if it had a
    column of its own.
    """

    file: str
    where: dict[str, str] = Field(default_factory=dict)


class Shown(Strict):
    """What has a key ``on``, which YAML reads as the word for true."""

    @model_validator(mode="before")
    @classmethod
    def _on(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {"on" if key is True else key: value for key, value in content.items()}


class Column(Shown):
    """A column: what is shown of the runs that hold out its ``targets``.

    Attributes:
        label: as printed.
        targets: the held-out domains, each with runs of its own, whose values are averaged.
        on: what the value is of: "target", the held-out domain; "sources", the mean over the domains trained on; "run",
            a key of the record itself; or a domain's name.
        metric: the record's word for it: ``acc``, ``miou``, ``iou_road``, or, of a run, its key.
        predictor: the predictor that is read; "" for the default one, or the row's.
        scale: what the record's number is multiplied by; 100 makes percent of a fraction.
        digits: decimals that are shown.
        best: whether large numbers are good, or small ones, or neither; the best are bold.
        where: what tells its printed numbers from other columns'; by default ``{column: label}``.
    """

    label: str
    targets: list[str] = Field(min_length=1)
    on: str = "target"
    metric: str = "acc"
    predictor: str = ""
    scale: float = 100.0
    digits: int = Field(default=1, ge=0)
    best: Literal["high", "low", "none"] = "high"
    where: dict[str, str] | None = None

    @property
    def percent(self) -> bool:
        """Whether it shows a fraction in percent."""
        return self.scale == 100

    @property
    def numbers(self) -> dict[str, str]:
        """What its printed numbers have in the CSV."""
        return {"column": self.label} if self.where is None else self.where


class Row(Shown):
    """A row: a printed label, and the algorithm (with preset and overrides) whose runs fill it.

    Attributes:
        label: as printed; unlike any other in its group.
        group: the sub-heading that it stands under; "" for none.
        algorithm: None for a row that is quoted: printed numbers of a method that nobody runs here.
        of: the key of another row, whose runs this one shows otherwise; it has none of its own.
        predictor: the predictor that is read, where the column does not say.
        on: instead of the columns' ``on`` where these say "target".
        options: options of ``dfdgbench train`` for this row's runs.
        selection: the rule that chooses the record; None for the table's.
        parts: titles of the parts in which it stands; empty for all.
        columns: labels of the columns in which it has cells; empty for all.
        where: what tells its printed numbers from other rows'; by default ``{method: label}``.
        note: a footnote.
    """

    label: str
    group: str = ""
    algorithm: str | None = None
    of: str | None = None
    predictor: str = ""
    on: str = "target"
    options: dict[str, Any] = Field(default_factory=dict)
    hparams: dict[str, Any] = Field(default_factory=dict)
    selection: str | None = None
    oracle: bool = Field(default=False, description="whether the method itself looks at the target's validation split")
    parts: list[str] = Field(default_factory=list)
    columns: list[str] = Field(default_factory=list)
    where: dict[str, str] | None = None
    note: str = ""

    def fills(self, column: Column) -> bool:
        """Whether it has a cell in the column."""
        return not self.columns or column.label in self.columns

    @property
    def key(self) -> str:
        """What names it within its table."""
        return f"{self.group}: {self.label}" if self.group else self.label

    @property
    def quoted(self) -> bool:
        """Whether it is of printed numbers alone."""
        return self.algorithm is None and self.of is None

    @property
    def name(self) -> str:
        """The algorithm of a row that has runs of its own."""
        assert self.algorithm is not None, f"{self.key} has no runs of its own"
        return self.algorithm

    @property
    def numbers(self) -> dict[str, str]:
        """What its printed numbers have in the CSV."""
        return {"method": self.label} if self.where is None else self.where


class Part(Strict):
    """Columns of one dataset: one for each held-out domain and their average, or whatever else is told of the runs.

    Attributes:
        block: parts of one block, not "", stand side by side under this title, each under its own.
        columns: held-out domain to printed label, in printed order; or any name to a column. Empty: no runs, no columns.
        average: label of the average of all columns before it; None for none.
        quoted: a part of published numbers alone, of other data than ours; nothing is run for it.
    """

    title: str
    block: str = ""
    dataset: str
    columns: dict[str, str | Column]
    average: str | None = "Average"
    options: dict[str, Any] = Field(default_factory=dict)
    hparams: dict[str, Any] = Field(default_factory=dict)
    published: Published | None = None
    quoted: bool = False
    note: str = ""

    def shown(self) -> list[Column]:
        """The columns, without the average."""
        return [
            column if isinstance(column, Column) else Column(label=column, targets=[name])
            for name, column in self.columns.items()
        ]

    def printed(self) -> list[Column]:
        """The columns, the average's last."""
        shown = self.shown()
        if self.average is None or not shown:
            return shown
        like = {name: getattr(shown[0], name) for name in ("metric", "scale", "digits", "best")}
        return [*shown, Column(label=self.average, targets=self.targets, **like)]

    @property
    def targets(self) -> list[str]:
        """The held-out domains of its runs, each once."""
        return list(dict.fromkeys(target for column in self.shown() for target in column.targets))


class Misprint(Strict):
    """A printed number that is known to be wrong, or odd: where it stands, and what is known of it."""

    row: str
    column: str
    part: str = ""
    note: str


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
        paper: what it was published in; "" for a table of our own.
        shows: other tables whose sweeps this one can be filled from: it shows the same runs otherwise.
        grid: whether its rows and parts are a grid's lists, to which a later launch may add.
        transposed: whether it is printed with a line a part and a column a row; every part is then in a block.
        corner: what the first column of the printed table holds.
    """

    name: Name
    title: str
    paper: str = ""
    description: str = ""
    shows: list[str] = Field(default_factory=list)
    trials: int = Field(default=3, gt=0)
    selection: str = "last"
    search: Search = Field(default_factory=Search)
    grid: bool = False
    transposed: bool = False
    corner: str = "Method"
    options: dict[str, Any] = Field(default_factory=dict)
    hparams: dict[str, Any] = Field(default_factory=dict)
    parts: list[Part]
    rows: list[Row]
    misprints: list[Misprint] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    def run_rows(self) -> list[tuple[int, Row]]:
        """Rows that have runs of their own, by index."""
        return [(j, row) for j, row in enumerate(self.rows) if row.algorithm is not None]

    def stands(self, row: Row, part: Part) -> bool:
        """Whether the row has cells in the part."""
        return not row.parts or part.title in row.parts


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
    spec = _validated(content, f"The table spec {path}")
    return spec.model_copy(update={"parts": [_beside(part, path.parent) for part in spec.parts]})


def _beside(part: Part, folder: Path) -> Part:
    """The part with the published numbers that lie in the spec's own ``folder``, where they do."""
    if part.published is None or not (folder / part.published.file).is_file():
        return part
    found = part.published.model_copy(update={"file": str((folder / part.published.file).absolute())})
    return part.model_copy(update={"published": found})


def of_sweep(folder: Path) -> TableSpec:
    """The table that the sweep in ``folder`` fills, as its last launch left it."""
    return _validated(read_sweep_file(folder)["spec"], f"The table in {folder / SWEEP_FILE}")


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
        # A column may be a text, too: that it is none is no news where it is wrong as a column.
        told = [(e["loc"], e["msg"]) for e in error.errors() if e["loc"][-1] != "str"]
        lines = [f"  {'.'.join(str(key) for key in loc if key != 'Column')}: {message}" for loc, message in told]
        raise ConfigError(f"{what} has mistakes:\n" + "\n".join(lines)) from error


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers' union, later ones on top."""
    union: dict[str, Any] = {}
    for layer in layers:
        union.update(layer)
    return union
