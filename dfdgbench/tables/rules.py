"""What a sweep must know of a selection rule to plan for it; the rules themselves are in ``dfdgbench.results``."""

from __future__ import annotations

from dataclasses import dataclass

ORACLE = "target validation"


@dataclass(frozen=True)
class RuleNeeds:
    """What a rule chooses by.

    Attributes:
        uses: what it looks at, in the words of ``Setting.selection``; empty: nothing.
        pairs: whether it needs, besides the runs that hold out one domain, those that hold out two.
    """

    uses: frozenset[str]
    pairs: bool = False

    def searches(self, selection: frozenset[str]) -> bool:
        """Whether it compares configurations of a method whose setting lets selection use ``selection``.

        An oracle looks at what no setting grants: who names one has decided to, and tables mark what it chose.
        """
        return bool(self.uses) and (self.uses <= selection or ORACLE in self.uses)
