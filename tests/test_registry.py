"""The registry: lazy, checked, helpful, and open to other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dfdgbench import registry
from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.errors import ConfigError, UnknownNameError
from dfdgbench.registry import Registry, origin, subclass_check

GROUP = "dfdgbench.animals"
DOG = "from these_tests import Animal\nclass Dog(Animal): ...\n"
Write = Callable[[dict[str, str]], Path]


class Animal:
    """What the registry of these tests holds."""


class Cat(Animal):
    """A component."""


class OtherCat(Animal):
    """Another one."""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules below an importable folder, and forgets them after the test."""
    monkeypatch.setitem(sys.modules, "these_tests", sys.modules[__name__])
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(sources: dict[str, str]) -> Path:
        for name, source in sources.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def animals(package: str = "email.mime") -> Registry[type[Animal]]:
    """A registry of animals; the default package holds none."""
    return Registry("animal", package, GROUP, subclass_check("animal", Animal))


# Built-in components -------------------------------------------------------------------------------------------------


def test_modules_are_imported_on_the_first_look_up_and_once(modules: Write) -> None:
    source = "import zoo\nzoo.count = getattr(zoo, 'count', 0) + 1\n# register(...)\n"
    modules({"zoo/__init__": "", "zoo/cat": source, "zoo/helper": "registers = 'nothing'\n"})
    found = animals("zoo")
    assert "zoo.cat" not in sys.modules
    assert found.names() == []
    assert "x" not in found
    assert sys.modules["zoo"].count == 1  # type: ignore[attr-defined]
    assert "zoo.helper" not in sys.modules, "what registers nothing is not imported"


def test_components_come_in_the_order_of_definition() -> None:
    found = animals()
    found.register("zebra")(Cat)
    found.register("ape")(OtherCat)
    assert found.names() == ["zebra", "ape"]
    assert list(found.items()) == [("zebra", Cat), ("ape", OtherCat)]
    assert "ape" in found
    assert found.get("zebra") is Cat


@pytest.mark.parametrize("component", [int, Animal(), lambda: None])
def test_what_is_no_animal_is_refused(component: object) -> None:
    with pytest.raises(ConfigError, match=r"animal 'x' is .*must be a class derived from .*\.Animal"):
        animals().add("x", component)  # type: ignore[arg-type]


def test_a_name_taken_by_another_component_is_refused_with_both_places() -> None:
    found = animals()
    found.add("cat", Cat)
    found.add("cat", Cat)
    with pytest.raises(ConfigError) as caught:
        found.add("cat", OtherCat)
    assert origin(Cat) in str(caught.value)
    assert origin(OtherCat) in str(caught.value)
    assert found.get("cat") is Cat


def test_origin_is_file_and_line() -> None:
    path, line = origin(Cat).rsplit(":", 1)
    assert Path(path).name == "test_registry.py"
    assert Path(path).read_text().splitlines()[int(line) - 1] == "class Cat(Animal):"
    assert origin(3) == "?.3"


def test_an_unknown_name_is_told_with_near_names_whatever_their_case() -> None:
    with pytest.raises(UnknownNameError, match=r"no algorithm 'dekkan'. Did you mean DEKAN\?.* Known: .*ERM"):
        ALGORITHMS.get("dekkan")
    with pytest.raises(UnknownNameError, match="None is registered"):
        animals().get("cat")


# Schemes --------------------------------------------------------------------------------------------------------------


def kennel(rest: str) -> type[Animal]:
    """A new animal, called after what follows the colon."""
    return type(rest or "nobody", (Animal,), {})


def test_a_scheme_makes_a_component_of_what_follows_the_colon() -> None:
    found = animals()
    assert found.scheme("kennel", "kennel:NAME for any dog")(kennel) is kennel
    made = found.get("kennel:Rex:the:second")
    assert issubclass(made, Animal)
    assert made.__name__ == "Rex:the:second"
    assert found.get("kennel:").__name__ == "nobody"
    assert found.get("kennel:Rex") is not found.get("kennel:Rex"), "made anew, and not kept"
    assert (found.names(), "kennel:Rex" in found, found.forms()) == ([], False, ["kennel:NAME for any dog"])


