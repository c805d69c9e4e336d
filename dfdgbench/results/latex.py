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
    "—": "---",
    "–": "--",
}


def escape(text: str) -> str:
    """``text`` with everything that LaTeX takes for a command made harmless, and signs as mathematics."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def tabular(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A booktabs ``tabular`` of plain texts, its first column to the left, all others to the right."""
    width = len(header) - 1
    lines = [
        rf"\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        _row(header),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def document(parts: Sequence[str]) -> str:
    """A document of ``parts``, landscape so that wide tables fit."""
    before = [
        r"\documentclass[a4paper,landscape]{article}",
        r"\usepackage{booktabs}",
        r"\setlength{\oddsidemargin}{0pt}",
        r"\setlength{\textwidth}{24cm}",
        r"\begin{document}",
    ]
    return "\n".join(before) + "\n\n" + "\n\n".join(parts) + "\n\n" + r"\end{document}" + "\n"


def items(lines: Sequence[str]) -> list[str]:
    """An ``itemize`` of plain texts, empty ones left out; nothing for none, which LaTeX refuses."""
    listed = [rf"  \item {escape(line)}" for line in lines if line]
    return ["\n".join([r"\begin{itemize}", *listed, r"\end{itemize}"])] if listed else []


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
