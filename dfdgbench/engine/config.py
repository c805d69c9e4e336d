"""What a run is: its problem, algorithm, network, overrides and seeds; and, apart from that, how it is executed."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from dfdgbench.engine.keys import digest
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import flatten
from dfdgbench.seeds import seed_hash

Env = int | str
_LATER = ("data_path", "val_augment", "transductive", "hparams_trial", "native_size")
"""Options that came after the first release: at their defaults they leave the names of earlier runs as they were."""


class RunConfig(BaseModel):
    """A run's options, named as the flags of ``dfdgbench train`` and, where DomainBed has them, as its flags.

    All but ``data_dir`` make the run's identity: moving the data does not make it another run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    algorithm: str = "ERM"
    dataset: str = "MiniDigits"
    data_dir: str | None = None
    test_envs: list[Env] = Field(default=[0], min_length=1)
    train_envs: list[Env] | None = None
    protocol: str | None = Field(default=None, description="None: the dataset's")
    network: str | None = Field(default=None, description="None: the dataset's")
    weights: str = "default"
    image_size: PositiveInt | Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="side in pixels; of segmentation, height and width; None: the dataset's"
    )
    preset: str | None = None
    hparams: dict[str, Any] = Field(default_factory=dict, description="explicit overrides, dotted or nested")
    hparams_seed: int = Field(default=0, ge=0)
    hparams_trial: int | None = Field(
        default=None, ge=0, description="the trial whose random configurations these are; None: the run's own"
    )
    trial_seed: int = Field(default=0, ge=0)
    seed: int = 0
    steps: int | None = Field(default=None, gt=0)
    checkpoint_freq: int | None = Field(default=None, ge=0, description="0: one record, at the end")
    holdout_fraction: float = 0.2
    uda_holdout_fraction: float = 0.0
    transductive: bool = Field(default=False, description="unlabelled adaptation reads the test split itself")
    data_path: Literal["fast", "exact"] = Field(default="fast", description="stored images, or the files each time")
    val_augment: bool = Field(default=False, description="augment source domains' images in evaluation, as DomainBed")
    native_size: bool = Field(default=False, description="score masks in their own size, too")
    task: Literal["domain_generalization", "domain_adaptation"] = "domain_generalization"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False

    @field_validator("hparams")
    @classmethod
    def _can_be_hashed(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:  # of YAML: a date, a set, .nan
            raise ValueError(
                "every value must be a finite number, a text, true or false, null, or a list of these"
            ) from error
        return value

    @classmethod
    def make(cls, *, strict: bool = False, **options: Any) -> RunConfig:
        """A config from options; what is wrong with them is one ``ConfigError`` that lists all of it.

        Args:
            strict: take no "5" for 5, and no ``yes`` for 1.
        """
        try:
            return cls.model_validate(options, strict=strict)
        except ValidationError as error:
            raise _wrong(error) from error

    def identity(self) -> dict[str, Any]:
        """What makes this run different from others, in JSON."""
        content = self.model_dump(exclude={"data_dir"})
        for name in _LATER:
            if content[name] == type(self).model_fields[name].default:
                del content[name]
        content["hparams"] = dict(sorted(flatten(self.hparams).items()))
        return content

    @property
    def run_id(self) -> str:
        """A folder name: readable, then a hash of the identity."""
        envs = "+".join(map(str, self.test_envs))
        parts = [
            self.algorithm.split(":")[-1],
            re.split("[/:]", self.dataset.rstrip("/"))[-1],  # also of folder:PATH
            f"env{envs}",
            f"t{self.trial_seed}",
            f"h{self.hparams_seed}",
        ]
        return re.sub(r"[^A-Za-z0-9_.+-]", "-", "-".join(parts)) + "-" + digest(self.identity())[:8]

    @property
    def variant(self) -> dict[str, Any]:
        """What sets this run's method apart from its default: preset and explicit overrides."""
        return ({"preset": self.preset} if self.preset else {}) | dict(sorted(flatten(self.hparams).items()))

    def swept(self) -> RunConfig:
        """The config with the seed that DomainBed's sweep gives it."""
        envs = [int(env) if not isinstance(env, str) or env.isdigit() else env for env in self.test_envs]
        seed = seed_hash(self.dataset, self.algorithm, envs, self.hparams_seed, self.trial_seed)  # type: ignore[arg-type]
        return self.model_copy(update={"seed": seed})


def _wrong(error: ValidationError) -> ConfigError:
    lines = [
        f"--{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg'].removeprefix('Value error, ')} (given: {e['input']!r})."
        for e in error.errors()
    ]
    return ConfigError("\n".join(lines))


class Execution(BaseModel):
    """How runs are executed: nothing here changes what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str = "auto"
    threads: int | None = Field(default=None, gt=0)
    workers: int | None = Field(default=None, ge=0, description="processes on the exact path; None: 0 on a CPU")
    store_dir: Path | None = Field(default=None, description="where decoded images are kept; None: with the data")
    local_dir: str | None = Field(
        default=None, description="where copies of stores are read; $VARS are those of the machine that reads"
    )
    artifacts: Path = Path("artifacts")
    checkpoint_every: float = Field(default=60.0, ge=0, description="seconds between snapshots")
    skip_model_save: bool = False
    save_model_every_checkpoint: bool = False

    @classmethod
    def make(cls, **options: Any) -> Execution:
        """From options; what is wrong with them is one ``ConfigError`` that lists all of it."""
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise _wrong(error) from error

    @field_validator("local_dir")
    @classmethod
    def _can_be_expanded(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            Template(value).substitute(defaultdict(str))
        except ValueError as error:
            raise ValueError(
                "no folder: a $ begins the name of a variable, as in $TMPDIR or ${TMPDIR}/stores"
            ) from error
        if not value.strip():
            raise ValueError(
                "no folder; in single quotes, '$TMPDIR' is replaced where the job runs and not by this shell"
            )
        return value


def record_args(config: RunConfig, execution: Execution, output_dir: Path) -> dict[str, Any]:
    """The ``args`` of a record: every key that DomainBed writes, then ours."""
    args = config.model_dump()
    args["hparams"] = json.dumps(config.hparams, sort_keys=True) if config.hparams else None
    args |= {
        "output_dir": str(output_dir),
        "skip_model_save": execution.skip_model_save,
        "save_model_every_checkpoint": execution.save_model_every_checkpoint,
    }
    return args
