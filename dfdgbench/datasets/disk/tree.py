"""Reading a person's own tree ``PATH/DOMAIN/CLASS/IMAGE``, and telling in one sentence where it is not one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dfdgbench.datasets.disk.scan import IMAGE_SUFFIXES, files_in, folders_in, holds_image
from dfdgbench.errors import ConfigError, DataError, MissingDataError, listing, near

LAYOUT = "Expected: PATH/DOMAIN/CLASS/IMAGE with two domains and two classes or more, for example PATH/photo/dog/1.jpg."
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "crossval"})


@dataclass(frozen=True)
class Tree:
    """A tree of images.

    Attributes:
        root: PATH, absolute.
        domains: names, sorted, hidden folders left out.
        classes: of all domains together, sorted.
        absent: the classes that a domain has no image of, for domains that lack any.
        strays: files outside class folders, as paths below ``root``; they are not read.
    """

    root: Path
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    absent: Mapping[str, tuple[str, ...]]
    strays: tuple[str, ...]

    def notices(self) -> tuple[str, ...]:
        """What is allowed and yet may be a mistake, in sentences."""
        return (*self._lacking(), *self._empty(), *self._outside(), *self._splits())

    def _lacking(self) -> Iterator[str]:
        everywhere = set(self._unused)
        for domain, classes in self.absent.items():
            lacking = [name for name in classes if name not in everywhere]
            if not lacking:
                continue
            spare = [name for name in self.classes if name not in classes and self._only_in(name, domain)]
            renamed = [f"'{other}' may be '{name}', renamed" for name in lacking for other in near(name, spare)[:1]]
            hint = f" {listing(renamed, 3)}: rename the folder if so." if renamed else ""
            yield (
                f"The domain '{domain}' has no image of {len(lacking)} of the {len(self.classes)} classes: "
                f"{listing(lacking, 10)}.{hint} It is trained and tested on the others alone."
            )

    def _only_in(self, name: str, domain: str) -> bool:
        return all(name in self.absent.get(other, ()) for other in self.domains if other != domain)

    @property
    def _unused(self) -> list[str]:
        return [name for name in self.classes if all(name in self.absent.get(domain, ()) for domain in self.domains)]

    def _empty(self) -> Iterator[str]:
        if self._unused:
            yield (
                f"The class folders {listing(self._unused, 10)} hold no image in any domain and yet count as classes. "
                "Remove them if they are none."
            )

    def _outside(self) -> Iterator[str]:
        if self.strays:
            yield (
                f"Files in no class folder: {len(self.strays)}, not read ({listing(self.strays, 3)}). Move images into "
                "PATH/DOMAIN/CLASS."
            )

    def _splits(self) -> Iterator[str]:
        named = [name for name in self.domains if name.casefold() in SPLITS]
        if len(named) > 1:
            yield (
                f"The domains {listing(named)} are called as splits of one domain are. Every folder in PATH is a domain; "
                "splits are drawn by the protocol. Put all images of a domain into one folder if these are splits."
            )


def read_tree(path: str) -> Tree:
    """The tree at ``path``, which may begin with ``~``; of every class folder only whether it holds an image is looked at.

    Raises:
        ConfigError: ``path`` is no folder with at least two domains and two classes.
        MissingDataError: ``path`` does not exist.
        DataError: a folder cannot be listed, or holds no image.
    """
    root = _existing(path)
    folders = {name: _text(root, folders_in(root / name)) for name in _text(root, folders_in(root))}
    _check_levels(root, folders)
    classes = tuple(sorted({name for found in folders.values() for name in found}))
    held = {domain: {name for name in found if holds_image(root / domain / name)} for domain, found in folders.items()}
    _check_content(root, classes, held)
    absent = {domain: tuple(name for name in classes if name not in found) for domain, found in held.items()}
    strays = [*files_in(root), *(f"{domain}/{name}" for domain in folders for name in files_in(root / domain))]
    lacking = {domain: names for domain, names in absent.items() if names}
    return Tree(root, tuple(folders), classes, lacking, tuple(strays))


def _existing(path: str) -> Path:
    if not path:
        raise ConfigError(f"folder: is followed by no path. Type folder:PATH. {LAYOUT}")
    try:
        root = Path(os.path.abspath(Path(path).expanduser()))
    except RuntimeError as error:  # ~someone, who has no home here
        raise ConfigError(f"folder:{path} cannot be found ({error}). Type the path without ~.") from error
    if root.is_dir():
        return root
    if root.is_file():
        unpack = " Unpack it, and name the folder." if root.suffix.lower() in ARCHIVES else ""
        raise ConfigError(f"folder:{path} is a file; a folder is expected.{unpack} {LAYOUT}")
    parent = next(above for above in root.parents if above.is_dir())
    beside = folders_in(parent)
    missing = root.relative_to(parent).parts[0]
    meant = near(missing, beside)[:1]
    hint = f" Did you mean folder:{parent / meant[0]}?" if meant else ""
    taken = "" if Path(path).expanduser().is_absolute() else f" (relative paths are taken from {Path.cwd()})"
    raise MissingDataError(
        f"The folder {root} does not exist{taken}.{hint} In {parent} there are the folders: {listing(beside, 10) or 'none'}."
    )


def _text(root: Path, names: list[str]) -> list[str]:
    """``names``, which are domains or classes and as such go into records and tables: text that can be written down."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"The name of a folder below {root} is not UTF-8: {os.fsencode(name)!r}. Rename it; names of files may stay."
            ) from error
    return names


