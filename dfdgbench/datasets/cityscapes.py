"""Problems to and from Cityscapes: each published pair is a data set with the classes it is scored on.

GTA5 to Cityscapes (19 classes), SYNTHIA to Cityscapes (16, of which 13 are averaged apart) and Cityscapes to the four
cities of NTHU (13), at 256x512 pixels. They share the folders ``GTA5``, ``SYNTHIA``, ``Cityscapes`` and ``NTHU`` of the
data folder, so that Cityscapes is kept once.
"""

from __future__ import annotations

import logging
from typing import ClassVar

from dfdgbench.datasets.base import DATASETS, Metadata
from dfdgbench.datasets.domains import MaskedDomain
from dfdgbench.datasets.street_scenes import (
    NINETEEN,
    SIXTEEN,
    THIRTEEN,
    StreetScenes,
    cityscapes,
    gta5,
    nthu_city,
    synthia,
)
from dfdgbench.errors import listing

log = logging.getLogger("dfdgbench")

NTHU_CITIES = ("Rio", "Rome", "Taipei", "Tokyo")
CITYSCAPES_LAYOUT = "Cityscapes/{leftImg8bit,gtFine}/{train,val}/CITY/*_{leftImg8bit,gtFine_labelIds}.png"
GET_CITYSCAPES = (
    "Cityscapes: register at https://www.cityscapes-dataset.com/downloads/, get leftImg8bit_trainvaltest.zip and "
    "gtFine_trainvaltest.zip, and unpack both in DATA_DIR/Cityscapes, so that leftImg8bit/ and gtFine/ lie in it."
)
GET_GTA5 = (
    "GTA5: from https://download.visinf.tu-darmstadt.de/data/from_games/ get 01_images.zip to 10_images.zip and "
    "01_labels.zip to 10_labels.zip, and unpack all twenty in DATA_DIR/GTA5, so that images/ and labels/ lie in it. For "
    "the authors' 6,382 validation images unpack read_mapping.zip there too; without its split.mat all are trained on."
)
GET_SYNTHIA = (
    "SYNTHIA: from http://synthia-dataset.net/downloads/ get SYNTHIA-RAND-CITYSCAPES (CVPR16) and unpack it in "
    "DATA_DIR/SYNTHIA, so that RGB/ and GT/LABELS/ lie in it or in RAND_CITYSCAPES/ below it. Do not rewrite GT/LABELS "
    "with an image program: its files hold 16 bits a channel. Masks of 8 bits are read from GT/LABELS/"
    "NUMBER_labelTrainIds.png (Cityscapes' 19 classes) or parsed_LABELS/NUMBER.png (SYNTHIA's own ids)."
)
GET_NTHU = (
    "NTHU: ask for the data set at https://yihsinchen.github.io/segmentation_adaptation/ and unpack it in DATA_DIR/NTHU, so "
    "that Rio/, Rome/, Taipei/ and Tokyo/ lie in it, each with Images/Train, Images/Test and Labels/Test."
)
CITYSCAPES_LICENCE = "Cityscapes: its own terms, non-commercial"
CITYSCAPES_CITATION = "Cordts et al. 2016 (Cityscapes), arXiv:1604.01685"


@DATASETS.register("GTA5-Cityscapes")
class GTA5Cityscapes(StreetScenes):
    """From a game's streets (Richter et al. 2016) to German ones (Cordts et al. 2016), 19 classes.

    Every labelled domain has its training images as parts ``train`` and ``uda`` and its validation images as ``val`` and
    ``test``; GTA5 has no validation images unless its authors' list is there (see :func:`gta5`).
    """

    class_set = NINETEEN
    metadata = Metadata(
        name="GTA5-Cityscapes",
        description="segmentation of streets, from a game's to real ones, 19 classes",
        task="segmentation",
        domains=("GTA5", "Cityscapes"),
        pairs=(("GTA5", "Cityscapes"),),
        classes=NINETEEN.names,
        palette=NINETEEN.palette,
        counts=(24966, 3475),
        image_size=256,
        image_width=512,
        protocol="adaptation",
        protocols=("adaptation",),
        steps=62400,
        checkpoint_freq=3120,
        licence=f"GTA5: research and educational use; {CITYSCAPES_LICENCE}",
        citation=f"Richter et al. 2016 (GTA5), arXiv:1608.02192; {CITYSCAPES_CITATION}",
        homepage="https://download.visinf.tu-darmstadt.de/data/from_games/",
        layout=f"GTA5/{{images,labels}}/NUMBER.png, {CITYSCAPES_LAYOUT}",
        manual=f"{GET_GTA5}\n{GET_CITYSCAPES}",
    )

    def open(self, index: int) -> MaskedDomain:
        return (gta5, cityscapes)[index](self)


