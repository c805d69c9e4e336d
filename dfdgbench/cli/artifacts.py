"""``dfdgbench artifacts``: what the shared stages hold on disk."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import folder as to_folder
from dfdgbench.cli.output import fail, say, say_table, size

if TYPE_CHECKING:
    from dfdgbench.engine.artifacts import Store

EXAMPLES = """\
examples:
  dfdgbench artifacts ls
  dfdgbench artifacts du
  dfdgbench artifacts gc --runs runs              # what no run below runs/ uses: shown
  dfdgbench artifacts gc --runs runs --yes        # and deleted
  dfdgbench artifacts export runs/quickstart DIR  # copies of what a sweep's runs use"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "artifacts",
        help="look after what shared stages hold on disk",
        description="Look after what shared stages hold on disk.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    texts = {
        "ls": "one row an artifact",
        "du": "bytes and inodes (files and folders) by kind",
        "gc": "delete what no run uses, leftovers of killed stages, and what was set aside as damaged",
        "export": "copy the artifacts that a sweep's runs name into another folder of artifacts",
    }
    for name, text in texts.items():
        action = actions.add_parser(
            name,
            help=text,
            description=text.capitalize() + ".",
            epilog=EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.add_argument(
            "--artifacts", type=Path, default=Path(os.environ.get("DFDGBENCH_ARTIFACTS", "artifacts")), metavar="DIR"
        )
        action.set_defaults(run={"ls": listing, "du": usage, "gc": collect_garbage, "export": export}[name])
        if name == "export":
            action.add_argument("sweep", type=Path, metavar="SWEEP_DIR", help="a sweep, or any folder that holds runs")
            action.add_argument(
                "out", type=to_folder, metavar="OUT", help="the other folder of artifacts; made if need be"
            )
        if name == "gc":
            action.add_argument(
                "--runs",
                type=Path,
                nargs="+",
                required=True,
                metavar="DIR",
                help="folders whose runs' artifacts are kept",
            )
            action.add_argument("--yes", action="store_true", help="delete; without it, only show")


def _store(options: argparse.Namespace) -> Store:
    from dfdgbench.engine.artifacts import Store
    from dfdgbench.errors import ConfigError

    if not options.artifacts.is_dir():
        raise ConfigError(f"There is no folder of artifacts at {options.artifacts}. Type --artifacts DIR.")
    return Store(options.artifacts)


def listing(options: argparse.Namespace) -> int:
    """One row an artifact."""
    rows = []
    for folder, manifest in _store(options).entries():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest["created"]))
        took = f"{manifest['seconds']:.0f} s" if "seconds" in manifest else "-"
        rows.append(
            {
                "artifact": manifest["title"],
                "folder": folder.name,
                "size": size(_bytes(folder)),
                "took": took,
                "made": made,
            }
        )
    say_table(rows, empty="no artifact yet")
    return 0


def usage(options: argparse.Namespace) -> int:
    """Bytes and inodes by kind, what is under way or set aside, and all of it: file systems limit both."""
    store = _store(options)
    found: dict[str, list[Path]] = defaultdict(list)
    for folder, manifest in store.entries():
        found[manifest["stage"]].append(folder)
    rows = [_used_by(kind, len(folders), folders) for kind, folders in found.items()]
    for name in (".work", ".damaged"):
        below = list((store.root / name).glob("*/*"))
        if below:
            rows.append(_used_by(name, len(below), [store.root / name]))
    if rows:
        rows.append(_used_by("all", sum(row["artifacts"] for row in rows), [store.root]))
    say_table(rows, empty="no artifact yet")
    return 0


def _used_by(name: str, count: int, folders: list[Path]) -> dict[str, Any]:
    inodes = sum(1 + sum(1 for _ in folder.rglob("*")) for folder in folders)
    return {"stage": name, "artifacts": count, "size": size(sum(map(_bytes, folders))), "inodes": inodes}


def export(options: argparse.Namespace) -> int:
    """Copy what the runs of a sweep name; what is there already stays."""
    from dfdgbench.engine.artifacts import Store
    from dfdgbench.errors import ArtifactError, ConfigError

    store, out = _store(options), Store(options.out)
    if store.root.resolve() == out.root.resolve():
        raise ConfigError(f"{options.out} is the folder of artifacts itself. Name another one to copy to.")
    keys = _used([options.sweep])
    if not keys:
        raise ConfigError(f"No run below {options.sweep} has begun, so that none names an artifact.")
    copied = there = moved = 0
    damaged = []
    for folder, manifest in store.entries():
        if manifest["key"] not in keys:
            continue
        try:
            new = out.bring(folder, manifest["key"])
        except ArtifactError as error:
            damaged.append(str(error))
            continue
        copied, there, moved = copied + new, there + (not new), moved + (_bytes(folder) if new else 0)
    say(f"Copied {copied} artifacts ({size(moved)}) to {out.root}; {there} were there already.")
    for problem in damaged:
        fail(f"not copied: {problem}")
    if not copied + there:
        say(f"{store.root} holds none of what these runs name. Type --artifacts DIR, the folder they were made in.")
    return 1 if damaged or not copied + there else 0


def collect_garbage(options: argparse.Namespace) -> int:
    """Delete what no run uses."""
    store = _store(options)
    used = _used(options.runs)
    doomed = [folder for folder, manifest in store.entries() if manifest["key"] not in used]
    doomed += [
        folder
        for name in (".work", ".damaged")
        for folder in (store.root / name).glob("*/*")
        if not folder.name.endswith(".lease") and not folder.with_name(folder.name + ".lease").exists()
    ]
    say_table(
        [{"folder": folder.relative_to(store.root), "size": size(_bytes(folder))} for folder in doomed],
        empty="nothing to delete",
    )
    if doomed and options.yes:
        for folder in doomed:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"Deleted {len(doomed)} folders.")
    elif doomed:
        say("Nothing was deleted. Type the same with --yes to delete these.")
    return 0


def _used(folders: list[Path]) -> set[str]:
    """The keys of every stage of every run below ``folders``."""
    from dfdgbench.errors import ConfigError
    from dfdgbench.files import read_json

    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        raise ConfigError(
            f"There is no folder {', '.join(missing)}. Name folders that hold runs, such as runs/quickstart."
        )
    return {
        key
        for folder in folders
        for path in folder.rglob("config.json")
        for key in read_json(path).get("stages", {}).values()
    }


def _bytes(folder: Path) -> int:
    from dfdgbench.engine.artifacts import size as bytes_below

    return bytes_below(folder)
