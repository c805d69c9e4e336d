"""TerraIncognita: animals before four camera traps."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.errors import DataError, listing

LILA = "https://storage.googleapis.com/public-datasets-lila/caltechcameratraps"
IMAGES = "eccv_18_all_images_sm"
ANNOTATIONS = "eccv_18_annotation_files"
PARTS = ("cis_test", "cis_val", "train", "trans_test", "trans_val")
OLDER_COUNTS = (4879, 9767, 4020, 6122)
"""Images per domain of the version of 24,788 images that DomainBed's paper counts; it is no longer distributed."""


@DATASETS.register("TerraIncognita")
class TerraIncognita(Dataset):
    """Four places and ten classes of the Caltech Camera Traps (Beery et al. 2018) as DomainBed selects them.

    This is the version that is distributed today, of 24,330 images; the older one of 24,788, which early papers used,
    is refused, because results on the two are not comparable. An image that shows two of the ten classes lies in both
    class folders.
    """

    metadata = Metadata(
        name="TerraIncognita",
        description="animals before four camera traps, ten classes",
        domains=("location_100", "location_38", "location_43", "location_46"),
        labels=("L100", "L38", "L43", "L46"),
        classes=("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
        counts=(4741, 9736, 3970, 5883),
        image_size=224,
        network="resnet50",
        folder="terra_incognita",
        licence="CDLA-Permissive-1.0",
        citation="Beery et al. 2018, Recognition in terra incognita, arXiv:1807.04975",
        homepage="https://lila.science/datasets/caltech-camera-traps",
        layout="terra_incognita/{location_100,location_38,location_43,location_46}/{bird,bobcat,...}/IMAGE",
        sources=(
            Source(
                file="eccv_18_all_images_sm.tar.gz", urls=(f"{LILA}/eccv_18_all_images_sm.tar.gz",), size=6_492_615_601
            ),
            Source(file="eccv_18_annotations.tar.gz", urls=(f"{LILA}/eccv_18_annotations.tar.gz",), size=2_997_071),
        ),
    )

    def open(self, index: int) -> FolderDomain:
        name, counts = self.metadata.domains[index], self.metadata.counts
        domain = folder_domain(name, self.domain_folder(index), self.metadata.classes)
        if counts is not None and len(domain) == OLDER_COUNTS[index] != counts[index]:
            raise DataError(
                f"TerraIncognita: '{name}' has {len(domain)} images, as in the older version of "
                f"{sum(OLDER_COUNTS):,} images ({', '.join(map(str, OLDER_COUNTS))} in the domains). Expected is the one "
                f"distributed today, of {sum(counts):,} ({', '.join(map(str, counts))}), and their results must not be "
                "compared. Move the folder away and type dfdgbench data download TerraIncognita."
            )
        return domain

    @classmethod
    def prepare(cls, staging: Path) -> None:
        """Sort the images of the four places into ``location_ID/CLASS/`` by the five annotation files."""
        locations = {name.removeprefix("location_") for name in cls.metadata.domains}
        targets = class_folders_of(read_annotations(staging / ANNOTATIONS), locations, set(cls.metadata.classes))
        images = staging / IMAGES
        absent = [file for file in targets if not (images / file).is_file()]
        if absent:
            raise DataError(
                f"TerraIncognita's archives do not belong together: {len(absent)} of the {len(targets)} images that the "
                f"annotations name are not in {images}: {listing(absent, 3)}. Download both again."
            )
        for file, folders in targets.items():
            paths = [staging / cls.metadata.folder / folder / file for folder in folders]
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            for path in paths[1:]:
                shutil.copyfile(images / file, path)
            os.replace(images / file, paths[0])
        for folder in (images, staging / ANNOTATIONS):
            shutil.rmtree(folder)


def read_annotations(folder: Path) -> list[Mapping[str, Any]]:
    """The five annotation files, in the COCO camera-trap format: ``images``, ``annotations`` and ``categories``."""
    contents = []
    for part in PARTS:
        path = folder / f"{part}_annotations.json"
        try:
            contents.append(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise DataError(
                f"TerraIncognita's annotation file {path} cannot be read ({error}). Download it again."
            ) from error
    return contents


def class_folders_of(
    contents: Iterable[Mapping[str, Any]], locations: set[str], classes: set[str]
) -> dict[str, list[str]]:
    """For each image file of ``locations``, the folders ``location_ID/CLASS`` it belongs in; one pass over each table.

    An image with annotations of two kept classes belongs in both; one with none, or with none of ``classes``, in none.
    """
    tables: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    folders: dict[str, set[str]] = defaultdict(set)
    try:
        for content in contents:
            for name in ("images", "annotations", "categories"):
                tables[name] += content[name]
        names = {row["id"]: row["name"] for row in tables["categories"]}
        places = {row["id"]: row for row in tables["images"] if str(row["location"]) in locations}
        for row in tables["annotations"]:
            image, name = places.get(row["image_id"]), names[row["category_id"]]
            if image is not None and name in classes:
                folders[str(image["file_name"])].add(f"location_{image['location']}/{name}")
    except (KeyError, TypeError) as error:
        raise DataError(
            f"TerraIncognita's annotation files lack an entry ({type(error).__name__}: {error}). Download them again."
        ) from error
    outside = [file for file in folders if Path(file).name != file]
    if outside:
        raise DataError(
            f"TerraIncognita's annotation files name images outside the images' folder: {listing(outside, 3)}. "
            "Download them again."
        )
    if not folders:
        raise DataError(
            f"TerraIncognita's annotation files name no image of the places {listing(sorted(locations))}. "
            "Download them again."
        )
    return {file: sorted(chosen) for file, chosen in sorted(folders.items())}