def test_a_registered_name_comes_before_a_scheme() -> None:
    found = animals()
    found.scheme("kennel", "kennel:NAME")(kennel)
    found.add("kennel:Cat", Cat)
    assert found.get("kennel:Cat") is Cat


def test_what_a_scheme_makes_is_checked() -> None:
    found = animals()
    found.scheme("number", "number:N")(int)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"animal 'number:3' is 3; it must be a class derived"):
        found.get("number:3")


def test_a_scheme_taken_by_another_function_is_refused() -> None:
    found = animals()
    found.scheme("kennel", "kennel:NAME")(kennel)
    found.scheme("kennel", "kennel:NAME")(kennel)
    with pytest.raises(ConfigError, match=r"animal name 'kennel:' is registered twice: .*test_registry.py:\d+ and"):
        found.scheme("kennel", "kennel:NAME")(animals)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Rex", "kennel", "nowhere:Dog"])
def test_an_unknown_name_is_told_of_the_schemes(name: str) -> None:
    found = animals()
    found.scheme("kennel", "kennel:NAME for any dog")(kennel)
    with pytest.raises(UnknownNameError, match=rf"no animal '{name}'.* Or type kennel:NAME for any dog\."):
        found.get(name)


def test_a_module_that_registers_a_scheme_alone_is_imported(modules: Write) -> None:
    source = (
        "import these_tests\n\n\n@these_tests.ZOO.scheme('any', 'any:NAME')\ndef make(rest): return these_tests.Cat\n"
    )
    modules({"schemes/__init__": "", "schemes/any": source})
    sys.modules["these_tests"].ZOO = found = animals("schemes")  # type: ignore[attr-defined]
    assert found.get("any:thing") is Cat


# Classes given by path -----------------------------------------------------------------------------------------------


def test_a_path_names_a_class_that_is_not_registered(modules: Write) -> None:
    modules({"mine": DOG + "number = 3\n"})
    found = animals()
    assert found.get("mine:Dog") is sys.modules["mine"].Dog
    assert found.names() == []
    with pytest.raises(ConfigError, match="must be a class derived"):
        found.get("mine:number")


@pytest.mark.parametrize("path", ["nowhere:Dog", "email:Dog", ":Dog"])
def test_a_path_that_leads_nowhere_is_an_unknown_name(path: str) -> None:
    with pytest.raises(UnknownNameError, match=f"no animal '{path}'"):
        animals().get(path)


# Other packages ------------------------------------------------------------------------------------------------------


def test_entry_points_are_imported_when_asked_for(monkeypatch: pytest.MonkeyPatch, modules: Write) -> None:
    modules({"lazy": DOG})
    asked = []

    def fake(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("Dog", "lazy:Dog", group), EntryPoint("Cat", "lazy:Cat", group)]

    monkeypatch.setattr(registry, "entry_points", fake)
    found = animals()
    found.add("Cat", Cat)
    assert found.names() == ["Cat", "Dog"]
    assert "lazy" not in sys.modules
    assert found.get("Dog").__name__ == "Dog"
    assert found.get("Cat") is Cat, "a built-in name is not taken over by another package"
    assert asked == [GROUP]


def test_an_installed_package_adds_its_component_and_a_broken_one_is_told(modules: Write) -> None:
    folder = modules({"outside": DOG, "broken": "import no_such_thing\n"})
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nDog = outside:Dog\nBroken = broken:Thing\nGone = outside:Gone\nWrong = pathlib:Path\n"
    )
    found = animals()
    assert set(found.names()) == {"Dog", "Broken", "Gone", "Wrong"}
    assert found.get("Dog").__module__ == "outside"
    with pytest.raises(ConfigError, match=r"'Broken' comes from the entry point 'broken:Thing'.*no_such_thing"):
        found.get("Broken")
    with pytest.raises(ConfigError, match="'Gone' comes from the entry point 'outside:Gone'"):
        found.get("Gone")
    with pytest.raises(ConfigError, match=r"'Wrong' is .*must be a class derived"):
        found.get("Wrong")
