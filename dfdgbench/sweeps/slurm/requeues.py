"""How often a job was queued again for nothing: it stops asking when nothing comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dfdgbench.errors import ArtifactError
from dfdgbench.files import read_json, write_json

MOST = 3


@dataclass(frozen=True)
class Requeues:
    """What a job knows of its earlier beginnings. A killed job's note is either the old one or the new one.

    Attributes:
        note: the file that holds the beginning in which something was kept last; absent: in the first, or never.
        beginning: how often the job was queued again before.
    """

    note: Path
    beginning: int

    @classmethod
    def of_job(cls, tasks: Path, index: int, environment: Mapping[str, str]) -> Requeues:
        """Those of the job that executes the ``index``-th bundle of the list ``tasks``."""
        count = environment.get("SLURM_RESTART_COUNT", "")
        return cls(tasks.with_name(f"{tasks.stem}-{index}.progress.json"), int(count) if count.isdecimal() else 0)

    @property
    def fruitless(self) -> int:
        """How often in a row the job was queued again without anything kept since."""
        return self.beginning - self._noted()

    def progress(self) -> None:
        """Note that something was kept, from which work goes on; once for each beginning.

        What was kept is on disk by itself, so a note that cannot be written stops nothing.
        """
        with contextlib.suppress(ArtifactError):
            if self._noted() < self.beginning:
                write_json(self.note, {"beginning": self.beginning}, "A job's note of its progress")

    def _noted(self) -> int:
        try:
            return int(read_json(self.note)["beginning"])
        except (OSError, ArtifactError, KeyError, TypeError, ValueError):
            return 0

    def message(self, every: float) -> str:
        """What to do about a job that gets nowhere.

        Args:
            every: seconds between its snapshots.
        """
        return (
            f"Queued again {self.fruitless} times, and not one step was kept: once more would not help. Give jobs longer "
            f"(--time LIMIT), have snapshots made more often (--checkpoint-every SECONDS, now {every:g}), or look for what "
            "ends them; then type the same `dfdgbench sweep launch` again."
        )
