"""One registry for everything that has a name: algorithms, datasets, networks, launchers, selection rules.

A component registers itself where it is defined, so that adding one is adding one file::

    @DATASETS.register("PACS")
    class PACS(Dataset): ...

The modules of the registry's package that register something are imported on the first look-up and not before; other packages add
theirs through an entry point of the registry's group (``[dfdgbench.algorithms] Mine = package.module:Mine``), which is
imported when that name is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib.abc import InspectLoader
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from dfdgbench.errors import ConfigError, unknown

T = TypeVar("T")


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
        self._outside: dict[str, EntryPoint] | None = None
        self._scanned = False

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that files a component under ``name``. A name taken by another component is a ``ConfigError``."""

        def file(component: Any) -> Any:
            self.add(name, component)
            return component

        return file

    def add(self, name: str, component: T) -> None:
        """File ``component`` under ``name``; filing the same definition twice changes nothing."""
        taken = self._found.get(name)
        if taken is not None and origin(taken) != origin(component):
            raise ConfigError(
                f"The {self.kind} name '{name}' is registered twice: {origin(taken)} and {origin(component)}. Rename one."
            )
        if self._check is not None:
            self._check(name, component)
        self._found[name] = component

    def get(self, name: str) -> T:
        """The component called ``name``, or the one at ``package.module:Attribute``."""
        self._scan()
        if name in self._found:
            return self._found[name]
        if name in self._entry_points():
            return self._load(name, self._entry_points()[name])
        if ":" in name and not name.startswith(":"):
            return self._import(name)
        raise unknown(self.kind, name, self.names())

    def names(self) -> list[str]:
        """Every registered name: the built-in ones in the order of definition, then those of outside packages."""
        self._scan()
        return [*self._found, *(name for name in self._entry_points() if name not in self._found)]

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
            raise unknown(self.kind, path, self.names(), f"('{path}' was read as module:name; {error}.)") from error
        if self._check is not None:
            self._check(path, component)
        return component


def _registers(module: str) -> bool:
    """Whether a module's text registers anything: its helpers stay unimported, and with them what they import."""
    spec = importlib.util.find_spec(module)
    loader = spec.loader if spec is not None else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    return source is None or "register(" in source


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
