"""Which kinds of tasks there are: what resources can be given for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dfdgbench.errors import ConfigError, listing, near
from dfdgbench.sweeps.launchers.resources import COMBINE, RUN

if TYPE_CHECKING:
    from dfdgbench.engine.stage import Stage
    from dfdgbench.sweeps.plan import SweepPlan


def check_kinds(given: Iterable[str], plan: SweepPlan) -> None:
    """``ConfigError`` for a kind that no task has, neither of this plan nor of another one's."""
    here = {RUN, COMBINE, *(stage.kind for stage in plan.stages.values())}
    absent = [kind for kind in given if kind not in here]
    if not absent:
        return
    known = [RUN, COMBINE, *sorted({*_shared_kinds()} | here - {RUN, COMBINE})]
    for kind in absent:
        if kind not in known:
            close = near(kind, known)
            meant = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ConfigError(
                f"There is no kind of task '{kind}' to give resources for.{meant} Known: {listing(known)}."
            )


def _shared_kinds() -> Iterator[str]:
    """The kinds of stages that runs share, of every algorithm that can be named.

    What only yields a run's predictor is left out: to a scheduler that is the run. A teacher is a trained predictor that
    others take as an input, so its class derives from one with a kind.
    """
    import dfdgbench.stages
    from dfdgbench.algorithms.base import ALGORITHMS
    from dfdgbench.engine.stage import PredictorStage, Stage

    for module in pkgutil.iter_modules(dfdgbench.stages.__path__):
        importlib.import_module(f"dfdgbench.stages.{module.name}")
    list(ALGORITHMS.items())  # an outside package's stages stand beside its algorithms
    for kind in _below(Stage):  # type: ignore[type-abstract]
        if "kind" in vars(kind) and (not issubclass(kind, PredictorStage) or hasattr(kind.__bases__[0], "kind")):
            yield kind.kind


def _below(kind: type[Stage]) -> Iterator[type[Stage]]:
    for found in kind.__subclasses__():
        yield found
        yield from _below(found)
