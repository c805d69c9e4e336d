"""DomainNet: 345 classes of things in six styles."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dfdgbench.datasets.base import DATASETS, Dataset, Keys, Metadata, Source
from dfdgbench.datasets.disk.lists import Lists, read_parts, refuse_overlap
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.errors import DataError, listing

_CLASSES = """
The_Eiffel_Tower The_Great_Wall_of_China The_Mona_Lisa aircraft_carrier airplane alarm_clock ambulance angel
animal_migration ant anvil apple arm asparagus axe backpack banana bandage barn baseball baseball_bat basket
basketball bat bathtub beach bear beard bed bee belt bench bicycle binoculars bird birthday_cake blackberry
blueberry book boomerang bottlecap bowtie bracelet brain bread bridge broccoli broom bucket bulldozer bus bush
butterfly cactus cake calculator calendar camel camera camouflage campfire candle cannon canoe car carrot castle cat
ceiling_fan cell_phone cello chair chandelier church circle clarinet clock cloud coffee_cup compass computer cookie
cooler couch cow crab crayon crocodile crown cruise_ship cup diamond dishwasher diving_board dog dolphin donut door
dragon dresser drill drums duck dumbbell ear elbow elephant envelope eraser eye eyeglasses face fan feather fence
finger fire_hydrant fireplace firetruck fish flamingo flashlight flip_flops floor_lamp flower flying_saucer foot
fork frog frying_pan garden garden_hose giraffe goatee golf_club grapes grass guitar hamburger hammer hand harp hat
headphones hedgehog helicopter helmet hexagon hockey_puck hockey_stick horse hospital hot_air_balloon hot_dog
hot_tub hourglass house house_plant hurricane ice_cream jacket jail kangaroo key keyboard knee knife ladder lantern
laptop leaf leg light_bulb lighter lighthouse lightning line lion lipstick lobster lollipop mailbox map marker
matches megaphone mermaid microphone microwave monkey moon mosquito motorbike mountain mouse moustache mouth mug
mushroom nail necklace nose ocean octagon octopus onion oven owl paint_can paintbrush palm_tree panda pants
paper_clip parachute parrot passport peanut pear peas pencil penguin piano pickup_truck picture_frame pig pillow
pineapple pizza pliers police_car pond pool popsicle postcard potato power_outlet purse rabbit raccoon radio rain
rainbow rake remote_control rhinoceros rifle river roller_coaster rollerskates sailboat sandwich saw saxophone
school_bus scissors scorpion screwdriver sea_turtle see_saw shark sheep shoe shorts shovel sink skateboard skull
skyscraper sleeping_bag smiley_face snail snake snorkel snowflake snowman soccer_ball sock speedboat spider spoon
spreadsheet square squiggle squirrel stairs star steak stereo stethoscope stitches stop_sign stove strawberry
streetlight string_bean submarine suitcase sun swan sweater swing_set sword syringe t-shirt table teapot teddy-bear
telephone television tennis_racquet tent tiger toaster toe toilet tooth toothbrush toothpaste tornado tractor
traffic_light train tree triangle trombone truck trumpet umbrella underwear van vase violin washing_machine
watermelon waterslide whale wheel windmill wine_bottle wine_glass wristwatch yoga zebra zigzag
"""

CLASSES = tuple(_CLASSES.split())
"""In the order in which DomainBed numbers them: by byte value, capitals first."""


def _collated(name: str) -> str:
    return "".join(filter(str.isalpha, name)).lower()


_RANKS = {name: rank for rank, name in enumerate(sorted(CLASSES, key=_collated))}

OFFICIAL_LABELS = tuple(_RANKS[name] for name in CLASSES)
"""The label, from 0, that the official lists give to each of ``CLASSES``: alphabetical, case and signs ignored."""

BOSTON = "http://csr.bu.edu/ftp/visda/2019/multi-source"
DMG = "https://raw.githubusercontent.com/prithv1/DMG/6b162b4958b52f4d99d51663e053f58f5a77e7cc/data/DomainNet/tv_0.9_splits"
DOMAINBED = "https://raw.githubusercontent.com/facebookresearch/DomainBed/b93c22a1cfc3b2428398272c1a116c8de1f4139e"
DUPLICATES = "domain_net_duplicates.txt"
UNCLEANED_COUNTS = (48833, 53201, 75759, 172500, 175327, 70386)
"""Images per domain before the duplicates are removed."""

LISTS = Lists(
    names={part: f"{{domain}}_{part}.txt" for part in ("train", "val", "test")},
    numbers=OFFICIAL_LABELS,
    needed=("train", "test"),
    hint=f"The lists must be those of the cleaned version, {BOSTON}/domainnet/txt/.",
)

LIST_DIGESTS = {
    "clipart_train": "aca7cb90faeee49d04ffd3c0d7983532264cd9bdc4e3b0e777d3849ae1c772b2",
    "clipart_val": "5bae149b4898fd42ffa632648ad4c15479a03294fd2ed1cbb0b69c783137cc2d",
    "clipart_test": "62c8e36aaba1c41ad9e249099739707220a44c08f167b37ef420f34a31628a6b",
    "infograph_train": "a33593ce5c7fe0386f6ef5783283287681d3b158299e43718f9fadf57f71607f",
    "infograph_val": "41616787270c62767875a9726b578e09f88895c0b574b21b0e91133192a73344",
    "infograph_test": "413cfa54ac92e7e6b242f4f09fbd9c8ace85c4deaf3cb6c81ff6b68264460136",
    "painting_train": "6e1612804e68fe217e057c65d318e07b3d4a8dfe133a8a7d6aae8a3e4e14bea8",
    "painting_val": "a1a9ea29e7041a06e593edd858e8823c114d68d45841a638463752ac0b77d201",
    "painting_test": "11472b13b5188e09f06918b12eebb660588c97a20e43e268d9b02e3e37eb8f97",
    "quickdraw_train": "",
    "quickdraw_val": "bf186989c031dd38bef4180ee9131bf0b86c9ae8e02819f9ac7fb377969bc573",
    "quickdraw_test": "2a00a60650a453c65c356da748fec54084a197272137c440e7d52d08947357bf",
    "real_train": "cabf832d1e2102880095a52829f2fe09ba4a488ef9efeb605a8dc5add9c98c97",
    "real_val": "08638147ac781d0290a9b2101354f08629dd0252823c175cd63af2919c809038",
    "real_test": "2b3f75bcde309aeb5931292084b2162e936b5f189e3bb1ad716f0f74c460864c",
    "sketch_train": "e1e6f42b8059a931d52d7c9ee38ae359229e7e6c52f8f604bb4c9bda3e7fc50c",
    "sketch_val": "a4b437851d23c98407d75d3626424291019e86b75799861ed08a30ae9e0dfd62",
    "sketch_test": "3fb48fca18c507c4321f007c3f62b308ec232ff6928cbfe2af64e76ec366e840",
}
"""SHA-256 of the lists of DMG's release; its test lists are the official ones."""


