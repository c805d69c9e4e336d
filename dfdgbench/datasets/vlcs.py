"""VLCS: photographs of five classes from four older collections."""

from __future__ import annotations

from pathlib import Path

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.get.staging import bring


@DATASETS.register("VLCS")
class VLCS(Dataset):
    """Caltech101, LabelMe, SUN09 and VOC2007 (Fang et al. 2013), 10,729 images as DomainBed distributes them.

    The classes are unbalanced: images of bird, car, chair, dog, person are 237, 123, 118, 67, 870 in Caltech101;
    80, 1209, 88, 42, 1237 in LabelMe; 20, 932, 1036, 30, 1264 in SUN09; 330, 699, 428, 420, 1499 in VOC2007.
    """

    metadata = Metadata(
        name="VLCS",
        description="photographs from four collections (Caltech101, LabelMe, SUN09, VOC2007), five classes",
        domains=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
        labels=("C", "L", "S", "V"),
        classes=("bird", "car", "chair", "dog", "person"),
        counts=(1415, 2656, 3282, 3376),
        image_size=224,
        network="resnet50",
        folder="VLCS",
        licence="not stated; research use",
        citation="Fang et al. 2013, Unbiased metric learning, ICCV; files by Gulrajani and Lopez-Paz 2021, arXiv:2007.01434",
        homepage="https://github.com/facebookresearch/DomainBed",
        layout="VLCS/{Caltech101,LabelMe,SUN09,VOC2007}/{bird,car,chair,dog,person}/IMAGE",
        sources=(Source(file="VLCS.tar.gz", urls=("drive:1skwblH1_okBwxWxmRsp9_qi15hyPpxg8",)),),
    )

    def open(self, index: int) -> FolderDomain:
        return folder_domain(self.metadata.domains[index], self.domain_folder(index), self.metadata.classes)

    @classmethod
    def prepare(cls, staging: Path) -> None:
        bring(staging, cls.metadata.folder, cls.metadata.domains)
