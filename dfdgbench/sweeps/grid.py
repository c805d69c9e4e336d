"""The runs of a sweep, from a table spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.datasets.base import DATASETS
from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError, HparamError, listing, near, unknown
from dfdgbench.hparams import flatten
from dfdgbench.sweeps.places import Choice, Place, check_search, places
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.tables.rules import RuleNeeds
from dfdgbench.tables.spec import Part, Row, SeedProtocol, TableSpec, merged


def runs_of(
    spec: TableSpec,
    *,
    data_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    hparams: Mapping[str, Any] | None = None,
    trials: int | None = None,
    datasets: Sequence[str] = (),
    algorithms: Sequence[str] = (),
    test_envs: Sequence[int | str] = (),
    rules: Mapping[str, RuleNeeds] | None = None,
) -> list[SweepRun]:
    """The runs that fill ``spec``: every trial, part, row, held-out domain (or two) and hparams seed.

    Args:
        options, hparams: on top of the spec's own.
        trials: instead of the spec's number.
        datasets, algorithms, test_envs: keep these alone; an unknown name is an error.
        rules: what every known selection rule needs; runs that none of the spec's rules needs are left out. None: all runs.

    Raises:
        ConfigError: no run is left, or rules and grid do not go together.
    """
    hparams = flatten(hparams or {})
    choice = Choice(spec, rules, datasets, algorithms, test_envs)
    _check_names(spec, datasets, algorithms)
    _check_registered(choice)
    _check_overrides(spec, (options or {}).get("preset"), hparams, algorithms)
    check_search(choice)
    bases = {
        (i, j): _base(spec, part, row, data_dir, options or {}, hparams)
        for i, j in choice.cells
        for part, row in [(spec.parts[i], spec.rows[j])]
    }
    names = {i: _names(part) for i, part in choice.parts}
    runs = [
        _run(place, bases[place.part, place.row], names[place.part], spec.search.seed_protocol)
        for place in places(choice, trials or spec.trials)
    ]
    if spec.search.n_hparams_from and not runs:
        raise ConfigError(
            f"No run is left: from hparams seed {spec.search.n_hparams_from} on there are runs only for rules that compare "
            "configurations. Name such a rule (--rules), or leave --n-hparams-from out."
        )
    return runs


def _names(part: Part) -> dict[int, str]:
    """Domain to its name, as in the part's columns where it is one."""
    metadata = DATASETS.get(part.dataset).metadata
    return dict(enumerate(metadata.domains)) | {metadata.index(domain): domain for domain in part.targets}


def _run(place: Place, base: RunConfig, names: Mapping[int, str], protocol: SeedProtocol) -> SweepRun:
    """The run at ``place``. Its random configuration is named by a trial only where that changes the draws, so that
    both seed protocols share the runs in which they agree."""
    seed = base.hparams_seed if place.hparams_seed is None else place.hparams_seed
    given: dict[str, Any] = {"test_envs": list(place.envs), "trial_seed": place.trial, "hparams_seed": seed}
    if protocol == "tune-then-repeat" and seed and place.trial:
        given["hparams_trial"] = 0
    column, *also = (names[env] for env in place.envs)
    return SweepRun(place.part, place.row, column, base.model_copy(update=given).swept(), tuple(also))


def _base(
    spec: TableSpec,
    part: Part,
    row: Row,
    data_dir: str | None,
    options: Mapping[str, Any],
    hparams: Mapping[str, Any],
) -> RunConfig:
    """What the runs of one row and part have in common."""
    algorithm = ALGORITHMS.get(row.name)
    known = set(algorithm.Hparams.names())
    general = merged(*map(flatten, (spec.hparams, part.hparams)))
    overrides = {name: value for name, value in general.items() if name in known} | flatten(row.hparams)
    overrides |= {name: value for name, value in hparams.items() if name in known}
    return RunConfig.make(
        **merged(
            spec.options,
            part.options,
            row.options,
            _fitting(options, algorithm.presets),
            {"algorithm": row.name, "dataset": part.dataset, "hparams": overrides},
            {} if data_dir is None else {"data_dir": data_dir},
        )
    )


def _fitting(options: Mapping[str, Any], presets: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` without a preset that the algorithm does not have: a sweep's preset is for those that do."""
    return {name: value for name, value in options.items() if name != "preset" or value in presets}


def _check_names(spec: TableSpec, datasets: Sequence[str], algorithms: Sequence[str]) -> None:
    known = [part.dataset for part in spec.parts if not part.quoted]
    for name in datasets:
        if name not in known:
            raise unknown(f"dataset of the table '{spec.name}'", name, known)
    runs = [row for _, row in spec.run_rows()]
    rows = list(dict.fromkeys([row.key for row in runs] + [row.label for row in runs] + [row.name for row in runs]))
    for name in algorithms:
        if name not in rows:
            raise unknown(f"row of the table '{spec.name}'", name, rows)


def _meant(name: str) -> str:
    close = near(name, ALGORITHMS.names())
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _check_registered(choice: Choice) -> None:
    """A published table may have rows of algorithms that are not there, so long as these are not to be run."""
    absent = {row.name: row.label for _, row in choice.rows if ":" not in row.name and row.name not in ALGORITHMS}
    there = list(dict.fromkeys(row.name for _, row in choice.rows if row.name not in absent))
    if absent:
        rows = listing(f"'{name}' (row {label}{_meant(name)})" for name, label in absent.items())
        others = f" Or run the other rows: --algorithms {' '.join(there)}" if there else ""
        raise ConfigError(
            f"The table '{choice.spec.name}' has rows of algorithms that are not registered here: {rows}. Mend the name, or "
            f"install the package that registers it; `dfdgbench list algorithms` shows what there is.{others}"
        )


def _check_overrides(
    spec: TableSpec, preset: str | None, hparams: Mapping[str, Any], algorithms: Sequence[str]
) -> None:
    """An override that no row knows is a mistake; one that some rows know is meant for these."""
    every = [row for _, row in spec.run_rows() if ":" in row.name or row.name in ALGORITHMS]
    rows = [row for row in every if not algorithms or {row.name, row.label, row.key} & set(algorithms)]
    if not rows:
        raise ConfigError(f"No row of the table '{spec.name}' is left.")
    for names, chosen in ((hparams, rows), (flatten(spec.hparams), every)):
        _check_known(names, chosen)
    for part in spec.parts:
        _check_known(flatten(part.hparams), every)
    presets = list(dict.fromkeys(name for row in rows for name in ALGORITHMS.get(row.name).presets))
    if preset is not None and preset not in presets:
        raise unknown("preset of any row of the table", preset, presets)


def _check_known(names: Iterable[str], rows: Sequence[Row]) -> None:
    known = list(dict.fromkeys(name for row in rows for name in ALGORITHMS.get(row.name).Hparams.names()))
    for name in names:
        if name not in known:
            raise HparamError(str(unknown("hyper-parameter of any row of the table", name, known)))
