"""``dfdgbench sweep status``: how far a sweep is."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import positive
from dfdgbench.cli.output import duration, fail, plain_table, say
from dfdgbench.sweeps.status import STATES, Watcher, read_sweep, settle
from dfdgbench.tables.sweepfile import launchers_of, read_sweep_file

if TYPE_CHECKING:
    from dfdgbench.sweeps.status import RunStatus, SweepStatus

MOST = 20
PATIENCE = 11.0
"""Seconds: two heartbeats of a lease, and a little more."""
EXAMPLES = """\
examples:
  dfdgbench sweep status runs/quickstart
  dfdgbench sweep status runs/quickstart --watch 5
  dfdgbench sweep status runs/quickstart --state failed lost
  dfdgbench sweep status runs/quickstart --json"""


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "status",
        help="how far a sweep is",
        description="How far a sweep is: from its folder, then from the scheduler that has it, if one has.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP_DIR")
    parser.add_argument(
        "--watch", type=positive, metavar="SECONDS", help="look again every so often, until nothing is left to do"
    )
    parser.add_argument("--state", nargs="+", choices=list(STATES), default=[], metavar="STATE", help=_meanings())
    parser.add_argument("--most", type=positive, default=MOST, metavar="N", help=f"runs to list; default {MOST}")
    parser.add_argument("--json", action="store_true", help="for programs: every run")
    parser.set_defaults(run=run)


def _meanings() -> str:
    return "list these: " + "; ".join(name if name == text else f"{name} ({text})" for name, text in STATES.items())


def run(options: argparse.Namespace) -> int:
    """Print how far a sweep is; exit code 1 where ``--watch`` ends with runs that failed."""
    watcher = Watcher()
    if options.watch:
        return _watch(options, watcher)
    status = settled(options.folder, watcher)
    if options.json:
        say(json.dumps(as_json(status, options.state), indent=2))
    else:
        say(report(status, options.state, options.most))
    return 0


def look(folder: Path, watcher: Watcher, sure: bool = False) -> SweepStatus:
    """The sweep's status from disk and, where it was given to schedulers, from these."""
    status = read_sweep(folder, _schedulers(folder, sure), watcher)
    status.jobs = _jobs(folder)
    return status


def settled(
    folder: Path, watcher: Watcher | None = None, patience: float = PATIENCE, sure: bool = False
) -> SweepStatus:
    """:func:`look`, and once more where some runs had to be watched for ``patience`` seconds.

    Args:
        sure: a scheduler that cannot be asked is an error, not a message.
    """
    watcher = watcher or Watcher()
    status = look(folder, watcher, sure)
    return look(folder, watcher, sure) if settle(folder, status, watcher, patience) else status


def _schedulers(folder: Path, sure: bool) -> Mapping[str, str] | None:
    """What the schedulers that the sweep was given to say of its runs; None where there is none, or none can be asked.

    That one has a run no more tells something where it was the last that was given the sweep, and else nothing.
    """
    *earlier, last = [_ask(name, folder, sure) for name in launchers_of(read_sweep_file(folder))] or [None]
    told = {run: state for answer in earlier for run, state in (answer or {}).items() if state != "stopped"}
    return None if last is None and not told else told | dict(last or {})


def _jobs(folder: Path) -> list[str]:
    """What the schedulers that the sweep was given to say of their jobs."""
    names = [name for name in launchers_of(read_sweep_file(folder)) if name not in ("local", "debug", "commands")]
    if not names:
        return []
    from dfdgbench.errors import DfdgbenchError
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.launchers.base import LAUNCHERS

    told = []
    for name in names:
        with contextlib.suppress(DfdgbenchError):  # said already, where its runs were asked for
            told.append(LAUNCHERS.get(name)().jobs_told(SweepFolder(folder)))
    return list(filter(None, told))


def _ask(name: str, folder: Path, sure: bool) -> Mapping[str, str] | None:
    """What the launcher's scheduler says of the runs; None where it has none, or it cannot be asked."""
    if name in ("local", "debug", "commands"):
        return None
    from dfdgbench.errors import DfdgbenchError
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher

    try:
        kind = LAUNCHERS.get(name)
        return None if kind.status is Launcher.status else kind().status(SweepFolder(folder))
    except DfdgbenchError as error:
        if sure:
            raise
        fail(f"the scheduler could not be asked, this is what the folder tells: {error}")
        return None


def as_json(status: SweepStatus, states: Sequence[str]) -> dict[str, Any]:
    """What ``--json`` prints; numbers that are not known are null."""
    seconds, unknown = status.work_left()
    return {
        "sweep": status.name,
        "states": status.states(),
        "work_left_seconds": seconds,
        "runs_without_estimate": unknown,
        "mixed_versions": status.mixed,
        "runs": [asdict(run) for run in status.runs if not states or run.state in states],
    }


def report(status: SweepStatus, states: Sequence[str] = (), most: int = MOST) -> str:
    """The whole status as text: by algorithm and data set, the runs to look at, hints, one line of counts."""
    parts = [_by_method(status), _listed(status, states, most), *_hints(status)]
    return "\n\n".join([part for part in parts if part] + ["\n".join(_last_lines(status))])


