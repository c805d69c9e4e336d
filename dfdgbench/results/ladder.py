"""The data-access ladder: what a setting lets its user see, and how settings are ordered by it."""

from __future__ import annotations

from dfdgbench.settings import Released, Setting

# What may be granted, from least to most telling of the data; a setting that grants more, or more telling things, is higher.
KINDS = (
    "released model",
    "released statistics",
    "synthetic set",
    "label records",
    "unlabelled target",
    "labelled target",
    "labelled source",
)
_RELEASED = {
    Released.MODEL: "released model",
    Released.STATISTICS: "released statistics",
    Released.SYNTHETIC: "synthetic set",
    Released.LABELS: "label records",
}


def kinds(setting: Setting) -> set[str]:
    """What a setting's user may see, in the words of ``KINDS``."""
    seen = {_RELEASED[kind] for kind in setting.releases}
    return seen | {f"{'labelled' if grant.labelled else 'unlabelled'} {grant.role}" for grant in setting.reads}


def height(setting: Setting) -> tuple[bool, ...]:
    """Where a setting stands on the ladder: by the most telling thing that it grants, then by the next."""
    seen = kinds(setting)
    return tuple(kind in seen for kind in reversed(KINDS))
