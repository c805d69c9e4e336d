"""Whether the names within a table spec go together. What its printed numbers need is checked where they are placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dfdgbench.errors import ConfigError, unknown
from dfdgbench.tables.spec import Misprint, Row, TableSpec


def check_layout(spec: TableSpec) -> None:
    """Refuse labels that occur twice, and names of rows, columns and parts that there are not.

    Raises:
        ConfigError: two rows, columns or parts of one name, or a transposed table with a part in no block.
        UnknownNameError: a name that the table does not have.
    """
    _check_single(spec)
    parts, ran = [part.title for part in spec.parts], [row.key for _, row in spec.run_rows()]
    for row in spec.rows:
        what = f"of the table '{spec.name}' (the row '{row.key}' names it in its"
        if row.of is not None and row.of not in ran:
            raise unknown(f"row with runs {what} 'of')", row.of, ran)
        _check_named(f"part {what} 'parts')", row.parts, parts)
        _check_named(f"column {what} 'columns')", row.columns, _columns_of(spec, row))
    for misprint in spec.misprints:
        _check_misprint(spec, misprint)
    for part in spec.parts:
        if spec.transposed and not part.block:
            raise ConfigError(
                f"The table '{spec.name}' is transposed, and its part '{part.title}' is in no 'block'. Name one."
            )


def _check_single(spec: TableSpec) -> None:
    kinds = {f"columns of '{part.title}'": [column.label for column in part.printed()] for part in spec.parts}
    kinds |= {"rows": [row.key for row in spec.rows], "parts": [part.title for part in spec.parts]}
    for kind, found in kinds.items():
        twice = [label for label, count in Counter(found).items() if count > 1]
        if twice:
            raise ConfigError(
                f"The table '{spec.name}' has two {kind} called '{twice[0]}', so that its published numbers have no "
                "single place. Rename one."
            )


def _columns_of(spec: TableSpec, row: Row) -> list[str]:
    return [column.label for part in spec.parts if spec.stands(row, part) for column in part.printed()]


def _check_misprint(spec: TableSpec, misprint: Misprint) -> None:
    what = f"of the table '{spec.name}' (a misprint names it)"
    _check_named(f"part {what}", [misprint.part] if misprint.part else [], [part.title for part in spec.parts])
    _check_named(f"row {what}", [misprint.row], [row.key for row in spec.rows])
    parts = [part for part in spec.parts if misprint.part in ("", part.title)]
    _check_named(f"column {what}", [misprint.column], [column.label for part in parts for column in part.printed()])


def _check_named(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    every = list(dict.fromkeys(known))
    for name in names:
        if name not in every:
            raise unknown(kind, name, every)
