"""What the data sets of WILDS need of the package wilds, for machines without it: the same names, read from the same files.

The interface and the layout are those of wilds 2.0.0.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch


class StandIn:
    """``metadata_fields``, ``metadata_array`` [N, fields] and ``y_array`` [N]."""

    folder: str
    release: str

    def __init__(self, root_dir: str, download: bool) -> None:
        assert not download
        self.data_dir = Path(root_dir) / self.folder
        if not (self.data_dir / self.release).is_file():
            raise FileNotFoundError(f"The dataset could not be found in {self.data_dir}.")
        self.read()

    def read(self) -> None:
        raise NotImplementedError


class Camelyon17Dataset(StandIn):
    folder, release = "camelyon17_v1.0", "RELEASE_v1.0.txt"

    def read(self) -> None:
        table = pd.read_csv(self.data_dir / "metadata.csv", index_col=0, dtype={"patient": "str"})
        rows = table[["patient", "node", "x_coord", "y_coord"]].itertuples(index=False, name=None)
        self._input_array = [
            f"patches/patient_{p}_node_{n}/patch_patient_{p}_node_{n}_x_{x}_y_{y}.png" for p, n, x, y in rows
        ]
        self.y_array = torch.tensor(table["tumor"].to_numpy())
        self.metadata_fields = ["hospital", "slide", "y"]
        self.metadata_array = torch.tensor(table[["center", "slide", "tumor"]].to_numpy())


class FMoWDataset(StandIn):
    folder, release = "fmow_v1.1", "RELEASE_v1.1.txt"

    def read(self) -> None:
        from dfdgbench.datasets.wilds_ import LAND_USES

        table = pd.read_csv(self.data_dir / "rgb_metadata.csv")
        codes = pd.read_csv(self.data_dir / "country_code_mapping.csv")
        regions = dict(zip(codes["alpha-3"], codes["region"], strict=True))
        named = [regions.get(code, "Other") for code in table["country_code"]]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
        kept = np.flatnonzero(table["split"].to_numpy() != "seq")
        labels = np.array([LAND_USES.index(name) for name in table["category"]])
        self.full_idxs = kept
        self.y_array = torch.tensor(labels[kept])
        self.metadata_fields = ["region", "year", "y"]
        column = np.array([numbers[name] for name in named])
        self.metadata_array = torch.tensor(np.stack([column, np.zeros_like(column), labels], axis=1)[kept])


def install() -> None:
    """Put the stand-in where ``import wilds`` finds it, unless the package is there."""
    if "wilds" in sys.modules or importlib.util.find_spec("wilds") is not None:
        return
    for name, content in modules().items():
        sys.modules[name] = content


def modules() -> dict[str, ModuleType]:
    """The package's modules that are used."""
    found: dict[str, Any] = {name: ModuleType(name) for name in ("wilds", "wilds.datasets")}
    for name, content in (("camelyon17_dataset", Camelyon17Dataset), ("fmow_dataset", FMoWDataset)):
        found[f"wilds.datasets.{name}"] = module = ModuleType(f"wilds.datasets.{name}")
        setattr(module, content.__name__, content)
    return found