@DATASETS.register("SYNTHIA-Cityscapes")
class SYNTHIACityscapes(StreetScenes):
    """From rendered streets (Ros et al. 2016) to German ones, 16 classes; mIoU* is the mean over ``subsets["thirteen"]``.

    Parts as in :class:`GTA5Cityscapes`; SYNTHIA's images 9000 to 9399 are its validation images. Its lane markings have no
    class, as in MaxSquare's release; "SYNTHIA-Cityscapes-lanes" counts them as road, as CRST's does.

    Attributes:
        lanes_are_road: whether lane markings are counted as road.
    """

    class_set = SIXTEEN
    lanes_are_road: ClassVar[bool] = False
    subsets = {"thirteen": THIRTEEN.names}
    metadata = Metadata(
        name="SYNTHIA-Cityscapes",
        description="segmentation of streets, from rendered to real ones, 16 classes",
        task="segmentation",
        domains=("SYNTHIA", "Cityscapes"),
        pairs=(("SYNTHIA", "Cityscapes"),),
        classes=SIXTEEN.names,
        palette=SIXTEEN.palette,
        counts=(9400, 3475),
        image_size=256,
        image_width=512,
        protocol="adaptation",
        protocols=("adaptation",),
        steps=23500,
        checkpoint_freq=1175,
        licence=f"SYNTHIA: CC BY-NC-SA 3.0; {CITYSCAPES_LICENCE}",
        citation=f"Ros et al. 2016, The SYNTHIA dataset, CVPR; {CITYSCAPES_CITATION}",
        homepage="http://synthia-dataset.net/downloads/",
        layout=f"SYNTHIA/RGB/NUMBER.png, SYNTHIA/GT/LABELS/NUMBER.png, {CITYSCAPES_LAYOUT}",
        manual=f"{GET_SYNTHIA}\n{GET_CITYSCAPES}",
    )

    def open(self, index: int) -> MaskedDomain:
        return cityscapes(self) if index else synthia(self, self.lanes_are_road)


@DATASETS.register("SYNTHIA-Cityscapes-lanes")
class SYNTHIACityscapesLanes(SYNTHIACityscapes):
    """:class:`SYNTHIACityscapes` with SYNTHIA's lane markings counted as road."""

    lanes_are_road = True
    metadata = SYNTHIACityscapes.metadata.model_copy(
        update={
            "name": "SYNTHIA-Cityscapes-lanes",
            "description": "SYNTHIA-Cityscapes with lane markings counted as road",
        }
    )


@DATASETS.register("Cityscapes-NTHU")
class CityscapesNTHU(StreetScenes):
    """From German streets to those of Rio, Rome, Taipei and Tokyo (Chen et al. 2017), 13 classes.

    A city has 3,200 images without masks (``uda``) and 100 with (``test``). In the lists commonly used, test images also
    lie among those adapted to: Rome 17, Rio 24, Tokyo 34, Taipei 89 of 100. No mask leaks, but what was adapted to is
    then what is tested; the log tells how many are found. "Cityscapes-NTHU-disjoint" leaves them out.

    Attributes:
        drop_overlap: whether images that are tested on are left out of what is adapted to.
    """

    class_set = THIRTEEN
    drop_overlap: ClassVar[bool] = False
    metadata = Metadata(
        name="Cityscapes-NTHU",
        description="segmentation of streets, from German cities to four others, 13 classes",
        task="segmentation",
        domains=("Cityscapes", *NTHU_CITIES),
        pairs=tuple(("Cityscapes", city) for city in NTHU_CITIES),
        classes=THIRTEEN.names,
        palette=THIRTEEN.palette,
        counts=(3475, 3300, 3300, 3300, 3300),
        image_size=256,
        image_width=512,
        protocol="adaptation",
        protocols=("adaptation",),
        steps=11130,
        checkpoint_freq=1113,
        licence=f"{CITYSCAPES_LICENCE}; NTHU: not stated",
        citation=f"Chen et al. 2017, No more discrimination (NTHU), arXiv:1704.08509; {CITYSCAPES_CITATION}",
        homepage="https://yihsinchen.github.io/segmentation_adaptation/",
        layout=(
            f"{CITYSCAPES_LAYOUT}, NTHU/{{{','.join(NTHU_CITIES)}}}/Images/{{Train,Test}}/NAME.jpg (or .png), "
            "NTHU/CITY/Labels/Test/NAME_eval.png"
        ),
        manual=f"{GET_CITYSCAPES}\n{GET_NTHU}",
    )

    def open(self, index: int) -> MaskedDomain:
        if index == 0:
            return cityscapes(self)
        city = self.metadata.domains[index]
        domain, shared = nthu_city(self, city, self.drop_overlap)
        if shared:
            kept = "they are left out there" if self.drop_overlap else "Cityscapes-NTHU-disjoint leaves them out there"
            tested = len(domain.parts["test"])
            log.info(
                "%s: %d of the %d test images are, by name, also adapted to; %s: %s",
                city, len(shared), tested, kept, listing(shared, 3),
            )  # fmt: skip
        return domain


@DATASETS.register("Cityscapes-NTHU-disjoint")
class CityscapesNTHUDisjoint(CityscapesNTHU):
    """:class:`CityscapesNTHU` without the images that are tested on among those adapted to."""

    drop_overlap = True
    metadata = CityscapesNTHU.metadata.model_copy(
        update={
            "name": "Cityscapes-NTHU-disjoint",
            "description": "Cityscapes-NTHU without the images tested on among those adapted to",
        }
    )