def _check_levels(root: Path, folders: Mapping[str, Collection[str]]) -> None:
    """Refuse a tree of one level too few or too many, and say which path would do."""
    if not folders:
        what = "images directly" if _images_in(root) else "no folder"
        raise ConfigError(f"The folder {root} holds {what}, where a folder for each domain is expected. {LAYOUT}")
    flat = [name for name, below in folders.items() if not below]
    if len(flat) == len(folders) and any(_images_in(root / name) for name in flat):
        raise ConfigError(
            f"The folder {root} has class folders directly ({listing(folders, 5)}): the level of domains is missing. "
            f"{_meant(root.parent)}{LAYOUT}"
        )
    direct = [name for name in flat if _images_in(root / name)]
    if direct:
        raise ConfigError(
            f"The domain folders {listing(direct, 5)} in {root} hold images directly, for example "
            f"{direct[0]}/{_images_in(root / direct[0])[0]}. Put them into folders for their classes. {LAYOUT}"
        )
    if flat:
        raise DataError(
            f"The folders {listing(flat, 5)} in {root} hold no image, and every folder there is a domain. "
            f"{_meant(*(root / name for name in folders))}Fill them or move them away."
        )
    if len(folders) < 2:
        (only,) = folders
        raise ConfigError(
            f"The folder {root} has one domain, '{only}', where two or more are expected. "
            f"{_meant(root / only, root.parent)}{LAYOUT}"
        )


def _check_content(root: Path, classes: Collection[str], held: Mapping[str, Collection[str]]) -> None:
    """Refuse fewer than two classes, domains without images, and what cannot be the level of classes."""
    empty = [domain for domain, found in held.items() if not found]
    if empty:
        raise DataError(
            f"The folders {listing(empty, 5)} in {root} hold no image, and every folder there is a domain. "
            f"{_meant(*(root / name for name in held))}Fill them or move them away; image files end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    if len(classes) < 2:
        raise ConfigError(
            f"The domains in {root} have one class, {listing(classes)}; two or more are expected. {LAYOUT}"
        )
    if {name.casefold() for name in classes} <= SPLITS:
        raise ConfigError(
            f"The folders {listing(classes)} below the domains in {root} are splits, where the classes are expected. "
            f"Splits are drawn by the protocol: put all images of a class into one folder. {LAYOUT}"
        )
    every = [name for found in held.values() for name in found]
    if len(set(every)) == len(every):
        raise ConfigError(
            f"No class in {root} is in two domains; {'; '.join(f'{d} has {listing(sorted(c), 3)}' for d, c in held.items())}. "
            "Domains share their classes: is PATH one level too high, or are classes spelt differently? "
            f"{_meant(*(root / name for name in held))}{LAYOUT}"
        )


def _images_in(folder: Path) -> list[str]:
    return [name for name in files_in(folder) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]


def _meant(*folders: Path) -> str:
    """``Did you mean folder:...? `` for the first of ``folders`` that has domains that share classes."""
    return next((f"Did you mean folder:{folder}? " for folder in folders if _has_domains(folder)), "")


def _has_domains(folder: Path) -> bool:
    try:
        classes = [set(folders_in(folder / name)) - SPLITS for name in folders_in(folder)]
    except DataError:
        return False
    return any(one & other for i, one in enumerate(classes) for other in classes[:i])