def _sources() -> tuple[Source, ...]:
    archives = ("groundtruth/clipart", "infograph", "groundtruth/painting", "quickdraw", "real", "sketch")
    images = [
        Source(file=f"{path.split('/')[-1]}.zip", urls=(f"{BOSTON}/{path}.zip",), into="domain_net")
        for path in archives
    ]
    duplicates = Source(
        file=DUPLICATES,
        urls=(f"{DOMAINBED}/domainbed/misc/{DUPLICATES}",),
        sha256="a52b4ab70203f4f3df381077694dba3e33ff44c26407e1c5faca76919c702770",
        size=365663,
    )
    lists = []
    for name, digest in LIST_DIGESTS.items():
        official = (f"{BOSTON}/domainnet/txt/{name}.txt",) if name.endswith("_test") else ()
        urls = (f"{DMG}/{name}.txt", *official)
        lists.append(Source(file=f"{name}.txt", urls=urls, sha256=digest, into="domain_net"))
    return (*images, duplicates, *lists)


@DATASETS.register("DomainNet")
class DomainNet(Dataset):
    """Clip art, infographics, paintings, quick drawings, photographs and sketches (Peng et al. 2019), 586,575 images.

    The published archives hold 9,431 duplicates, which are deleted; every class is left in every domain. What remains is
    exactly what the official lists of the cleaned version name. They become the parts train, val and test where
    ``DOMAIN_train.txt`` and ``DOMAIN_test.txt`` lie in ``domain_net/``: lines ``clipart/apple/clipart_008_000001.jpg 8``,
    labels from 0. With ``DOMAIN_val.txt`` beside them (those of DMG, which are downloaded: a tenth of the official train
    list, Chattopadhyay et al. 2020), train is what the train list names without it, so both DMG's and the official train
    lists do; without them the protocol cuts validation itself.
    """

    metadata = Metadata(
        name="DomainNet",
        description="things in six styles (clip art, infograph, painting, quick drawing, real, sketch), 345 classes",
        domains=("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
        labels=("clip", "info", "paint", "quick", "real", "sketch"),
        classes=CLASSES,
        counts=(48129, 51605, 72266, 172500, 172947, 69128),
        image_size=224,
        checkpoint_freq=1000,
        network="resnet50",
        protocols=("domainbed", "official"),
        folder="domain_net",
        licence="not stated; made available for non-commercial research under fair use",
        citation="Peng et al. 2019, Moment matching for multi-source domain adaptation, arXiv:1812.01754",
        homepage="http://ai.bu.edu/M3SDA/",
        layout=(
            "domain_net/{clipart,infograph,painting,quickdraw,real,sketch}/{The_Eiffel_Tower,...,zigzag}/IMAGE, and for "
            "the protocol 'official' domain_net/{clipart,...}_{train,val,test}.txt"
        ),
        sources=_sources(),
    )

    def open(self, index: int) -> FolderDomain:
        name, counts = self.metadata.domains[index], self.metadata.counts
        folder = self.domain_folder(index)
        domain = folder_domain(name, folder, self.metadata.classes)
        if counts is not None and len(domain) == UNCLEANED_COUNTS[index] != counts[index]:
            raise DataError(
                f"DomainNet: '{name}' has {len(domain)} images, {len(domain) - counts[index]} of them duplicates that "
                f"DomainBed removes ({counts[index]} are expected). Delete in {folder.parent} the files that "
                f"{DOMAINBED}/domainbed/misc/{DUPLICATES} lists, or move {folder} away and type dfdgbench data download DomainNet."
            )
        domain.parts = official_parts(folder.parent, domain)
        return domain

    @classmethod
    def prepare(cls, staging: Path) -> None:
        """Delete the duplicates that DomainBed's list names. One that is already gone does no harm."""
        for file in read_duplicates(staging / DUPLICATES, cls.metadata.domains):
            (staging / cls.metadata.folder / file).unlink(missing_ok=True)
        (staging / DUPLICATES).unlink()


def read_duplicates(path: Path, domains: tuple[str, ...]) -> list[str]:
    """The paths ``domain/class/image`` of a list with one a line. Raises ``DataError`` for anything else in it."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(
            f"DomainNet's list of duplicates, {path}, cannot be read ({error}). Download it again."
        ) from error
    files = [line.strip() for line in lines if line.strip()]
    form = re.compile(rf"({'|'.join(domains)})/\w[\w-]*/\w[\w.-]*")
    strange = [file for file in files if not form.fullmatch(file)]
    if strange or not files:
        raise DataError(
            f"DomainNet's list of duplicates, {path}, must hold lines 'domain/class/image'; it holds "
            f"{listing(strange, 3) or 'nothing'}. Download it again."
        )
    return files


def official_parts(root: Path, domain: FolderDomain) -> dict[str, Keys]:
    """The parts train, val (where there is a list) and test of ``domain``, or nothing where there are no lists."""
    parts = read_parts(root, domain, LISTS)
    if "val" in parts:
        parts["train"] = parts["train"][~np.isin(parts["train"], parts["val"])]
        refuse_overlap(root, domain, parts, "val", "test")
    if parts:
        refuse_overlap(root, domain, parts, "train", "test")
    return parts
