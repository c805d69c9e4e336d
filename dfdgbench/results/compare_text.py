"""Comparisons as text: markdown, CSV, JSON."""

from __future__ import annotations

import csv as csv_writer
import io
import json as json_writer
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dfdgbench.results.compare import CellComparison, Comparison, Pooled
from dfdgbench.results.ranking import Pair, Ranking
from dfdgbench.results.render import NOTHING, grid
from dfdgbench.results.statistics import ALPHA, PairedTest

_FIELDS = [
    "part", "method", "column", "a", "b", "difference", "se", "pairs", "p", "corrected", "verdict",
]  # fmt: skip


def markdown(found: Comparison) -> str:
    """What is compared, a row a cell, the summary, and what else differs."""
    header = ["Part", "Method", "Column", "A", "B", "B - A", "Trials", "p (Holm)", "Verdict"]
    parts = [
        f"## B against A\n\n- A: `{found.a}`\n- B: `{found.b}`",
        grid(header, [_row(cell) for cell in found.cells], left=(0, 1, 2, 8)),
    ]
    header = ["Method", "B - A", "95 % interval", "Pairs", "p (signed rank, Holm)", "Verdict"]
    parts += [
        "### All held-out domains and trials of a method",
        grid(header, [_method(each) for each in found.methods], left=(0, 5)),
    ]
    parts.append("\n".join(f"- {line}" for line in summary(found)))
    differs = [f"- {line}" for line in found.differs] or ["- nothing that their runs' config.json tells"]
    return "\n\n".join([*parts, "### What else differs", "\n".join(differs)]) + "\n"


def csv(found: Comparison) -> str:
    """One line a cell; empty where there is none."""
    text = io.StringIO()
    writer = csv_writer.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for line in cells(found):
        writer.writerow({name: "" if value is None else value for name, value in line.items()})
    return text.getvalue()


def json(found: Comparison) -> str:
    """The folders, the cells, the overall test, and what else differs."""
    content = {
        "a": str(found.a),
        "b": str(found.b),
        "cells": cells(found),
        "methods": [{"method": each.method, **_verdict(each)} for each in found.methods],
        "overall": _verdict(found.overall),
        "worse": found.worse,
        "differs": list(found.differs),
    }
    return json_writer.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def cells(found: Comparison) -> list[dict[str, Any]]:
    """Every cell as a flat mapping; numbers that are not finite are None."""
    return [{name: _finite(getattr(cell, name)) for name in _FIELDS} for cell in found.cells]


