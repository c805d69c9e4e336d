"""Our runs as folders that DomainBed's collector reads."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dfdgbench.engine.records import RESULTS, line
from dfdgbench.errors import ConfigError, listing
from dfdgbench.files import explained
from dfdgbench.results.domainbed import ENVIRONMENTS
from dfdgbench.results.groups import Method
from dfdgbench.results.reading import existing, read_run
from dfdgbench.results.record import is_score, place, splits

# The args that DomainBed writes; all else sets our variants apart, and those have folders of their own.
_ARGS = (
    "algorithm", "checkpoint_freq", "data_dir", "dataset", "holdout_fraction", "hparams", "hparams_seed", "output_dir",
    "save_model_every_checkpoint", "seed", "skip_model_save", "steps", "task", "test_envs", "trial_seed",
    "uda_holdout_fraction",
)  # fmt: skip


def export_domainbed(
    folder: str | Path, target: str | Path, *, include_unfinished: bool = False
) -> tuple[dict[str, int], list[str]]:
    """Write the runs below ``folder`` as DomainBed would have left them, and return how many there are in each folder
    of ``target``; and remarks.

    DomainBed's tables know an algorithm by its name alone. So each folder holds one variant of every algorithm: where
    runs of one algorithm differ in network, variant, protocol, sources or options, runs that are alike in these go
    together. The splits of other protocols get DomainBed's names: ``in`` is what a domain is trained on, of a
    held-out one what is reported, and ``out`` its validation split.

    Raises:
        ConfigError: there is nothing to write, or something in ``target`` already.
    """
    from dfdgbench.results.collect import read_sweep

    root, place_of = existing(folder), Path(target)
    if place_of.exists() and (not place_of.is_dir() or any(place_of.iterdir())):
        raise ConfigError(f"{place_of} is not empty. Give a new folder to --export-domainbed, or remove this one.")
    sweep = read_sweep(root, include_unfinished=include_unfinished)
    runs: dict[str, Method] = {}
    for group in sweep.groups:
        for members in group.members.values():
            for member in members:
                runs[sweep.ledger.entry_of(int(member.rows[0])).name] = group.key[0]
    trees = _trees(list(dict.fromkeys(runs.values())))
    counts = dict.fromkeys(trees.values(), 0)
    shared = os.path.commonpath([os.path.dirname(name) for name in runs])
    beside = place_of.with_name(f".{place_of.name}.{uuid.uuid4().hex[:8]}")
    with explained(place_of, "The exported runs"):
        try:
            for name, method in runs.items():
                run = root if name == root.resolve().name and not (root / name).is_dir() else root / name
                _write(run, beside / trees[method] / os.path.relpath(name, shared or ".").replace("/", "-"))
                counts[trees[method]] += 1
            if place_of.is_dir():
                place_of.rmdir()
            beside.rename(place_of)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return counts, [*_strange(sweep.domains, runs.values()), *sweep.remarks]


def _strange(datasets: Mapping[str, Any], methods: Any) -> Iterator[str]:
    unknown = [name for name in datasets if name not in ENVIRONMENTS]
    if unknown:
        yield f"DomainBed's collector drops the data sets that it does not know: {listing(unknown)}."
    partial = sorted({method.algorithm for method in methods if method.sources})
    if partial:
        yield (
            f"{listing(partial)}: trained on some of the other domains alone, while DomainBed's rules look at the validation "
            "splits of all."
        )


def _trees(methods: Sequence[Method]) -> dict[Method, str]:
    """A folder's name for each method, so that none holds two methods of one algorithm."""
    names = [field.name for field in fields(Method) if field.name != "algorithm"]
    by_algorithm: dict[str, list[Method]] = {}
    for method in methods:
        by_algorithm.setdefault(method.algorithm, []).append(method)
    differing = [
        name
        for name in names
        if any(len({getattr(method, name) for method in alike}) > 1 for alike in by_algorithm.values())
    ]
    folders: dict[tuple[Any, ...], str] = {}
    found = {}
    for method in methods:
        kind = tuple(getattr(method, name) for name in differing)
        if kind not in folders:
            folders[kind] = _folder([text for text in map(_text, differing, kind) if text], list(folders.values()))
        found[method] = folders[kind]
    return found


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else ""
    return str(value)


def _folder(words: Sequence[str], taken: Sequence[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_.+=-]+", "-", "-".join(words)).strip("-.")[:80] or "runs"
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    return unique


def _write(source: Path, folder: Path) -> None:
    run = read_run(source)
    folder.mkdir(parents=True)
    text = "".join(line(as_domainbed(record)) for record in run.records)
    (folder / RESULTS).write_text(text, encoding="utf-8")
    if run.done:
        (folder / "done").write_text("done")


def as_domainbed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with DomainBed's ``args``, and with its names for the splits of another protocol."""
    args = record["args"]
    held_out = list(map(int, args["test_envs"]))
    made = {name: value for name, value in record.items() if not is_score(name)}
    made["args"] = {name: args[name] for name in _ARGS if name in args} | {
        "test_envs": held_out,
        "trial_seed": args.get("trial_seed") or 0,
        "hparams_seed": args.get("hparams_seed") or 0,
    }
    protocol = splits(args.get("protocol") or "domainbed")
    for key, value in record.items():
        if not is_score(key):
            continue
        found = place(key, held_out)
        if args.get("protocol") in (None, "", "domainbed"):
            made[key] = value
            continue
        first = protocol.test if found.env in held_out else protocol.train
        names = {first: "in", protocol.validation: "out"}
        if found.env >= 0 and found.split in names:
            suffix = f"@{found.predictor}" if found.predictor else ""
            made[f"env{found.env}_{names[found.split]}_{found.metric}{suffix}"] = value
    return made
