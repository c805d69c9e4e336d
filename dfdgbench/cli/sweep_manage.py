"""``dfdgbench sweep logs``, ``retry``, ``cancel``, ``delete-incomplete`` and ``merge``: looking after a sweep's runs."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import device, positive
from dfdgbench.cli.output import fail, say, say_table, size
from dfdgbench.errors import ConfigError, DfdgbenchError, listing

if TYPE_CHECKING:
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.status import RunStatus

AGAIN = ("failed", "lost", "stopped")
MOST = 20


def add(actions: Any) -> None:
    """Add the actions' parsers."""
    parser = _action(
        actions, "logs", "what a run has printed", logs, "runs/quickstart 3", "runs/quickstart ERM-Mini --err"
    )
    parser.add_argument("name", metavar="RUN", help="its id, the beginning of it, or its number in the status")
    parser.add_argument("--err", action="store_true", help="the tracebacks of its failures")
    parser.add_argument("--follow", action="store_true", help="go on with what it prints until it ends; Ctrl-C leaves")
    parser = _action(
        actions,
        "retry",
        "launch runs that did not end well once more, from their snapshots, with the options of the last launch",
        retry,
        "runs/quickstart --failed",
        "runs/quickstart --failed --lost --launcher local --jobs 2",
    )
    for state in AGAIN:
        parser.add_argument(f"--{state}", dest="states", action="append_const", const=state, help=f"the {state} runs")
    parser.add_argument("--launcher", metavar="NAME", help="default: the last launch's; see `dfdgbench list launchers`")
    parser.add_argument("--jobs", type=positive, metavar="N", help="tasks at a time; default: the last launch's")
    parser.add_argument("--device", type=device, metavar="NAME", help="default: the last launch's")
    parser.add_argument("--data-dir", metavar="DIR", help="where the data is now; default: where it was")
    parser.add_argument(
        "--artifacts", type=Path, metavar="DIR", help="where shared stages are now; default: where they were"
    )
    _action(actions, "cancel", "ask everything under way to stop after a snapshot", cancel, "runs/quickstart")
    parser = _action(
        actions,
        "delete-incomplete",
        "delete the folders of runs that are neither done nor under way nor queued",
        delete_incomplete,
        "runs/quickstart",
        "runs/quickstart --yes",
    )
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    parser = _action(
        actions,
        "merge",
        "bring the runs of other copies of a sweep into one",
        merge_sweeps,
        "runs/mine other/mine --move",
    )
    parser.add_argument("others", type=Path, nargs="+", metavar="FROM", help="folders of the same sweep")
    parser.add_argument("--move", action="store_true", help="move runs; without it they are copied")


