"""What a reader of collected tables must know of the runs: what is unfinished, left out, odd, mixed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from dfdgbench.errors import listing
from dfdgbench.results.groups import Group
from dfdgbench.results.ledger import Entry, Ledger
from dfdgbench.versions import mixed

# So many runs are named one by one; of more, their number is told and the first are named.
_FEW = 5
Note = tuple[str, str]


def without_infinite(ledger: Ledger) -> tuple[Ledger, list[Note]]:
    """The ledger with NaN for values that are infinite, which no accuracy is, and the names of their runs."""
    entries: list[Entry] = []
    notes = []
    for entry in ledger.entries:
        infinite = np.isinf(entry.content.values)
        if infinite.any():
            notes.append((entry.name, "infinite accuracies count as NaN"))
            values = np.where(infinite, np.nan, entry.content.values)
            entry = Entry(entry.name, replace(entry.content, values=values), entry.rows)
        entries.append(entry)
    return (Ledger(entries, ledger.planned, ledger.notes), notes) if notes else (ledger, [])


def remarks(ledger: Ledger, groups: Sequence[Group], more: Iterable[Note] = ()) -> list[str]:
    """A sentence each.

    Args:
        more: other names of runs, with what is to be said of them.
    """
    unfinished = [entry.name for entry in ledger.entries if not entry.done] + list(ledger.planned)
    count = len(ledger.entries) + len(ledger.planned)
    said = [f"{len(unfinished)} of {count} runs are unfinished: {listing(unfinished)}."] if unfinished else []
    mixture = mixed(entry.content.config for entry in ledger.entries)
    said += [f"The runs mix versions: {'; '.join(mixture)}."] if mixture else []
    said += [f"{note}." for note in ledger.notes]
    notes = [(entry.name, note) for entry in ledger.entries for note in (*entry.content.notes, *entry.own[1])]
    said += _by_text([*notes, *more])
    said += _twins([note for group in groups for note in group.notes])
    return said


def _by_text(notes: Sequence[Note]) -> list[str]:
    """Notes on single runs, those of many runs together."""
    runs: dict[str, list[str]] = {}
    for name, text in notes:
        runs.setdefault(text, []).append(name)
    said = []
    for text, names in runs.items():
        if len(names) <= _FEW:
            said += [f"{name}: {text}." for name in names]
        else:
            said.append(f"In {len(names)} runs: {text} ({listing(names, _FEW)}).")
    return said


def _twins(notes: Sequence[Note]) -> list[str]:
    """Runs that are left out for another that is the same."""
    twins = list(dict.fromkeys(notes))
    if len(twins) <= _FEW:
        return [f"{name} is left out: {other} is the same method, problem and seeds." for name, other in twins]
    named = listing((f"{name} (as {other})" for name, other in twins), _FEW)
    return [f"{len(twins)} runs are left out, each the same method, problem and seeds as another: {named}."]
