"""Grids: the runs of a sweep, from a table spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.datasets.base import DATASETS
from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError, HparamError, unknown
from dfdgbench.hparams import flatten
from dfdgbench.tables.spec import Part, Row, TableSpec, merged


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep and its place in the table.

    Attributes:
        part, row: indices into the spec's parts and rows.
        column: the held-out domain, one of the part's columns.
    """

    part: int
    row: int
    column: str
    config: RunConfig

    @property
    def run_id(self) -> str:
        return self.config.run_id

    def to_json(self) -> dict[str, Any]:
        """For sweep.json."""
        place = {"part": self.part, "row": self.row, "column": self.column}
        return {**place, "id": self.run_id, "config": self.config.model_dump()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SweepRun:
        return cls(content["part"], content["row"], content["column"], RunConfig.make(**content["config"]))


def runs_of(
    spec: TableSpec,
    *,
    data_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    hparams: Mapping[str, Any] | None = None,
    trials: int | None = None,
    datasets: Sequence[str] = (),
    algorithms: Sequence[str] = (),
    test_envs: Sequence[int] = (),
) -> list[SweepRun]:
    """The runs that fill ``spec``: every trial, part, row and held-out domain.

    Args:
        options, hparams: on top of the spec's own.
        trials: instead of the spec's number.
        datasets, algorithms, test_envs: keep these alone; an unknown name is an error.
    """
    hparams = flatten(hparams or {})
    _check_names(spec, datasets, algorithms)
    chosen = [
        (i, part) for i, part in enumerate(spec.parts) if not part.quoted and (not datasets or part.dataset in datasets)
    ]
    _check_overrides(spec, (options or {}).get("preset"), hparams, algorithms)
    runs = []
    for trial in range(trials or spec.trials):
        for i, part in chosen:
            for j, row in enumerate(spec.rows):
                if algorithms and row.algorithm not in algorithms and row.label not in algorithms:
                    continue
                runs += [
                    SweepRun(i, j, domain, _config(spec, part, row, env, trial, data_dir, options or {}, hparams))
                    for env, domain in _held_out(part, test_envs)
                ]
    return runs


def _held_out(part: Part, wanted: Sequence[int]) -> list[tuple[int, str]]:
    """Index and name of the domains that are held out in turn."""
    metadata = DATASETS.get(part.dataset).metadata
    for env in wanted:
        metadata.index(env)
    envs = [(metadata.index(domain), domain) for domain in part.columns]
    return [(env, domain) for env, domain in envs if not wanted or env in wanted]


def _config(
    spec: TableSpec,
    part: Part,
    row: Row,
    env: int,
    trial: int,
    data_dir: str | None,
    options: Mapping[str, Any],
    hparams: Mapping[str, Any],
) -> RunConfig:
    algorithm = ALGORITHMS.get(row.algorithm)
    known = set(algorithm.Hparams.names())
    general = merged(*map(flatten, (spec.hparams, part.hparams)))
    overrides = {name: value for name, value in general.items() if name in known} | flatten(row.hparams)
    overrides |= {name: value for name, value in hparams.items() if name in known}
    config = RunConfig.make(
        **merged(
            spec.options,
            part.options,
            row.options,
            _fitting(options, algorithm.presets),
            {
                "algorithm": row.algorithm,
                "dataset": part.dataset,
                "data_dir": data_dir,
                "test_envs": [env],
                "trial_seed": trial,
                "hparams": overrides,
            },
        )
    )
    return config.swept()


def _fitting(options: Mapping[str, Any], presets: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` without a preset that the algorithm does not have: a sweep's preset is for those that do."""
    return {name: value for name, value in options.items() if name != "preset" or value in presets}


def _check_names(spec: TableSpec, datasets: Sequence[str], algorithms: Sequence[str]) -> None:
    known = [part.dataset for part in spec.parts if not part.quoted]
    for name in datasets:
        if name not in known:
            raise unknown(f"dataset of the table '{spec.name}'", name, known)
    rows = list(dict.fromkeys([row.label for row in spec.rows] + [row.algorithm for row in spec.rows]))
    for name in algorithms:
        if name not in rows:
            raise unknown(f"row of the table '{spec.name}'", name, rows)


def _check_overrides(
    spec: TableSpec, preset: str | None, hparams: Mapping[str, Any], algorithms: Sequence[str]
) -> None:
    """An override that no row knows is a mistake; one that some rows know is meant for these."""
    rows = [row for row in spec.rows if not algorithms or row.algorithm in algorithms or row.label in algorithms]
    if not rows:
        raise ConfigError(f"No row of the table '{spec.name}' is left.")
    for names, chosen in ((hparams, rows), (flatten(spec.hparams), spec.rows)):
        _check_known(names, chosen)
    for part in spec.parts:
        _check_known(flatten(part.hparams), spec.rows)
    presets = list(dict.fromkeys(name for row in rows for name in ALGORITHMS.get(row.algorithm).presets))
    if preset is not None and preset not in presets:
        raise unknown("preset of any row of the table", preset, presets)


def _check_known(names: Iterable[str], rows: Sequence[Row]) -> None:
    known = list(dict.fromkeys(name for row in rows for name in ALGORITHMS.get(row.algorithm).Hparams.names()))
    for name in names:
        if name not in known:
            raise HparamError(str(unknown("hyper-parameter of any row of the table", name, known)))
