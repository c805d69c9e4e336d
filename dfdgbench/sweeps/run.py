"""A run of a sweep, and its place in the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dfdgbench.engine.config import RunConfig


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep and its place in the table.

    Attributes:
        part, row: indices into the spec's parts and rows.
        column: the held-out domain, one of the part's columns.
        also: a second held-out domain, where there is one; such a run belongs to the columns of both.
    """

    part: int
    row: int
    column: str
    config: RunConfig
    also: tuple[str, ...] = ()

    @cached_property
    def run_id(self) -> str:
        return self.config.run_id

    def moved(self, data_dir: str) -> SweepRun:
        """The same run with its data elsewhere."""
        return replace(self, config=self.config.model_copy(update={"data_dir": data_dir}))

    def to_json(self) -> dict[str, Any]:
        """For sweep.json."""
        place = {"part": self.part, "row": self.row, "column": self.column}
        also = {"also": list(self.also)} if self.also else {}
        return {**place, **also, "id": self.run_id, "config": self.config.model_dump()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SweepRun:
        config, also = RunConfig.make(**content["config"]), tuple(content.get("also", ()))
        return cls(content["part"], content["row"], content["column"], config, also)
