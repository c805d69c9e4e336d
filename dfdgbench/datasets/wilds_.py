"""WILDS: Camelyon17 (tissue from five hospitals) and FMoW (satellite images of six regions), through the package wilds."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfdgbench.datasets.base import DATASETS, Dataset, Labels, Metadata, Source
from dfdgbench.datasets.disk.scan import images_below
from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.errors import DataError, MissingDataError, listing, missing_extra

Values = NDArray[np.int64]
Tables = tuple[list[str], Labels, Values]

BUNDLES = "https://worksheets.codalab.org/rest/bundles"

_LAND_USES = """
airport airport_hangar airport_terminal amusement_park aquaculture archaeological_site barn border_checkpoint
burial_site car_dealership construction_site crop_field dam debris_or_rubble educational_institution
electric_substation factory_or_powerplant fire_station flooded_road fountain gas_station golf_course
ground_transportation_station helipad hospital impoverished_settlement interchange lake_or_pond lighthouse
military_facility multi-unit_residential nuclear_powerplant office_building oil_or_gas_facility park
parking_lot_or_garage place_of_worship police_station port prison race_track railway_bridge recreational_facility
road_bridge runway shipyard shopping_mall single-unit_residential smokestack solar_farm space_facility stadium
storage_tank surface_mine swimming_pool toll_booth tower tunnel_opening waste_disposal water_treatment_facility
wind_farm zoo
"""

LAND_USES = tuple(_LAND_USES.split())


class Wilds(Dataset):
    """A dataset of the package wilds, cut as DomainBed cuts it: one domain a value of ``field``, official splits merged.

    The package reads the metadata; images are then plain files. It is imported, and its tables are read, once a dataset
    and only where the data is there. To count images it is not asked: it imports torch, and may not be installed.
    """

    module: ClassVar[str]
    class_name: ClassVar[str]
    field: ClassVar[str]

    def __init__(self, data_dir: str | Path | None = None) -> None:
        super().__init__(data_dir)
        self._read: Tables | None = None

    @staticmethod
    @abstractmethod
    def image_files(read: Any) -> list[str]:
        """The image files below the dataset's folder, in the order of its labels."""

    @staticmethod
    @abstractmethod
    def listed_files(folder: Path) -> tuple[list[str], Values]:
        """The image files, and the value of ``field`` of each, by the columns that alone tell them."""

    def open(self, index: int) -> FolderDomain:
        files, labels, values = self._tables()
        keys = self._keys(index, values)
        return FolderDomain(self.metadata.domains[index], self._folder(), [files[key] for key in keys], labels[keys])

    def listed(self, index: int) -> int:
        """As of any dataset, by its tables and the names of its files."""
        return len(self._keys(index, self._listed))

    def _keys(self, index: int, values: Values) -> Values:
        keys = np.flatnonzero(values == index)
        if not len(keys):
            raise DataError(
                f"{self.metadata.name}: no image belongs to the domain '{self.metadata.domains[index]}' by {self._folder()}. "
                f"Move the folder away and type dfdgbench data download {self.metadata.name}."
            )
        return keys

    @cached_property
    def _listed(self) -> Values:
        """The value of ``field`` of every image of all domains."""
        folder = self._folder()
        try:
            # Without it the package takes the folder for a download that was stopped.
            (folder / f"RELEASE_{folder.name.rpartition('_')[2]}.txt").stat()
            files, values = self.listed_files(folder)
        except Exception as error:  # of a damaged table the parser says whatever its bytes happen to cause
            raise self._unreadable(f"its tables in {folder} cannot be read", error) from error
        self._check(folder, files)
        return values

    def _folder(self) -> Path:
        folder = self.root() / self.metadata.folder
        if not folder.is_dir():
            raise MissingDataError(
                f"{self.metadata.name}: the folder {folder} does not exist. Expected layout: {self.metadata.layout}. "
                f"Type dfdgbench data download {self.metadata.name}."
            )
        return folder

    def _tables(self) -> Tables:
        """File, label and value of ``field`` of every image of all domains."""
        if self._read is None:
            folder = self._folder()
            tables = self._load(folder)
            self._check(folder, tables[0])
            self._read = tables
        return self._read

    def _check(self, folder: Path, files: list[str]) -> None:
        there = set(images_below(folder))
        absent = [file for file in files if file not in there]
        if absent:
            raise DataError(
                f"{self.metadata.name}: {len(absent)} of the {len(files)} images that its tables name are not in {folder}: "
                f"{listing(absent, 3)}. Move the folder away and type dfdgbench data download {self.metadata.name}."
            )

    def _load(self, folder: Path) -> Tables:
        limit = Image.MAX_IMAGE_PIXELS
        try:
            source = getattr(importlib.import_module(self.module), self.class_name)
        except ImportError as error:
            package = (error.name or "wilds").partition(".")[0]
            raise missing_extra(package, "wilds", f"Reading {self.metadata.name}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit  # which importing wilds raises for everybody
        try:
            read = source(root_dir=str(folder.parent), download=False)
            column = list(read.metadata_fields).index(self.field)
            values = np.asarray(read.metadata_array)[:, column].astype(np.int64)
            labels = np.asarray(read.y_array).reshape(-1).astype(np.int64)
            files = self.image_files(read)
        except Exception as error:  # the package fails on damaged tables with whatever its parsers raise
            raise self._unreadable(f"the package wilds cannot read {folder}", error) from error
        return files, labels, values

    def _unreadable(self, what: str, error: Exception) -> DataError:
        return DataError(
            f"{self.metadata.name}: {what} ({type(error).__name__}: {error}). Expected layout: {self.metadata.layout}. Move the "
            f"folder away and type dfdgbench data download {self.metadata.name}."
        )

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        return []


@DATASETS.register("WILDSCamelyon")
class WILDSCamelyon(Wilds):
    """Patches of lymph-node sections from five hospitals (Koh et al. 2021), 455,954 images of 96x96 pixels.

    A patch is a tumour where any of its central 32x32 pixels is.
    """

    module, class_name, field = "wilds.datasets.camelyon17_dataset", "Camelyon17Dataset", "hospital"
    metadata = Metadata(
        name="WILDSCamelyon",
        description="tumour or not in tissue from five hospitals",
        domains=tuple(f"hospital_{number}" for number in range(5)),
        classes=("normal", "tumour"),
        image_size=224,
        native_size=96,
        checkpoint_freq=100,
        network="resnet50",
        extra="wilds",
        folder="camelyon17_v1.0",
        licence="CC0",
        citation="Bandi et al. 2018, The CAMELYON17 challenge; Koh et al. 2021, WILDS, arXiv:2012.07421",
        homepage="https://wilds.stanford.edu/datasets/#camelyon17",
        layout="camelyon17_v1.0/{RELEASE_v1.0.txt, metadata.csv, patches/patient_004_node_4/IMAGE}",
        sources=(
            Source(
                file="camelyon17_v1.0.tar.gz",
                urls=(f"{BUNDLES}/0xe45e15f39fb54e9d9e919556af67aabe/contents/blob/",),
                into="camelyon17_v1.0",
            ),
        ),
    )

    @staticmethod
    def image_files(read: Any) -> list[str]:
        return list(read._input_array)

    @staticmethod
    def listed_files(folder: Path) -> tuple[list[str], Values]:
        import pandas as pd

        named = ["patient", "node", "x_coord", "y_coord"]
        table = pd.read_csv(folder / "metadata.csv", dtype=str, usecols=[*named, "center"])
        files = [
            f"patches/patient_{patient}_node_{node}/patch_patient_{patient}_node_{node}_x_{x}_y_{y}.png"
            for patient, node, x, y in table[named].itertuples(index=False, name=None)
        ]
        return files, table["center"].to_numpy(np.int64)


@DATASETS.register("WILDSFMoW")
class WILDSFMoW(Wilds):
    """Satellite images of 62 kinds of land use in six regions of the world (Christie et al. 2018), 224x224 pixels.

    Regions are numbered by their first appearance in the metadata, as the package numbers them; the sequestered images
    are left out.
    """

    module, class_name, field = "wilds.datasets.fmow_dataset", "FMoWDataset", "region"
    metadata = Metadata(
        name="WILDSFMoW",
        description="land use in satellite images of six regions, 62 classes",
        domains=tuple(f"region_{number}" for number in range(6)),
        classes=LAND_USES,
        image_size=224,
        native_size=224,
        checkpoint_freq=100,
        network="resnet50",
        extra="wilds",
        folder="fmow_v1.1",
        licence="FMoW Challenge Public License",
        citation="Christie et al. 2018, Functional map of the world; Koh et al. 2021, WILDS, arXiv:2012.07421",
        homepage="https://wilds.stanford.edu/datasets/#fmow",
        layout="fmow_v1.1/{RELEASE_v1.1.txt, rgb_metadata.csv, country_code_mapping.csv, images/rgb_img_0.png}",
        sources=(
            Source(
                file="fmow_v1.1.tar.gz",
                urls=(f"{BUNDLES}/0xaec91eb7c9d548ebb15e1b5e60f966ab/contents/blob/",),
                into="fmow_v1.1",
            ),
        ),
    )

    @staticmethod
    def image_files(read: Any) -> list[str]:
        return _photos(np.asarray(read.full_idxs))

    @staticmethod
    def listed_files(folder: Path) -> tuple[list[str], Values]:
        import pandas as pd

        table = pd.read_csv(folder / "rgb_metadata.csv", dtype=str, usecols=["country_code", "split"])
        codes = pd.read_csv(folder / "country_code_mapping.csv", dtype=str, usecols=["alpha-3", "region"])
        regions = dict(zip(codes["alpha-3"], codes["region"], strict=True))
        # A country without a region (Antarctica) is one of its own, as the package has it.
        named = [str(regions.get(code, "Other")) for code in table["country_code"]]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
        kept = np.flatnonzero(table["split"].to_numpy() != "seq")
        return _photos(kept), np.array([numbers[name] for name in named], dtype=np.int64)[kept]


def _photos(numbers: Values) -> list[str]:
    return [f"images/rgb_img_{number}.png" for number in numbers.tolist()]
