"""SVIRO: the rear seats of ten cars, rendered."""

from __future__ import annotations

from pathlib import Path

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.get.staging import bring


@DATASETS.register("SVIRO")
class SVIRO(Dataset):
    """What sits on one rear seat of one of ten cars (Dias Da Cruz et al. 2020), 56,000 grey renderings of single seats.

    The class folders are SVIRO's numbers: 0 an empty seat, 1 an infant in an infant seat, 2 a child in a child seat,
    3 an adult, 4 an everyday object, 5 an empty infant seat, 6 an empty child seat. How many images each car has is
    not documented, so counts are not checked.
    """

    metadata = Metadata(
        name="SVIRO",
        description="rendered rear seats of ten cars, seven kinds of occupancy",
        domains=("aclass", "escape", "hilux", "i3", "lexus", "tesla", "tiguan", "tucson", "x5", "zoe"),
        classes=tuple("0123456"),
        image_size=224,
        network="resnet50",
        folder="sviro",
        licence="CC BY-NC-SA 4.0",
        citation="Dias Da Cruz et al. 2020, SVIRO: synthetic vehicle interior rear seat occupancy, arXiv:2001.03483",
        homepage="https://sviro.kl.dfki.de",
        layout="sviro/{aclass,escape,hilux,i3,lexus,tesla,tiguan,tucson,x5,zoe}/{0,...,6}/IMAGE",
        sources=(
            Source(
                file="sviro_grayscale_rectangle_classification.zip", urls=("https://sviro.kl.dfki.de/?wpdmdl=1731",)
            ),
        ),
    )

    def open(self, index: int) -> FolderDomain:
        return folder_domain(self.metadata.domains[index], self.domain_folder(index), self.metadata.classes)

    @classmethod
    def prepare(cls, staging: Path) -> None:
        bring(staging, cls.metadata.folder, cls.metadata.domains)
