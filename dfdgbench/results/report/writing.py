"""Writing a report to its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dfdgbench.errors import ConfigError
from dfdgbench.files import write_bytes
from dfdgbench.results.report.content import read
from dfdgbench.results.report.page import GENERATOR, render

_HEAD = 2000


@dataclass(frozen=True)
class Written:
    """A report on disk: its path, its size in bytes, how many runs it shows, and what it could not show."""

    path: Path
    size: int
    runs: int
    remarks: tuple[str, ...]


def write(folder: Path, out: Path | None = None, artifacts: Path | None = None) -> Written:
    """Write the report of the sweep, or of the runs, in ``folder``.

    Args:
        out: the file; an earlier report is replaced. None: ``report.html`` in the folder.
        artifacts: where the shared stages of the runs are; None: where the sweep notes them, or beside it.

    Raises:
        ConfigError: there is no run in the folder, or ``out`` is something that is no report.
        ArtifactError: it cannot be written.
    """
    path = folder / "report.html" if out is None else out
    content = read(folder, artifacts)
    _check_place(path)
    page = render(content, path).encode("utf-8", errors="replace")  # lone surrogates have no bytes
    write_bytes(path, page, "The report")
    return Written(path, len(page), len(content.runs), content.remarks)


def _check_place(path: Path) -> None:
    """Refuse what is no place for a report, before minutes of reading are lost or a file is overwritten."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, not a file. Type: --out {path / 'report.html'}")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"The report cannot be {path}: {above} is a file, not a folder. Choose another --out.")
    if path.exists() and not _is_report(path):
        raise ConfigError(
            f"The file {path} is there and is no report of this program, so it is left as it is. Choose another --out, or "
            "move that file away."
        )


def _is_report(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return GENERATOR.encode() in file.read(_HEAD)
    except OSError:
        return False
