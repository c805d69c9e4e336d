"""Grids: a sweep as lists of algorithms and data sets, from DomainBed's sweep flags or a YAML file with the same keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError, listing, near
from dfdgbench.tables.spec import Name, Search, SeedProtocol, Strict, TableSpec, TestEnvGrid, load, read

SWEEP = "sweep"
"""The name of a sweep from flags."""

# Options of a run that a grid sets by itself.
_GIVEN = {
    "algorithm",
    "dataset",
    "test_envs",
    "train_envs",
    "hparams",
    "hparams_seed",
    "hparams_trial",
    "trial_seed",
    "seed",
}
OPTIONS = tuple(name for name in RunConfig.model_fields if name not in _GIVEN)
"""Flags of ``dfdgbench train`` that are keys of a grid's file too."""


class Grid(Strict):
    """What is run: every trial, data set, algorithm, set of held-out domains and hparams seed, in this order.

    Attributes:
        n_hparams: the end (exclusive) of the range of hparams seeds, as in DomainBed, not their count.
        test_env_grid: None for what the rules need.
        rules: None for those that the test-env grid serves.
        test_envs: results are wanted for these held-out domains alone; empty: all.
        options: of the runs, by the names of ``RunConfig``; keys beside the others in a file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name = SWEEP
    title: str = ""
    algorithms: list[str] = Field(min_length=1)
    datasets: list[str] = Field(min_length=1)
    n_hparams_from: int = Field(default=0, ge=0)
    n_hparams: int = Field(default=20, gt=0)
    n_trials: int = Field(default=3, gt=0)
    test_env_grid: TestEnvGrid | None = None
    seed_protocol: SeedProtocol = "domainbed"
    rules: list[str] | None = Field(default=None, min_length=1)
    test_envs: list[int | str] = Field(default_factory=list)
    hparams: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _single(cls, content: Any) -> Any:
        """DomainBed's ``single_test_envs`` as the ``test_env_grid`` that it is."""
        if not isinstance(content, Mapping) or "single_test_envs" not in content:
            return content
        rest = {name: value for name, value in content.items() if name != "single_test_envs"}
        if not isinstance(content["single_test_envs"], bool):
            raise ConfigError(f"single_test_envs must be true or false (given: {content['single_test_envs']!r}).")
        if not content["single_test_envs"]:
            return rest
        if rest.setdefault("test_env_grid", "single") != "single":
            raise ConfigError("Give single_test_envs or test_env_grid, not both.")
        return rest

    @classmethod
    def of_file(cls, path: Path, content: Mapping[str, Any]) -> Grid:
        """The grid in a file's ``content``, named as the file where it has no name of its own."""
        keys = [*(name for name in cls.model_fields if name != "options"), "single_test_envs", *OPTIONS]
        spelled = {str(name).replace("-", "_"): value for name, value in content.items()}
        mistakes = [_unknown(name, keys) for name in spelled if name not in keys]
        options = {name: spelled.pop(name) for name in OPTIONS if name in spelled}
        known = {"name": path.stem} | {name: value for name, value in spelled.items() if name in keys}
        try:
            RunConfig.make(strict=True, **options)
        except ConfigError as error:
            mistakes += [line.removeprefix("--") for line in str(error).splitlines()]
        try:
            grid = cls.make(**known, options=options)
        except ConfigError as error:
            mistakes += str(error).splitlines()
        if mistakes:
            raise ConfigError(f"The grid {path} has mistakes:\n" + "\n".join(f"  {line}" for line in mistakes))
        return grid

    def search(self) -> Search:
        """What its runs differ in, besides problem and method."""
        rules = self.rules
        if rules is None:
            pairs = [] if self.test_env_grid == "single" else ["leave-one-domain-out"]
            rules = ["training-domain", *pairs]
        return Search(
            n_hparams_from=self.n_hparams_from,
            n_hparams=self.n_hparams,
            test_env_grid=self.test_env_grid,
            seed_protocol=self.seed_protocol,
            rules=rules,
        )


def source(name: str) -> TableSpec | Grid:
    """The table called ``name``, or what the YAML file at that path holds: a table spec or a grid."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.exists():
        kind, content = read(path)
        if kind == "grid":
            return Grid.of_file(path, content)
    return load(name)


def _unknown(name: str, keys: Sequence[str]) -> str:
    if name == "options":
        return "There is no key 'options' in a grid: write its entries beside the other keys."
    if name in _GIVEN:
        instead = {
            "algorithm": "algorithms",
            "dataset": "datasets",
            "trial_seed": "n_trials",
            "hparams_seed": "n_hparams",
        }
        hint = f" Type {instead[name]}." if name in instead else ""
        return f"'{name}' is no key of a grid, which sets it run by run.{hint}"
    close = near(name, keys)
    told = f"Did you mean {' or '.join(close)}?" if close else f"Keys: {listing(keys, len(keys))}."
    return f"There is no key '{name}' in a grid. {told}"
