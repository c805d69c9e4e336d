"""What is said to a person when something cannot be done.

Every message has three parts: what was given, what is allowed, and what to type instead. These errors are raised for
a person's input and a machine's state (a missing folder, a full disk); the command line prints their text alone, with
no traceback. A bug raises something else, and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class DfdgbenchError(Exception):
    """Base of every error that is the user's or the machine's to mend. ``str(error)`` is the whole message."""


class UnknownNameError(DfdgbenchError):
    """A name that no registry, table, hparam or dataset knows."""


class HparamError(DfdgbenchError):
    """A hyper-parameter that does not exist or whose value does not fit."""


class ConfigError(DfdgbenchError):
    """Options that are wrong by themselves or do not go together."""


class DataError(DfdgbenchError):
    """Data that is missing, incomplete or unreadable."""


class MissingDataError(DataError):
    """Data that is not there at all: what is evaluated on it waits, and what it would be read for cannot run."""


class EmptySplitError(MissingDataError):
    """A split without an image, though its domain is there: waiting for data will not fill it."""


class WeightsError(DfdgbenchError):
    """Network weights that cannot be had or do not fit the network."""


class AccessError(DfdgbenchError):
    """A stage that reads what its setting does not grant."""


class NoBatchNormError(DfdgbenchError):
    """A network without usable batch normalisation, given to a method that reads its statistics."""


class FrozenBNError(DfdgbenchError):
    """Teachers of different domains that carry the same batch-normalisation buffers."""


class ArtifactError(DfdgbenchError):
    """An artifact or a snapshot that cannot be written, or is damaged."""


class MissingExtraError(DfdgbenchError):
    """An optional package that is not installed; the message names the command that installs it."""


def listing(names: Iterable[str], most: int = 30) -> str:
    """``names`` joined by commas, cut after ``most`` with a count of the rest."""
    every = [str(name) for name in names]
    shown = ", ".join(every[:most])
    return f"{shown}, ... ({len(every) - most} more)" if len(every) > most else shown


_FAR = 0.25
"""How much less alike than the nearest a name may be and still be meant."""


def near(name: str, known: Sequence[str]) -> list[str]:
    """At most three of ``known`` that look like ``name``, closest first, whatever their case: the only one that begins with it
    where there is one."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    begun = [folded for folded in by_folded if folded.startswith(name.casefold())]
    if name.casefold() in by_folded or len(begun) == 1:
        return [by_folded[name.casefold() if name.casefold() in by_folded else begun[0]]]
    found = difflib.get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.6)
    alike = {folded: difflib.SequenceMatcher(None, folded, name.casefold()).ratio() for folded in found}
    return [by_folded[folded] for folded in found if alike[folded] > max(alike.values()) - _FAR]


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """The error for a ``kind`` (algorithm, dataset, ...) called ``name`` that is not among ``known``."""
    every = list(known)
    close = near(name, every)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    allowed = f" Known: {listing(every)}." if every else " None is registered."
    return UnknownNameError(f"There is no {kind} '{name}'.{meant}{allowed}{' ' + hint if hint else ''}")


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for ``package``, which the extra ``extra`` would have installed."""
    return MissingExtraError(
        f"{purpose} needs the package '{package}', which is not installed. Type: pip install 'dfdgbench[{extra}]'"
    )
