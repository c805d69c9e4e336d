"""Records and folders, written as DomainBed and this project write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfdgbench.engine.config import RunConfig
from dfdgbench.files import write_json
from dfdgbench.tables.spec import Part, Row, TableSpec

TARGET = "T"
DOMAINS = ["handwritten", "blended", "printed", "numbers"]
"""MiniDigits'."""


def record(step: int, hparams_seed: int, *envs: tuple[Any, ...]) -> dict[str, Any]:
    """A record from (in_acc, out_acc) per domain, with a third "T" where it is held out."""
    made: dict[str, Any] = {
        "step": step,
        "args": {
            "dataset": "PACS",
            "algorithm": "ERM",
            "test_envs": [i for i, env in enumerate(envs) if TARGET in env],
            "trial_seed": 0,
            "hparams_seed": hparams_seed,
        },
        "hparams": {},
    }
    for i, env in enumerate(envs):
        made |= {f"env{i}_in_acc": env[0], f"env{i}_out_acc": env[1]}
    return made


def write_domainbed(folder: Path, records: Sequence[Mapping[str, Any]], done: bool = True) -> Path:
    """A run's folder as DomainBed leaves it."""
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(found, sort_keys=True) + "\n" for found in records))
    (folder / "out.txt").write_text("")
    if done:
        (folder / "done").write_text("done")
    return folder


def our_record(
    config: RunConfig, accuracies: Mapping[str, float], step: int = 100, setting: str = "data-free"
) -> dict[str, Any]:
    """A record of this project's run of ``config``."""
    targets = [int(env) for env in config.test_envs]
    args = config.model_dump() | {
        "hparams": json.dumps(config.hparams) if config.hparams else None,
        "protocol": config.protocol or "domainbed",
        "network": config.network or "smallcnn",
        "test_envs": targets,
        "train_envs": config.train_envs or [env for env in range(4) if env not in targets],
        "setting": setting,
    }
    return {"step": step, "args": args, "hparams": {}, **accuracies}


def write_ours(
    folder: Path,
    config: RunConfig,
    accuracies: Mapping[str, float],
    *,
    state: str = "done",
    setting: str = "data-free",
    device: str = "a GPU",
) -> Path:
    """A run's folder as this project leaves it, with one record."""
    made = our_record(config, accuracies, setting=setting)
    folder.mkdir(parents=True)
    content = {
        "config": config.model_dump(),
        "run": config.identity(),
        "args": made["args"],
        "setting": setting,
        "domains": DOMAINS,
        "device": device,
    }
    write_json(folder / "config.json", content)
    write_json(folder / "status.json", {"state": state})
    (folder / "results.jsonl").write_text(json.dumps(made, sort_keys=True) + "\n")
    if state == "done":
        (folder / "done").write_text("done")
    return folder


def small(**changes: Any) -> TableSpec:
    """A table of two rows and two columns over three trials."""
    given: dict[str, Any] = {
        "name": "small",
        "title": "Small",
        "trials": 3,
        "rows": [Row(label="Ours", algorithm="DEKAN"), Row(label="Best", algorithm="BestTeacher", oracle=True)],
        "parts": [Part(title="MD", dataset="MiniDigits", columns={"handwritten": "H", "blended": "B"})],
    }
    return TableSpec(**(given | changes))


def plan(spec: TableSpec, sweep: Path, trials: int = 1, command: str = "", **options: Any) -> list[dict[str, Any]]:
    """Write sweep.json for every cell of ``spec``; returns its entries."""
    entries = []
    for trial in range(trials):
        for i, part in enumerate(spec.parts):
            for j, row in spec.run_rows():
                for env, column in enumerate(() if part.quoted else part.targets):
                    given = {**spec.options, **part.options, **row.options, **options}
                    config = RunConfig.make(
                        algorithm=row.algorithm,
                        dataset=part.dataset,
                        test_envs=[env],
                        trial_seed=trial,
                        hparams={**spec.hparams, **part.hparams, **row.hparams},
                        **given,
                    ).swept()
                    place = {"part": i, "row": j, "column": column}
                    entries.append({**place, "id": config.run_id, "config": config.model_dump()})
    write_sweep(spec, sweep, entries, command)
    return entries


def write_sweep(spec: TableSpec, sweep: Path, entries: Sequence[Mapping[str, Any]], command: str = "") -> None:
    """sweep.json."""
    content = {
        "spec": spec.model_dump(),
        "runs": list(entries),
        "command": command,
        "execution": {"artifacts": "artifacts"},
    }
    write_json(sweep / "sweep.json", content)


def finish(
    sweep: Path,
    entry: Mapping[str, Any],
    accuracy: float,
    setting: str = "data-free",
    device: str = "a GPU",
    **others: float,
) -> None:
    """Leave the finished run of one entry: ``accuracy`` is the test accuracy of its held-out domain."""
    config = RunConfig.make(**entry["config"])
    split = {"official": "test", "authors": "all"}.get(config.protocol or "", "in")
    key = f"env{config.test_envs[0]}_{split}_acc"
    write_ours(sweep / "runs" / entry["id"], config, {key: accuracy, **others}, setting=setting, device=device)
