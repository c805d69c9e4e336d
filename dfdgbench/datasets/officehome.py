"""Office-Home: everyday objects of 65 classes as art, clip art, product pictures and photographs."""

from __future__ import annotations

from pathlib import Path

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.get.staging import bring

_CLASSES = """
Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet
Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil
Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon
TV Table Telephone ToothBrush Toys Trash_Can Webcam
"""

CLASSES = tuple(_CLASSES.split())
"""In the order in which DomainBed numbers them: by byte value, so that ``TV`` comes before ``Table``."""


@DATASETS.register("OfficeHome")
class OfficeHome(Dataset):
    """Art, clip art, product pictures and photographs (Venkateswara et al. 2017), 15,588 images."""

    metadata = Metadata(
        name="OfficeHome",
        description="everyday objects in four styles (art, clip art, product, real world), 65 classes",
        domains=("Art", "Clipart", "Product", "Real World"),
        labels=("A", "C", "P", "R"),
        classes=CLASSES,
        counts=(2427, 4365, 4439, 4357),
        image_size=224,
        network="resnet50",
        folder="office_home",
        licence="not stated; made available for non-commercial research",
        citation="Venkateswara et al. 2017, Deep hashing network for unsupervised domain adaptation, arXiv:1706.07522",
        homepage="https://www.hemanthdv.org/officeHomeDataset.html",
        layout="office_home/{Art,Clipart,Product,Real World}/{Alarm_Clock,Backpack,...}/IMAGE",
        sources=(Source(file="office_home.zip", urls=("drive:1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC",)),),
    )

    def open(self, index: int) -> FolderDomain:
        return folder_domain(self.metadata.domains[index], self.domain_folder(index), self.metadata.classes)

    @classmethod
    def prepare(cls, staging: Path) -> None:
        bring(staging, cls.metadata.folder, cls.metadata.domains)
