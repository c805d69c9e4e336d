"""Arrays beside a run's records: ``diagnostics/step_N.npz``, for figures. No torch.

A file is written before the record of its step and holds no pickled objects, so that it is read safely.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdgbench.errors import ArtifactError
from dfdgbench.files import write_bytes

FOLDER = "diagnostics"


def path_of(folder: Path, step: int) -> Path:
    """Where the arrays of a run's step are."""
    return folder / FOLDER / f"step_{step}.npz"


def write(folder: Path, step: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep the arrays of a run's step: numbers and texts, no objects."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **dict(arrays))
    write_bytes(path_of(folder, step), content.getvalue(), "Diagnostics")


def read(folder: Path, step: int) -> dict[str, NDArray[Any]]:
    """The arrays of a run's step. ``ArtifactError`` where there are none, or the file is damaged."""
    path = path_of(folder, step)
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"The run {folder} has no diagnostics of step {step} ({path} is not there): its algorithm writes none, or the "
            "folder was copied without them."
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"The file {path} is damaged ({error}). Train the run again.") from error
