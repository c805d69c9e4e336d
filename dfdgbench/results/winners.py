"""What every rule chose: of each cell and trial the run, its hyper-parameters and the step."""

from __future__ import annotations

import csv as csv_writer
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfdgbench.results.groups import Group, Key, Method
from dfdgbench.results.ledger import Ledger
from dfdgbench.results.render import grid
from dfdgbench.results.scores import Scores
from dfdgbench.results.selection import Pick, Rule, in_order

# From the name of a dataset to the labels of its domains.
Domains = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Winner:
    """What represents one method, held-out domain and trial.

    Attributes:
        rule: its name.
        run: the folder, below the one that was read.
        hparams: the effective ones, as the record has them.
        validation: what it won by, a fraction; NaN for a rule that looks at nothing.
        test: accuracy on the held-out domain, a fraction; NaN where it was not evaluated.
    """

    rule: str
    dataset: str
    method: Method
    domain: str
    trial: int
    hparams_seed: int
    step: int
    run: str
    hparams: Mapping[str, Any]
    validation: float
    test: float


def chosen(ledger: Ledger, groups: Sequence[Group], rule: Rule) -> dict[Key, tuple[int, Pick]]:
    """The hparams seed and the row that represent each group; groups of which nothing can be chosen are left out."""
    picker = rule.picker(ledger)
    found = {}
    for group in groups:
        picks = [(seed, picker(group.members[seed], group.key[3])) for seed in sorted(group.members)]
        ranked = in_order(rule, [(seed, pick) for seed, pick in picks if pick is not None])
        if ranked:
            found[group.key] = ranked[0]
    return found


def test_accuracy(scores: Scores) -> Any:
    """Of every record, the accuracy on the first held-out domain."""
    return scores.target("test")


def winners(ledger: Ledger, picks: Mapping[Key, tuple[int, Pick]], rule: str, domains: Domains) -> list[Winner]:
    """What ``rule`` chose, in order of datasets, methods, domains and trials."""
    tests = ledger.spread(test_accuracy)
    found = []
    order = list(domains)
    for key in sorted(picks, key=lambda key: (order.index(key[1]), key[0], key[3], key[2])):
        (method, dataset, trial, env), (seed, pick) = key, picks[key]
        entry = ledger.entry_of(pick.row)
        found.append(
            Winner(
                rule=rule, dataset=dataset, method=method, domain=domains[dataset][env], trial=trial, hparams_seed=seed,
                step=int(ledger.steps[pick.row]), run=entry.name, hparams=entry.part_of(pick.row).hparams,
                validation=pick.validation, test=float(tests[pick.row]),
            )
        )  # fmt: skip
    return found


_HEADER = (
    "rule", "dataset", "algorithm", "network", "variant", "protocol", "sources", "options", "domain", "trial",
    "hparams_seed", "step", "run", "validation", "test", "hparams",
)  # fmt: skip


def _row(winner: Winner, number: Callable[[float], Any], hparams: Callable[[Any], Any]) -> dict[str, Any]:
    method = winner.method
    values = (
        winner.rule, winner.dataset, method.algorithm, method.network, method.variant, method.protocol, method.sources,
        method.options, winner.domain, winner.trial, winner.hparams_seed, winner.step, winner.run,
        number(winner.validation), number(winner.test), hparams(winner.hparams),
    )  # fmt: skip
    return dict(zip(_HEADER, values, strict=True))


def as_json(found: Sequence[Winner]) -> str:
    """A list of objects; accuracies are fractions, null for none."""
    rows = [_row(winner, lambda value: value if math.isfinite(value) else None, _json_safe) for winner in found]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def as_csv(found: Sequence[Winner]) -> str:
    """One line each; accuracies are fractions, empty for none; hyper-parameters are one JSON text."""
    text = io.StringIO()
    writer = csv_writer.DictWriter(text, _HEADER, lineterminator="\n")
    writer.writeheader()
    for winner in found:
        writer.writerow(_row(winner, lambda value: repr(value) if math.isfinite(value) else "", _as_text))
    return text.getvalue()


_COLUMNS = (
    "Dataset", "Method", "Domain", "Trial", "Hparams seed", "Step", "Validation", "Test", "Run", "Hparams",
)  # fmt: skip


def as_markdown(found: Sequence[Winner], labels: Mapping[Method, str], titles: Mapping[str, str]) -> str:
    """A table a rule; accuracies in percent, and of the hyper-parameters those in which winners of a method differ."""
    parts = []
    for rule in dict.fromkeys(winner.rule for winner in found):
        rows = [winner for winner in found if winner.rule == rule]
        parts.append(f"## Model selection: {titles[rule]}")
        shown = [_cells(winner, labels, _differing(found, winner)) for winner in rows]
        parts.append(grid(_COLUMNS, shown, left=(0, 1, 2, 8, 9)))
    return "\n\n".join(parts) + "\n"


def _cells(winner: Winner, labels: Mapping[Method, str], shown: Sequence[str]) -> list[str]:
    hparams = {name: winner.hparams[name] for name in shown if name in winner.hparams}
    said = ", ".join(f"{name}={_short(value)}" for name, value in hparams.items())
    return [
        winner.dataset, labels[winner.method], winner.domain, str(winner.trial), str(winner.hparams_seed),
        str(winner.step), _percent(winner.validation), _percent(winner.test), winner.run, said or "-",
    ]  # fmt: skip


def _differing(found: Sequence[Winner], winner: Winner) -> list[str]:
    """The names of the hyper-parameters in which runs of the winner's method differ."""
    others = [other.hparams for other in found if other.method == winner.method and other.dataset == winner.dataset]
    names = dict.fromkeys(name for hparams in others for name in hparams)
    return [name for name in names if len({_as_text(hparams.get(name)) for hparams in others}) > 1]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _json_safe(value: Any) -> Any:
    """``value`` without the numbers that JSON has no words for, which become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _json_safe(inner) for name, inner in value.items()}
    return [_json_safe(inner) for inner in value] if isinstance(value, list) else value