def _by_method(status: SweepStatus) -> str:
    """A row for each algorithm and data set; nothing where every run is done."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for run in status.runs:
        counts.setdefault((run.algorithm, run.dataset), Counter())[run.state] += 1
    states = list(status.states())
    rows = [
        {"algorithm": algorithm, "dataset": dataset} | {state: str(found[state] or "") for state in states}
        for (algorithm, dataset), found in counts.items()
    ]
    return plain_table(rows) if states not in (["done"], []) else ""


def _listed(status: SweepStatus, states: Sequence[str], most: int) -> str:
    """The runs that are not done, or those in ``states``; at most ``most``, what needs a person first."""
    chosen = [run for run in status.runs if (run.state in states if states else run.state != "done")]
    if not chosen:
        return f"No run is {' or '.join(states)}." if states else "No run is left to do."
    chosen.sort(key=lambda run: (list(STATES).index(run.state), run.number))
    text = plain_table([_row(run, status.path) for run in chosen[:most]])
    rest = Counter(run.state for run in chosen[most:])
    if rest:
        counted = ", ".join(f"{count} {state}" for state, count in rest.items())
        text += f"\n... and {sum(rest.values())} more ({counted}). Type --state STATE, or --most N, to see them."
    return text


def _row(run: RunStatus, sweep: Path) -> dict[str, Any]:
    parts = [run.error or ("" if run.step is None else f"{run.step}/{run.steps}")]
    if run.rate is not None:
        parts.append(f"{run.rate:.1f}/s")
    if run.left is not None:
        parts.append(f"{duration(run.left)} left")
    parts.append("" if run.error else run.stage)  # last: in a narrow terminal it is what is cut
    log = f" ({Path(run.log).relative_to(sweep)})" if run.log else ""
    return {"#": run.number, "run": run.run, "state": run.state, "at": _cut(", ".join(filter(None, parts)) + log)}


def _cut(text: str, most: int = 240) -> str:
    """One line of bounded length, its end kept: that is where a log's path is."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 120] + " ... " + text[-110:]


def _hints(status: SweepStatus) -> list[str]:
    """What to type about runs that need a person, and what is odd about the sweep."""
    states, folder = status.states(), shlex.quote(str(status.path))
    hints = []
    if "failed" in states:
        hints.append(
            f"Of a failed run: dfdgbench sweep logs {folder} RUN --err. To try all of them again: "
            f"dfdgbench sweep retry {folder} --failed"
        )
    if "lost" in states:
        hints.append(
            f"Lost: the process is gone. To go on from the last snapshots: dfdgbench sweep retry {folder} --lost"
        )
    if "stopped" in states:
        hints.append(f"Stopped: to go on from the snapshots: dfdgbench sweep retry {folder} --stopped")
    if "trained" in states:
        hints.append(
            f"Trained, not evaluated: dfdgbench evaluate {folder}/runs/RUN --pending --data-dir DIR, once the data is there."
        )
    if status.mixed:
        hints.append("This sweep mixes versions: " + "; ".join(status.mixed) + ".")
    return hints


def _last_lines(status: SweepStatus) -> list[str]:
    lines = []
    seconds, unknown = status.work_left()
    at_work = status.states().get("running", 0)
    if seconds:
        together = f", {duration(seconds / at_work)} with {at_work} runs at a time" if at_work > 1 else ""
        more = f"; not counted: {unknown} like none that was measured" if unknown else ""
        lines.append(f"Left at the measured rates: {duration(seconds)} of work{together}{more}.")
    return [*lines, *status.jobs, counts(status)]


def counts(status: SweepStatus) -> str:
    """``6 runs: 1 running, 5 done``"""
    number = len(status.runs)
    return f"{number} run{'s' * (number != 1)}: " + ", ".join(
        f"{count} {state}" for state, count in status.states().items()
    )


# A live view ----------------------------------------------------------------------------------------------------------


def _watch(options: argparse.Namespace, watcher: Watcher) -> int:
    try:
        status = (_live if sys.stdout.isatty() and not options.json else _now_and_then)(options, watcher)
    except KeyboardInterrupt:
        return 0
    return 1 if status.states().get("failed") else 0


def _live(options: argparse.Namespace, watcher: Watcher) -> SweepStatus:
    """A view that is drawn anew every ``--watch`` seconds, and stays when nothing is left to do."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            status = look(options.folder, watcher)
            lines = shutil.get_terminal_size().lines
            methods = len({(run.algorithm, run.dataset) for run in status.runs})
            rows = min(options.most, max(3, lines - methods - 15))
            live.update(Text(report(status, options.state, rows), no_wrap=True, overflow="ellipsis"), refresh=True)
            if _ended(status):
                return status
            time.sleep(options.watch)


def _now_and_then(options: argparse.Namespace, watcher: Watcher) -> SweepStatus:
    """A line whenever a count has changed; the whole status at the end."""
    before = ""
    while True:
        status = look(options.folder, watcher)
        if counts(status) != before:
            before = counts(status)
            say(json.dumps(status.states()) if options.json else f"{time.strftime('%H:%M:%S')}  {before}")
        if _ended(status):
            if not options.json:
                say("\n" + report(status, options.state, options.most))
            return status
        time.sleep(options.watch)


def _ended(status: SweepStatus) -> bool:
    return all(run.over for run in status.runs)
