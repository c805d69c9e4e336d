"""One registry for everything that has a name: algorithms, datasets, networks, launchers, selection rules.

A component registers itself where it is defined, so that adding one is adding one file::

    @DATASETS.register("PACS")
    class PACS(Dataset): ...

The modules of the registry's package that register something are imported on the first look-up and not before; other packages add
theirs through an entry point of the registry's group (``[dfdgbench.algorithms] Mine = package.module:Mine``), which is
imported when that name is asked for. A scheme answers for every name of one form: ``folder:PATH`` is any folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from dfdgbench.errors import ConfigError, UnknownNameError, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Scheme(Generic[T]):
    """What answers for the names ``scheme:REST``.

    Attributes:
        make: from REST to the component.
        form: what a person types and what it is, for messages: "folder:PATH for any tree PATH/DOMAIN/CLASS/IMAGE".
    """

    make: Callable[[str], T]
    form: str


class Registry(Generic[T]):
    """Names to components of one kind, filled lazily.

    Args:
        kind: what a component is called in messages ("algorithm").
        package: the package whose modules register the built-in components.
        group: the entry-point group of outside packages ("dfdgbench.algorithms").
        check: a function that raises where a component is not what this registry holds.
    """

    def __init__(self, kind: str, package: str, group: str, check: Callable[[str, Any], None] | None = None) -> None:
        self.kind, self.package, self.group = kind, package, group
        self._check = check
        self._found: dict[str, T] = {}
        self._schemes: dict[str, Scheme[T]] = {}
        self._outside: dict[str, EntryPoint] | None = None
        self._scanned = False

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that files a component under ``name``. A name taken by another component is a ``ConfigError``."""

        def file(component: Any) -> Any:
            self.add(name, component)
            return component

        return file

    def scheme(self, name: str, form: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """Decorator for a function that makes the component called ``name:REST`` from REST, anew at every look-up.

        Args:
            form: what a person types and what it is, for messages: "folder:PATH for any tree PATH/DOMAIN/CLASS/IMAGE".
        """

        def file(make: Callable[[str], T]) -> Callable[[str], T]:
            if name in self._schemes:
                self._refuse_second(f"{name}:", self._schemes[name].make, make)
            self._schemes[name] = Scheme(make, form)
            return make

        return file

    def add(self, name: str, component: T) -> None:
        """File ``component`` under ``name``; filing the same definition twice changes nothing."""
        if name in self._found:
            self._refuse_second(name, self._found[name], component)
        if self._check is not None:
            self._check(name, component)
        self._found[name] = component

    def _refuse_second(self, name: str, first: object, second: object) -> None:
        if origin(first) != origin(second):
            raise ConfigError(
                f"The {self.kind} name '{name}' is registered twice: {origin(first)} and {origin(second)}. Rename one."
            )

    def get(self, name: str) -> T:
        """The component called ``name``, the one that a scheme makes of it, or the one at ``package.module:Attribute``."""
        self._scan()
        if name in self._found:
            return self._found[name]
        if name in self._entry_points():
            return self._load(name, self._entry_points()[name])
        scheme, colon, rest = name.partition(":")
        if colon and scheme in self._schemes:
            return self._checked(name, self._schemes[scheme].make(rest))
        if colon and scheme:
            return self._import(name)
        raise self._unknown(name)

    def names(self) -> list[str]:
        """Every registered name: the built-in ones in the order of definition, then those of outside packages."""
        self._scan()
        return [*self._found, *(name for name in self._entry_points() if name not in self._found)]

    def forms(self) -> list[str]:
        """What can be typed besides the names: a sentence's end for each scheme."""
        self._scan()
        return [scheme.form for scheme in self._schemes.values()]

    def items(self) -> Iterator[tuple[str, T]]:
        """Name and component of everything registered."""
        for name in self.names():
            yield name, self.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def _scan(self) -> None:
        if self._scanned:
            return
        package = importlib.import_module(self.package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
            name = f"{self.package}.{module.name}"
            if _registers(name):
                importlib.import_module(name)
        self._scanned = True  # not before: a module that cannot be imported must be told of again

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._outside is None:
            self._outside = {point.name: point for point in entry_points(group=self.group)}
        return self._outside

    def _load(self, name: str, point: EntryPoint) -> T:
        try:
            component = point.load()
        except Exception as error:
            raise ConfigError(
                f"The {self.kind} '{name}' comes from the entry point '{point.value}', which cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        self.add(name, component)
        return self._found[name]

    def _import(self, path: str) -> T:
        module_name, _, attribute = path.partition(":")
        try:
            component: T = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise self._unknown(path, f"('{path}' was read as module:name; {error}.)") from error
        return self._checked(path, component)

    def _checked(self, name: str, component: T) -> T:
        if self._check is not None:
            self._check(name, component)
        return component

    def _unknown(self, name: str, hint: str = "") -> UnknownNameError:
        hints = [f"Or type {form}." for form in self.forms()] + [hint] * bool(hint)
        return unknown(self.kind, name, self.names(), " ".join(hints))


def _registers(module: str) -> bool:
    """Whether a module's text registers anything: its helpers stay unimported, and with them what they import."""
    spec = importlib.util.find_spec(module)
    loader = spec.loader if spec is not None else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    return source is None or "register(" in source or ".scheme(" in source


def subclass_check(kind: str, base: type) -> Callable[[str, Any], None]:
    """A registry check: the component is a class below ``base``."""

    def check(name: str, component: Any) -> None:
        if not (isinstance(component, type) and issubclass(component, base)):
            raise ConfigError(
                f"The {kind} '{name}' is {component!r}; it must be a class derived from {base.__module__}.{base.__qualname__}."
            )

    return check


def origin(component: Any) -> str:
    """File and line where ``component`` is defined, as ``path:line``."""
    try:
        return f"{inspect.getsourcefile(component)}:{inspect.getsourcelines(component)[1]}"
    except (OSError, TypeError):
        return f"{getattr(component, '__module__', '?')}.{getattr(component, '__qualname__', component)}"
