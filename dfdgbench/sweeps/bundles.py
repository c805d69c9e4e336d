"""Bundles: what one job of a scheduler executes, and the files in which they are handed over.

A bundle file has one line of JSON a bundle, so that a job reads no more than its own; a task is a run's config, and the
key of a stage where the task is that stage and not the run. Tasks that ask for different resources share no bundle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.errors import ArtifactError, ConfigError
from dfdgbench.files import write_bytes
from dfdgbench.sweeps.launchers.resources import COMBINE, Resources

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
        trains: whether stages that are missing may be made here.
    """

    id: str
    title: str
    run: str
    stage: str | None
    config: dict[str, Any]
    trains: bool = True


@dataclass(frozen=True)
class Group:
    """Tasks of one level that ask for the same.

    Attributes:
        kinds: what they are, in words of :class:`~dfdgbench.sweeps.launchers.resources.Resources`.
    """

    level: int
    kinds: list[str]
    resources: Resources
    tasks: list[Task]

    def bundles(self) -> list[Bundle]:
        """Its tasks, as many a job as are asked for."""
        return bundled(self.tasks, self.resources.bundle)


def bundled(tasks: Sequence[Task], size: int) -> list[Bundle]:
    """``tasks``, in order, in bundles of at most ``size``."""
    return [list(tasks[start : start + size]) for start in range(0, len(tasks), size)]


def groups(tasks: Sequence[Task], resources: Resources) -> list[Group]:
    """Tasks by level, the first level first, and within a level by what they ask for."""
    found = []
    for level, here in by_level(tasks).items():
        together: list[Group] = []
        for kind in dict.fromkeys(task.kind for task in here):
            asked, same = resources.of(kind), [task for task in here if task.kind == kind]
            group = next((group for group in together if group.resources == asked), None)
            if group is None:
                together.append(Group(level, [kind], asked, same))
            else:
                group.kinds.append(kind)
                group.tasks.extend(same)
        found += together
    return found


def execution_of(execution: Execution, group: Group, resources: Resources) -> Execution:
    """How a group's tasks are executed: on a CPU where ``resources`` ask for a GPU and this group's do not.

    Not every cluster hides from a job the GPUs that it was not given.
    """
    without = resources.asks_for_gpu and not group.resources.asks_for_gpu
    return execution.model_copy(update={"device": "cpu"}) if without else execution


def by_level(tasks: Sequence[Task]) -> dict[int, list[Task]]:
    """Tasks by level, the first level first."""
    levels: dict[int, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.level):
        levels.setdefault(task.level, []).append(task)
    return levels


def write_bundles(path: Path, bundles: Sequence[Bundle], execution: Execution, resources: Resources) -> None:
    """Write a bundle file.

    Args:
        resources: with what all kinds ask for: where these set runs apart that only combine, such runs train nothing.
    """
    how = execution.model_dump(mode="json")
    lines = [json.dumps({"execution": how, "tasks": [_handed(task, resources) for task in each]}) for each in bundles]
    write_bytes(path, ("\n".join(lines) + "\n").encode(), "The list of tasks")


def _handed(task: Task, resources: Resources) -> dict[str, Any]:
    apart = task.kind == COMBINE and resources.entry(COMBINE) == COMBINE
    return {
        **({"trains": False} if apart else {}),
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
