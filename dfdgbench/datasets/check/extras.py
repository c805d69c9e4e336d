"""Whether the optional packages that a dataset is read with are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version


def not_installed(extra: str) -> str:
    """The first package of dfdgbench's optional dependencies ``extra`` that is not installed; "" where all are."""
    try:
        requirements: Sequence[str] = (extra and requires("dfdgbench")) or ()
    except PackageNotFoundError:  # run from its sources
        return ""
    for requirement in requirements:
        package = re.match(r"[\w.-]+", requirement)
        if package and re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", requirement):
            try:
                version(package[0])
            except PackageNotFoundError:
                return package[0]
    return ""
