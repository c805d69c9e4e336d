"""LaTeX: escaped text, booktabs tables, a document around them."""

from __future__ import annotations

from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a row's end a bracket would be an option
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "−": r"$-$",
    "ε": r"$\epsilon$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"\S{}",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "τ": r"$\tau$",
    "—": "---",
    "–": "--",
}


# Of Western Europe's letters; the fonts that every installation has as outlines are without them.
_LACKING = "ÐðÞþ"


def escape(text: str) -> str:
    """``text`` with everything that LaTeX takes for a command made harmless, and signs as mathematics.

    A sign that LaTeX's usual fonts lack is written as its number.
    """
    return "".join(_SPECIAL.get(sign) or (sign if _has(sign) else f"U+{ord(sign):04X}") for sign in text)


def _has(sign: str) -> bool:
    """Whether it is a printable sign of ASCII, or a letter of Western Europe."""
    return " " <= sign <= "~" or (sign.isalpha() and "À" <= sign <= "ÿ" and sign not in _LACKING)


class Bold(str):
    """A cell's text whose number stands out, and not what follows it in brackets."""

    def parts(self) -> tuple[str, str]:
        """The number, and the rest."""
        start = next((at for at in range(len(self)) if self[at : at + 2] in (" (", " [")), len(self))
        return self[:start], self[start:]


def tabular(header: Sequence[str], rows: Sequence[Sequence[str]], above: Sequence[tuple[str, int]] = ()) -> str:
    r"""A booktabs ``tabular`` of plain texts, its first column to the left, all others to the right; made smaller to fit.

    Args:
        rows: a cell for each column; a row of one cell is a sub-heading.
        above: what stands above the columns but the first, "" for nothing, with how many of them it spans.
    """
    width = len(header) - 1
    lines = [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        *_above(above),
        _row(header),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    return "\n".join(lines)


def document(parts: Sequence[str]) -> str:
    """A document of ``parts``, landscape so that wide tables fit."""
    before = [
        r"\documentclass[a4paper,landscape]{article}",
        r"\usepackage{booktabs,graphicx}",
        r"\setlength{\parindent}{0pt}",
        r"\usepackage[margin=2cm]{geometry}",
        r"\begin{document}",
    ]
    return "\n".join(before) + "\n\n" + "\n\n".join(parts) + "\n\n" + r"\end{document}" + "\n"


def items(lines: Sequence[str]) -> list[str]:
    """An ``itemize`` of plain texts, empty ones left out; nothing for none, which LaTeX refuses."""
    listed = [rf"  \item {escape(line)}" for line in lines if line]
    return ["\n".join([r"\begin{itemize}\setlength{\itemsep}{0pt}", *listed, r"\end{itemize}"])] if listed else []


def _above(spans: Sequence[tuple[str, int]]) -> list[str]:
    r"""A row of titles that span columns, each with its own rule."""
    if not spans:
        return []
    titles, rules, start = [""], [], 2
    for title, count in spans:
        titles.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(title)}}}")
        rules += [rf"\cmidrule(lr){{{start}-{start + count - 1}}}"] if title else []
        start += count
    return [" & ".join(titles) + r" \\", " ".join(rules)]


def _row(cells: Sequence[str]) -> str:
    if len(cells) == 1:
        return rf"\addlinespace \textit{{{escape(cells[0])}}} \\"
    return " & ".join(_bold(cell) if isinstance(cell, Bold) else escape(cell) for cell in cells) + r" \\"


def _bold(cell: Bold) -> str:
    number, rest = cell.parts()
    return rf"\textbf{{{escape(number)}}}{escape(rest)}"
