"""Bundles: what one job of a scheduler executes, and the files in which they are handed over.

A bundle file has one line of JSON a bundle, so that a job reads no more than its own; a task is a run's config, and the
key of a stage where the task is that stage and not the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.errors import ArtifactError, ConfigError
from dfdgbench.files import write_bytes

if TYPE_CHECKING:
    from dfdgbench.engine.config import Execution
    from dfdgbench.sweeps.plan import Task

Bundle = list["Task"]


@dataclass(frozen=True)
class HandedTask:
    """One task as a job finds it.

    Attributes:
        stage: the key of the stage to make; None to execute the run.
        config: the run's options.
    """

    id: str
    title: str
    run: str
    stage: str | None
    config: dict[str, Any]


def bundled(tasks: Sequence[Task], size: int) -> list[Bundle]:
    """``tasks``, in order, in bundles of at most ``size``."""
    return [list(tasks[start : start + size]) for start in range(0, len(tasks), size)]


def by_level(tasks: Sequence[Task]) -> dict[int, list[Task]]:
    """Tasks by level, the first level first."""
    levels: dict[int, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.level):
        levels.setdefault(task.level, []).append(task)
    return levels


def write_bundles(path: Path, bundles: Sequence[Bundle], execution: Execution) -> None:
    """Write a bundle file."""
    how = execution.model_dump(mode="json")
    lines = [json.dumps({"execution": how, "tasks": [_handed(task) for task in bundle]}) for bundle in bundles]
    write_bytes(path, ("\n".join(lines) + "\n").encode(), "The list of tasks")


def _handed(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "title": task.title,
        "run": task.run.run_id,
        "stage": task.id if task.stage is not None else None,
        "config": task.run.config.model_dump(),
    }


def read_bundle(path: Path, index: int) -> tuple[list[HandedTask], dict[str, Any]]:
    """The tasks of the ``index``-th bundle, and how to execute them."""
    try:
        with open(path, encoding="utf-8") as file:
            line = next((line for number, line in enumerate(file) if number == index), None)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The list of tasks {path} cannot be read ({error}). `dfdgbench sweep launch` writes one."
        ) from error
    if line is None:
        raise ConfigError(f"The list of tasks {path} has no bundle {index}. Type --index with a line's number, from 0.")
    try:
        content = json.loads(line)
        return [HandedTask(**task) for task in content["tasks"]], content["execution"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"The list of tasks {path} is damaged ({error}). `dfdgbench sweep launch` writes another."
        ) from error
