"""What a list says of a class: the first sentence of its docstring."""

from __future__ import annotations

import re

_ROLE = re.compile(r":[\w:]+:`~?([^`]*)`")
_QUOTED = re.compile(r"`+([^`]*)`+")
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(:])")


def first_sentence(docstring: str | None) -> str:
    """The first sentence of the first paragraph, on one line, without reStructuredText's marks; "" where there is none.

    A full stop ends it where a capital letter, a quoted word or a bracket follows.
    """
    paragraph = re.split(r"\n\s*\n", (docstring or "").strip(), maxsplit=1)[0]
    sentence = _END.split(" ".join(paragraph.split()), maxsplit=1)[0]
    return _QUOTED.sub(r"\1", _ROLE.sub(r"\1", sentence))
