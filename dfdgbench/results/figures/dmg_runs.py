"""What the figures of DMG are drawn from: the chosen record of each of its runs, and the masks that were kept with it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfdgbench.engine import diagnostics
from dfdgbench.errors import ConfigError
from dfdgbench.results.figures.base import Sweep, names, wanting
from dfdgbench.results.fill import Chosen
from dfdgbench.results.record import facts, value

Arrays = Mapping[str, NDArray[Any]]
ALGORITHM = "DMG"


class Run(NamedTuple):
    """One run of DMG.

    Attributes:
        method: what the figure calls its row.
        target: name of the held-out domain.
        domains: names of all domains, in the order of their numbers.
    """

    sweep: str
    part: str
    method: str
    target: str
    trial: int
    domains: tuple[str, ...]
    chosen: Chosen

    @property
    def masks(self) -> Arrays:
        """The masks of the chosen record, as ``dfdgbench.algorithms.mask_diagnostics`` describes them."""
        return diagnostics.read(self.chosen.run.folder, int(self.chosen.record["step"]))

    @property
    def sources(self) -> list[int]:
        """Numbers of the domains it was trained on."""
        trained = facts(self.chosen.record).train_envs
        return [i for i, name in enumerate(self.domains) if name != self.target] if trained is None else list(trained)

    def accuracy(self, domain: int, predictor: str = "") -> float:
        """Percent, on the protocol's test split of a domain."""
        return 100 * value(self.chosen.record, domain, "test", predictor=predictor)

    def in_domain(self, predictor: str = "") -> float:
        """Percent: the mean over the source domains."""
        return statistics.fmean(self.accuracy(domain, predictor) for domain in self.sources)

    def out_of_domain(self, predictor: str = "") -> float:
        """Percent, on the held-out domain."""
        return self.accuracy(self.domains.index(self.target), predictor)


def runs_of(sweeps: Sequence[Sweep]) -> list[Run]:
    """Every chosen record of DMG, those of several predictors of one run once. ``ConfigError`` where there is none."""
    called = names(sweeps)
    found = []
    for sweep in sweeps:
        for part, row, filled in sweep.filled:
            if row.algorithm != ALGORITHM or row.of is not None:
                continue
            method = called[str(sweep.folder), row.key]
            for target, trials in filled.chosen.items():
                for trial, chosen in trials.items():
                    domains = tuple(map(str, chosen.run.config.get("domains", ())))
                    found.append(Run(sweep.name, part.title, method, target, trial, domains, chosen))
    if not found:
        raise ConfigError(f"There is no finished run of DMG, whose masks this figure shows. {wanting(sweeps)}")
    return found


def panels(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by what a panel is about: method where there are several, part where there are several, held-out domain."""
    methods, parts = ({getattr(run, name) for run in runs} for name in ("method", "part"))
    made: dict[str, list[Run]] = {}
    for run in runs:
        words = [run.method] * (len(methods) > 1) + [run.part] * (len(parts) > 1) + [f"→ {run.target}"]
        made.setdefault(", ".join(words), []).append(run)
    return made


def stacked(runs: Sequence[Run], name: str) -> NDArray[Any]:
    """An array of every run's masks [T, ...]; ``ConfigError`` where the runs of a panel have other sites."""
    arrays = [run.masks for run in runs]
    if len({tuple(found["sites"]) for found in arrays}) > 1:
        raise ConfigError(
            f"The runs of '{runs[0].method}' that hold out '{runs[0].target}' have masks at other sites of the network. "
            "Give sweeps of one network and one choice of sites, or draw them one by one."
        )
    return np.stack([found[name] for found in arrays])


def seen_in_training(runs: Sequence[Run]) -> list[str]:
    """What is to be said where a protocol has no test images of the source domains."""
    if any(facts(run.chosen.record).protocol == "domainbed" for run in runs):
        return [
            "In domain: on the sources' training images, since the protocol 'domainbed' keeps no test images of theirs "
            "(--protocol official does)."
        ]
    return []
