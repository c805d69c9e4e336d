"""sweep.json, which says what runs a sweep has: read and checked once, for who plans, watches, tabulates. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfdgbench.errors import ArtifactError, ConfigError

SWEEP_FILE = "sweep.json"
_RUN = {"id": str, "part": int, "row": int, "column": str, "config": dict}
_CONFIG = {"algorithm": str, "dataset": str, "test_envs": list}


def read_sweep_file(sweep: Path) -> dict[str, Any]:
    """What the sweep in the folder ``sweep`` notes of itself; ``execution`` and ``launch`` are empty where it does not.

    Raises:
        ConfigError: the folder is no sweep's.
        ArtifactError: the file cannot be read, or is not what a launch wrote.
    """
    file = sweep / SWEEP_FILE
    if not file.exists():
        if not sweep.is_dir():
            why = "it is a file" if sweep.exists() else "there is no such folder"
            raise ConfigError(f"{sweep} is no sweep's folder: {why}. `dfdgbench sweep launch` makes one.")
        raise ConfigError(
            f"{sweep} is no sweep's folder: it has no {SWEEP_FILE}. `dfdgbench sweep launch` makes one; of runs in any "
            "folder, `dfdgbench collect` and `dfdgbench report` show the results."
        )
    try:
        content = json.loads(file.read_bytes())
        problem = _problem(content)
    except (OSError, ValueError, RecursionError) as error:
        problem = str(error)
    if problem:
        raise ArtifactError(
            f"The file {file} is damaged ({problem}). Bring a copy of it back; or move it away and launch the sweep again "
            f"with --output-dir {sweep}: runs that are done stay done."
        )
    return {"execution": {}, "launch": {}, **content}


def launchers_of(content: Mapping[str, Any]) -> list[str]:
    """The launchers that a sweep was given to, that of the last launch at the end.

    Args:
        content: what :func:`read_sweep_file` returns; an earlier release noted the last launch alone.
    """
    return list(content.get("launchers", [content["launch"].get("launcher", "local")]))


def _problem(content: Any) -> str:
    """What is not as a launch writes it, or nothing."""
    if not isinstance(content, dict):
        return "it holds no sweep"
    kinds = {"spec": dict, "runs": list, "execution": dict, "launch": dict}
    for name, kind in kinds.items():
        if not isinstance(content.get(name, {} if name in ("execution", "launch") else None), kind):
            return f"{name} is not what a launch writes"
    spec, used = content["spec"], content.get("launchers", [])
    if not isinstance(spec.get("name"), str) or not all(isinstance(spec.get(of), list) for of in ("parts", "rows")):
        return "spec is no table"
    launchers = [*used, content.get("launch", {}).get("launcher", "")] if isinstance(used, list) else [used]
    if not all(isinstance(name, str) for name in launchers):
        return "a launcher's name is no text"
    for number, run in enumerate(content["runs"], 1):
        if not _is_run(run, len(spec["parts"]), len(spec["rows"])):
            return f"run {number} is none"
    return ""


def _is_run(run: Any, parts: int, rows: int) -> bool:
    """Whether ``run`` is an entry that a launch writes. An id is a folder's name, and nothing that leads elsewhere."""
    if not (isinstance(run, dict) and all(isinstance(run.get(name), kind) for name, kind in _RUN.items())):
        return False
    config, name = run["config"], run["id"]
    return (
        all(isinstance(config.get(key), kind) for key, kind in _CONFIG.items())
        and bool(config["test_envs"])
        and name not in ("", ".", "..")
        and not set("/\\\0") & set(name)
        and 0 <= run["part"] < parts
        and 0 <= run["row"] < rows
    )
