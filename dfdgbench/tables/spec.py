"""Table specs: what a published table is made of, in YAML.

A spec says which runs fill the table, with what hyper-parameters, which selection rule represents each, and how rows
and columns are laid out and labelled, beside which published numbers. ``tables/NAME.yaml`` are the built-in ones; a
path to one's own works wherever a name does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfdgbench.errors import ConfigError, unknown

FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Published(_Strict):
    """Printed numbers: the rows of one CSV for which every column in ``where`` has the given value."""

    file: str
    where: dict[str, str] = Field(default_factory=dict)


class Row(_Strict):
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


class Part(_Strict):
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


class TableSpec(_Strict):
    """A table. ``options`` and ``hparams`` hold for all runs; a part's come on top, then a row's."""

    name: str
    title: str
    description: str = ""
    layout: Literal["leave-one-domain-out"] = "leave-one-domain-out"
    trials: int = Field(default=3, gt=0)
    selection: str = "last"
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
    if not path.is_file():
        raise unknown("table", name, names(), "A path to a YAML file works too.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TableSpec.model_validate(content)
    except yaml.YAMLError as error:
        raise ConfigError(f"The table spec {path} is no YAML: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"The table spec {path} has mistakes:\n" + "\n".join(lines)) from error


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers' union, later ones on top."""
    union: dict[str, Any] = {}
    for layer in layers:
        union.update(layer)
    return union