def _action(actions: Any, name: str, text: str, run: Any, *examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  dfdgbench sweep {name} {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="INTO" if name == "merge" else "SWEEP_DIR")
    parser.set_defaults(run=run)
    return parser


# Logs -----------------------------------------------------------------------------------------------------------------


def logs(options: argparse.Namespace) -> int:
    """Print what a run has printed."""
    from dfdgbench.sweeps.status import find_run, read_sweep

    run = find_run(read_sweep(options.folder), options.name)
    file = _log(options.folder, run, "err.txt" if options.err else "out.txt")
    if file is None:
        fail(f"the run {run.run} ({run.state}) has left no {'traceback' if options.err else 'output'}.")
        return 1
    say(f"==> {file} ({run.state})")
    try:
        _print(file, options.folder, run.run, options.follow)
    except KeyboardInterrupt:
        return 0
    return 0


def _log(sweep: Path, run: RunStatus, name: str) -> Path | None:
    """The run's own file, else the launcher's log that names it; of several the newest."""
    own = sweep / "runs" / run.run / name
    if own.exists() and own.stat().st_size:
        return own
    found = [path for folder in ("launcher", "logs") for path in (sweep / folder).glob("**/*") if _tells_of(path, run)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _tells_of(path: Path, run: RunStatus) -> bool:
    if not path.is_file() or path.suffix not in (".txt", ".out", ".err", ".log"):
        return False
    return run.run in path.name or run.run.encode() in path.read_bytes()


def _print(file: Path, sweep: Path, run: str, follow: bool) -> None:
    from dfdgbench.sweeps.status import Watcher, read_sweep

    watcher = Watcher()
    with open(file, encoding="utf-8", errors="replace") as text:
        while True:
            ended = (
                not follow
                or next(r for r in read_sweep(sweep, watcher=watcher).runs if r.run == run).state != "running"
            )
            while part := text.read(1 << 16):
                sys.stdout.write(part)
            sys.stdout.flush()
            if ended:
                return
            time.sleep(1.0)


# Retry ----------------------------------------------------------------------------------------------------------------


def retry(options: argparse.Namespace) -> int:
    """Launch the chosen runs again."""
    from dfdgbench.cli.options import execution
    from dfdgbench.cli.sweep_launch import execute
    from dfdgbench.cli.sweep_status import settled
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.plan import plan_sweep

    if not options.states:
        raise ConfigError(
            f"Which runs? Type --failed, --lost or --stopped: dfdgbench sweep retry {shlex.quote(str(options.folder))} --failed"
        )
    chosen = {run.run for run in settled(options.folder).runs if run.state in options.states}
    if not chosen:
        say(f"No run is {' or '.join(options.states)}.")
        return 0
    sweep = SweepFolder(options.folder)
    runs = [run for run in sweep.runs() if run.run_id in chosen]
    if options.data_dir:
        runs = [run.moved(options.data_dir) for run in runs]
    launched = _as_launched(sweep, options)
    return execute(launched, sweep, plan_sweep(runs, sweep, execution(launched)), sweep.spec())


def _as_launched(sweep: Any, options: argparse.Namespace) -> argparse.Namespace:
    """The options of the last launch, with those of this command on top."""
    from dfdgbench.cli.main import make_parser

    launched = make_parser().parse_args(["sweep", "launch", sweep.spec().name])
    before = sweep.launch_options()
    same = options.launcher in (None, before.get("launcher"))  # what one launcher asks for means nothing to another
    kept = {**sweep.execution(), **(before if same else {})}
    vars(launched).update({name: value for name, value in kept.items() if name in vars(launched)})
    given = {name: getattr(options, name) for name in ("launcher", "jobs", "device", "data_dir", "artifacts")}
    vars(launched).update({name: value for name, value in given.items() if value is not None})
    launched.output_dir = sweep.path
    launched.artifacts = Path(launched.artifacts)
    return launched


# Cancel and delete ----------------------------------------------------------------------------------------------------


def cancel(options: argparse.Namespace) -> int:
    """Ask every launcher that was given the sweep, and every process here, to stop what is under way."""
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.processes import ask_to_stop, elsewhere

    sweep = SweepFolder(options.folder)
    jobs = [_cancelled(name, sweep) for name in sweep.launchers()]  # before processes: a stopped job is queued again
    processes = ask_to_stop(sweep.path)
    if processes:
        say(f"Asked {processes} process{'es' if processes > 1 else ''} on this machine to stop after a snapshot.")
    others = {} if any(jobs) else elsewhere(sweep.path)
    for host, count in others.items():
        say(f"{count} run{'s are' if count > 1 else ' is'} held on {host}: type the same command there.")
    if not (any(jobs) or processes or others or None in jobs):
        say("Nothing is under way.")
    return 1 if None in jobs else 0


def _cancelled(name: str, sweep: SweepFolder) -> int | None:
    """How many jobs of the launcher's scheduler were asked to stop; None where it could not be asked, which is told."""
    from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher

    try:
        kind = LAUNCHERS.get(name)
        jobs = 0 if kind.cancel is Launcher.cancel else kind().cancel(sweep)
    except DfdgbenchError as error:
        fail(f"jobs of the launcher {name} could not be asked to stop: {error}")
        return None
    if jobs:
        say(f"Asked {jobs} jobs of the launcher {name} to stop.")
    return jobs


def delete_incomplete(options: argparse.Namespace) -> int:
    """Show, ask, delete."""
    from dfdgbench.cli.sweep_status import settled
    from dfdgbench.engine.artifacts import size as bytes_below
    from dfdgbench.sweeps.incomplete import delete, incomplete
    from dfdgbench.sweeps.status import STALE

    found = incomplete(settled(options.folder, patience=STALE + 5, sure=True))
    rows = [
        {"run": run.run, "state": run.state, "size": size(bytes_below(folder)), "ended with": run.error[:80]}
        for run, folder in found
    ]
    say_table(rows[:MOST], empty="Nothing to delete: every run is done, under way, queued, or has no folder.")
    if len(rows) > MOST:
        say(f"... and {len(rows) - MOST} more")
    if not found:
        return 0
    total = size(sum(bytes_below(folder) for _, folder in found))
    if not (options.yes or _agreed(f"Delete these {len(found)} folders ({total}), with their snapshots?")):
        say("Nothing was deleted.")
        return 1
    deleted, left = delete(found)
    say(f"Deleted {deleted} folder{'s' * (deleted != 1)}.")
    if left:
        say(f"Left, somebody has begun with them: {listing((folder.name for folder in left), 5)}.")
    return 0


def _agreed(question: str) -> bool:
    """Whether the person says yes; without a terminal nobody can be asked."""
    if not sys.stdin.isatty():
        say("There is no terminal to ask. Type the same with --yes to delete these.")
        return False
    return input(f"{question} Type yes: ").strip().lower() in ("yes", "y")


# Merge ----------------------------------------------------------------------------------------------------------------


def merge_sweeps(options: argparse.Namespace) -> int:
    """Bring runs together."""
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.merging import merge

    into = SweepFolder(options.folder)
    done = merge(into, [SweepFolder(path) for path in options.others], move=options.move)
    say(
        f"{done.brought} run{'s' * (done.brought != 1)} {'moved' if options.move else 'copied'}, {done.replaced} unfinished "
        f"ones replaced, {done.kept} there already."
    )
    if done.differing:
        say(f"Done in both with other results, ours kept and theirs left where it is: {listing(done.differing, 5)}.")
    states = into.states()
    say(f"{states['done']} of {sum(states.values())} runs of {into.path} are done.")
    say("Shared stages are elsewhere: dfdgbench artifacts export FROM DIR brings those that a sweep's runs name.")
    return 0
