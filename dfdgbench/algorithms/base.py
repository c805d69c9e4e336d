"""What an algorithm is: a name, a setting, a paper, hyper-parameters, and the plan of its stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from dfdgbench.docstrings import first_sentence
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.errors import ConfigError, UnknownNameError, unknown
from dfdgbench.hparams import Hparams
from dfdgbench.registry import Registry, origin, subclass_check
from dfdgbench.settings import Setting

A = TypeVar("A", bound="type[Algorithm]")


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    arxiv: str = ""

    def __str__(self) -> str:
        return f"{self.title} (arXiv {self.arxiv})" if self.arxiv else self.title


class Algorithm(ABC):
    """A method. A pipeline writes :meth:`plan`; a step-wise method derives from ``Stepwise`` and does not.

    Class attributes:
        name, setting, paper: given to ``register``.
        Hparams: its hyper-parameters.
        presets: named sets of overrides, by dotted name.
        tasks: what kinds of dataset it is for.
        channels: the numbers of image channels it can be used with.
        oracle: whether the method itself is chosen by held-out labels, which every table marks.
        protocol: the protocol used where none is named; None: the dataset's.
        own_target: whether a domain can be its own target under ``protocol``, by a part that no model was trained on.
        tiny: overrides with which a run takes seconds, for the contract (``dfdgbench check``).
    """

    name: ClassVar[str]
    setting: ClassVar[Setting]
    paper: ClassVar[Paper]
    Hparams: ClassVar[type[Hparams]] = Hparams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    channels: ClassVar[tuple[int, ...]] = (1, 2, 3)
    oracle: ClassVar[bool] = False
    protocol: ClassVar[str | None] = None
    own_target: ClassVar[bool] = False
    tiny: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    @abstractmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        """The last stage of the method's graph, which reaches all others through its inputs."""

    @classmethod
    def preset(cls, name: str | None) -> Mapping[str, Any]:
        """The overrides of a preset; None is the method as it is."""
        if name is None:
            return {}
        if name not in cls.presets:
            if not cls.presets:
                raise UnknownNameError(f"{cls.name} has no presets, so no '{name}'. Leave --preset out.")
            raise unknown(f"preset of {cls.name}", name, cls.presets)
        return cls.presets[name]

    @classmethod
    def summary(cls) -> str:
        """The first sentence of the docstring."""
        return first_sentence(cls.__doc__)


def _check(name: str, component: Any) -> None:
    subclass_check("algorithm", Algorithm)(name, component)
    if not hasattr(component, "setting"):
        raise ConfigError(
            f"The algorithm '{name}' ({origin(component)}) was never registered, so its setting is not known. Write "
            '@register("NAME", setting=..., paper=...) above the class.'
        )


ALGORITHMS: Registry[type[Algorithm]] = Registry("algorithm", "dfdgbench.algorithms", "dfdgbench.algorithms", _check)


def register(name: str, *, setting: Setting, paper: Paper) -> Callable[[A], A]:
    """Class decorator that files an algorithm under ``name``."""

    def file(algorithm: A) -> A:
        algorithm.name, algorithm.setting, algorithm.paper = name, setting, paper
        if not (algorithm.__doc__ or "").strip():
            raise ConfigError(
                f"The algorithm '{name}' ({origin(algorithm)}) has no docstring; its first sentence is what `list` shows."
            )
        ALGORITHMS.add(name, algorithm)
        return algorithm

    return file
