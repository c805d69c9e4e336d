"""A domain as a person types it; light, for the command line reads its arguments before anything is imported."""

from __future__ import annotations

NAME, NUMBER = "name:", "number:"


class Typed(int):
    """Digits alone: a domain's number, unless a domain has them for its name. Elsewhere than in the command line a number is a
    number and a text a name.

    Attributes:
        text: what was typed ("01").
    """

    text: str

    def __new__(cls, text: str) -> Typed:
        made = super().__new__(cls, text)
        made.text = text
        return made


def typed(text: str) -> int | str:
    """A domain: ``3``, ``sketch``, and where digits are both a number and another's name, ``number:3`` or ``name:3``."""
    if text.startswith(NAME):
        return text.removeprefix(NAME)
    number = text.removeprefix(NUMBER)
    if not number.removeprefix("-").isdecimal():
        return text
    return Typed(text) if number == text else int(number)
