"""Programs that only look like SLURM's, and plans to submit to them, for tests."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from dfdgbench.engine.config import RunConfig
from dfdgbench.sweeps.plan import SweepPlan, Task
from dfdgbench.sweeps.run import SweepRun

# Stands for every program: what it was given goes to calls.txt, and it answers what lies in a file of its name.
PROGRAM = """\
#!{python}
import json, pathlib, sys
here, name = pathlib.Path({root!r}), pathlib.Path(sys.argv[0]).name
script = pathlib.Path(sys.argv[-1])
text = script.read_text() if name == "sbatch" else ""
with open(here / "calls.txt", "a") as file:
    file.write(json.dumps([name, sys.argv[1:], text]) + "\\n")
failures = here / (name + ".fails")
if failures.exists() and (lines := failures.read_text().splitlines()):
    failures.write_text("\\n".join(lines[1:]))
    if lines[0]:  # an empty line lets one call through
        sys.exit(lines[0])
if name == "sbatch":
    number = sum(line.startswith('["sbatch') for line in open(here / "calls.txt"))
    print(f"Submitted batch job {{100 + number}}")
else:
    answer = here / (name + "-" + "-".join(sys.argv[1:3]))
    answer = answer if answer.exists() else here / name
    print(answer.read_text() if answer.exists() else "", end="")
"""


class Fake:
    """Programs on PATH that answer from files, and remember what they were given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        for name in ("sbatch", "squeue", "scontrol", "sinfo", "scancel", "srun"):
            file = root / "bin" / name
            file.write_text(PROGRAM.format(python=sys.executable, root=str(root)))
            file.chmod(0o755)
        self.says("scontrol-show-partition", "PartitionName=gpu AllowAccounts=ALL AllowQos=ALL MaxTime=UNLIMITED\n")
        self.says("scontrol-show-config", "Configuration data\nMaxArraySize            = 3\nMaxJobCount = 10000\n")
        self.says("sinfo", "a100,nvlink\n(null)\n")

    def says(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def calls(self, name: str) -> list[tuple[list[str], str]]:
        file = self.root / "calls.txt"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [(given, text) for program, given, text in lines if program == name]

    def scripts(self) -> list[str]:
        return [text for _, text in self.calls("sbatch")]


def tasks_of(count: int, level: int = 0, needs: frozenset[str] = frozenset()) -> list[Task]:
    runs = [SweepRun(0, 0, "0", RunConfig(dataset="Debug28", trial_seed=10 * level + i)) for i in range(count)]
    return [Task(run.run_id, f"task {run.run_id}", run, None, needs, level, "teacher") for run in runs]


def of_kinds(level: int, *kinds: str) -> list[Task]:
    """A task of each kind."""
    return [replace(task, kind=kind) for task, kind in zip(tasks_of(len(kinds), level), kinds, strict=True)]


def plan_of(*levels: list[Task]) -> SweepPlan:
    tasks = [task for level in levels for task in level]
    return SimpleNamespace(tasks=tasks, runs=[task.run for task in tasks], stages={})  # type: ignore[return-value]