def summary(found: Comparison) -> list[str]:
    """Counts of the verdicts, then what all pairs say together."""
    counts = Counter(cell.verdict for cell in found.cells)
    lines = [f"{len(found.cells)} cells: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + "."]
    lines.append(
        f"All held-out domains and trials together: **{found.overall.verdict}**. {_sentence(found.overall.test)}"
    )
    if counts["untested"]:
        lines.append("untested: fewer than two trials in common, so nothing tells what noise is.")
    return lines


def worst(found: Comparison) -> list[str]:
    """Where B is worse, or lacks what A has: cells, methods, all together."""
    wrong = [cell for cell in found.cells if cell.verdict in ("worse", "missing in B")]
    lines = [f"{cell.part}, {cell.method}, {cell.column} ({cell.verdict})" for cell in wrong[:5]]
    lines += [f"{len(wrong) - 5} cells more"] * (len(wrong) > 5)
    lines += [f"{each.method} over all cells" for each in found.methods if each.verdict == "worse"]
    return lines + ["all methods together"] * (found.overall.verdict == "worse")


def ranking(found: Ranking | None, tests: Sequence[Pair], why: str = "") -> str:
    """A sweep's methods against each other, as markdown.

    Args:
        why: why there is no ranking.
    """
    parts = ["## Methods against each other"]
    if found is None:
        parts.append(why)
    else:
        order = sorted(range(len(found.ranks)), key=found.ranks.__getitem__)
        rows = [[found.scores.methods[i], f"{found.ranks[i]:.2f}"] for i in order]
        parts += [grid(["Method", "Average rank"], rows), "\n".join(f"- {line}" for line in ranking_notes(found))]
    header = ["First", "Second", "First - second", "95 % interval", "Pairs", "p (t)", "p (signed rank)", "p (Holm)"]
    parts.append(grid(header, [_pair(pair) for pair in tests], left=(0, 1)))
    remarks = dict.fromkeys(pair.test.remark for pair in tests if pair.test.remark)
    parts.append("\n".join(f"- {line}." for line in remarks))
    return "\n\n".join(part for part in parts if part) + "\n"


def ranking_json(found: Ranking | None, tests: Sequence[Pair], why: str = "") -> str:
    """The same for programs."""
    content: dict[str, Any] = {
        "pairs": [
            {"first": pair.first, "second": pair.second, **_test(pair.test), "corrected": pair.corrected}
            for pair in tests
        ],
        "ranks": None,
        "why": why,
    }
    if found is not None:
        content |= {
            "ranks": dict(zip(found.scores.methods, found.ranks, strict=True)),
            "problems": list(found.scores.problems),
            "left_out": list(found.scores.left_out),
            "critical_difference": found.difference,
            "friedman": None if found.test is None else {k: _finite(v) for k, v in found.test._asdict().items()},
        }
    return json_writer.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def ranking_csv(tests: Sequence[Pair]) -> str:
    """One line a pair of methods."""
    text = io.StringIO()
    names = ["first", "second", "n", "mean", "se", "low", "high", "p_t", "p_wilcoxon", "corrected"]
    writer = csv_writer.writer(text, lineterminator="\n")
    writer.writerow(names)
    for pair in tests:
        line = {"first": pair.first, "second": pair.second, **_test(pair.test), "corrected": pair.corrected}
        writer.writerow(["" if line[name] is None else line[name] for name in names])
    return text.getvalue()


def ranking_notes(found: Ranking) -> list[str]:
    """What the ranks are over, and what they tell."""
    problems, methods = found.scores.values.shape
    lines = [f"Over {problems} held-out domains; 1 is the best."]
    if found.test is not None:
        lines.append(
            f"Friedman's test (Iman and Davenport): F({methods - 1}, {(methods - 1) * (problems - 1)}) = "
            f"{found.test.f:.2f}, p {_p(found.test.p)}."
        )
    lines.append(f"Average ranks that differ by {found.difference:.2f} or more differ significantly (Nemenyi, 0.05).")
    if found.difference > methods - 1:
        lines.append(f"With {methods} methods on {problems} domains no two ranks can differ by as much.")
    if found.scores.left_out:
        lines.append(f"Left out, as results are missing: {', '.join(found.scores.left_out)}.")
    return lines


def _row(cell: CellComparison) -> list[str]:
    numbers = [_number(cell.a, cell.digits), _number(cell.b, cell.digits), _difference(cell)]
    told = cell.difference is not None or cell.verdict == "not finite"
    return [
        cell.part, cell.method, cell.column, *numbers, str(cell.pairs) if told else NOTHING,
        _p_alone(cell.corrected), cell.verdict,
    ]  # fmt: skip


def _difference(cell: CellComparison) -> str:
    if cell.difference is None:
        return NOTHING
    error = "" if cell.se is None else f" ± {cell.se:.{cell.digits}f}"
    return f"{cell.difference:+.{cell.digits}f}{error}"


def _method(found: Pooled) -> list[str]:
    return [found.method, *_measured(found.test), _p_alone(found.corrected), found.verdict]


def _measured(test: PairedTest) -> list[str]:
    """Mean with its error, interval, number of pairs."""
    mean = NOTHING if not test.n else f"{test.mean:+.1f}" + ("" if test.se is None else f" ± {test.se:.1f}")
    interval = NOTHING if test.interval is None else f"[{test.interval.low:+.1f}, {test.interval.high:+.1f}]"
    return [mean, interval, str(test.n)]


def _verdict(found: Pooled) -> dict[str, Any]:
    return _test(found.test) | {"corrected": found.corrected, "verdict": found.verdict}


def _pair(pair: Pair) -> list[str]:
    test = pair.test
    ps = [_p_alone(p) for p in (test.t, test.wilcoxon, pair.corrected)]
    return [pair.first, pair.second, *_measured(test), *ps]


def _sentence(test: PairedTest) -> str:
    if not test.n:
        return "No pair of values."
    error = "" if test.se is None else f" ± {test.se:.2f}"
    text = f"Mean difference {test.mean:+.2f}{error} over {test.n} pairs"
    if test.interval is not None:
        text += f" (95 % bootstrap interval {test.interval.low:+.2f} to {test.interval.high:+.2f})"
    told = f"signed-rank p {_p(test.wilcoxon)}" if test.wilcoxon is not None else test.remark
    return f"{text}; {told}."


def _test(test: PairedTest) -> dict[str, Any]:
    low, high = test.interval or (None, None)
    return {
        "n": test.n, "mean": _finite(test.mean), "se": test.se, "low": low, "high": high,
        "p_t": test.t, "p_wilcoxon": test.wilcoxon, "alpha": ALPHA, "remark": test.remark,
    }  # fmt: skip


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _p(value: float) -> str:
    """After "p", in a sentence."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _p_alone(value: float | None) -> str:
    """In a table."""
    return NOTHING if value is None else _p(value).removeprefix("= ")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
