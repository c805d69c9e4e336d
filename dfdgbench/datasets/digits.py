"""Digits: the ten digits as four corpora, the small benchmark of data-free domain generalisation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata, Source
from dfdgbench.datasets.disk import corpora, formats, mnistm
from dfdgbench.datasets.disk.parts import Part, joined
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.errors import MissingDataError

SIZE = 32

MNIST_URLS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
# SHA-256 of MNIST, SVHN, USPS: torchvision/prototype/datasets/_builtin.
MNIST_FILES = (
    ("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
SVHN_URL = "http://ufldl.stanford.edu/housenumbers/"
SVHN_FILES = (
    ("train_32x32.mat", 182040794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
    ("test_32x32.mat", 64275384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
)
USPS_URL = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"
USPS_FILES = (
    ("usps.bz2", 6579383, "3771e9dd6ba685185f89867b6e249233dd74652389f263963b3b741e994b034f"),
    ("usps.t.bz2", 1831726, "a9c0164e797d60142a50604917f0baa604f326e9a689698763793fa5d12ffc4e"),
)
# Published with an MD5 only: 859df31c91afe82e80e5012ba928f279.
MNISTM_ARCHIVE = Source(
    file="mnist_m.tar.gz",
    urls=(
        "https://cornell.box.com/shared/static/jado7quprg6hzzdubvwzh9umr75damwi",
        "drive:0B_tExHiYS-0veklUZHFYT19KYjg",
        "drive:1iij6oj3akjJtaVe9eV-6UnRPJSO4GpdH",
    ),
    into="Digits/MNIST-M",
)
BSDS_ARCHIVE = Source(
    file="BSR_bsds500.tgz",
    urls=tuple(
        f"{host}/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
        for host in ("https://www2.eecs.berkeley.edu", "http://www.eecs.berkeley.edu")
    ),
    into="Digits/BSDS500",
)


def sources(urls: tuple[str, ...], files: tuple[tuple[str, int, str], ...], into: str) -> tuple[Source, ...]:
    """One source for each of ``files`` (name, bytes, SHA-256), which lies below every one of ``urls``."""
    return tuple(
        Source(file=file, urls=tuple(url + file for url in urls), sha256=digest, size=size, into=into)
        for file, size, digest in files
    )


def _metadata(name: str, description: str, mnistm_count: int, mnistm_layout: str, archive: Source) -> Metadata:
    return Metadata(
        name=name,
        description=description,
        domains=("MNIST", "MNIST-M", "SVHN", "USPS"),
        classes=formats.DIGITS,
        counts=(70000, mnistm_count, 99289, 9298),
        image_size=SIZE,
        hflip=False,
        small=True,
        network="resnet18",
        protocol="official",
        protocols=("domainbed", "official", "authors"),
        folder="Digits",
        licence="MNIST: CC BY-SA 3.0; SVHN: non-commercial use; MNIST-M, USPS: not stated",
        citation="LeCun et al. 1998 (MNIST), Ganin et al. 2015 (MNIST-M), Netzer et al. 2011 (SVHN), Hull 1994 (USPS)",
        homepage="http://ufldl.stanford.edu/housenumbers/",
        layout=(
            "Digits/MNIST/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] (or torchvision's MNIST/raw/, or images "
            f"MNIST/{{train,test}}/DIGIT/NUMBER.png), {mnistm_layout}, "
            "Digits/SVHN/{train,test}_32x32.mat, Digits/USPS/{usps,usps.t}[.bz2] (or usps.h5, or {zip.train,zip.test}[.gz])"
        ),
        sources=(
            *sources(MNIST_URLS, MNIST_FILES, "Digits/MNIST"),
            archive,
            *sources((SVHN_URL,), SVHN_FILES, "Digits/SVHN"),
            *sources((USPS_URL,), USPS_FILES, "Digits/USPS"),
        ),
    )


@DATASETS.register("Digits")
class Digits(Dataset):
    """MNIST, MNIST-M, SVHN and USPS at 32x32 in three channels, train and test parts as published.

    A domain is its train part followed by its test part: MNIST 60000 + 10000, MNIST-M 59001 + 9001, SVHN 73257 + 26032
    (without ``extra``), USPS 7291 + 2007. Grey images are repeated three times; other sizes are resized bilinearly.
    MNIST-M is made of MNIST's digits, so a teacher of one has seen the other's.
    """

    metadata = _metadata(
        "Digits",
        "ten digits, written and photographed: MNIST, MNIST-M, SVHN, USPS",
        68002,
        "Digits/MNIST-M/{mnist_m_train/, mnist_m_test/, mnist_m_train_labels.txt, mnist_m_test_labels.txt}",
        MNISTM_ARCHIVE,
    )

    @classmethod
    def prepare(cls, staging: Path) -> None:
        """Take MNIST-M out of the folder that its archive puts around it."""
        folder = staging / "Digits/MNIST-M"
        inner = next((path.parent for path in folder.glob("*/mnist_m_train_labels.txt")), None)
        if inner is not None:
            for path in list(inner.iterdir()):
                path.rename(folder / path.name)
            inner.rmdir()

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        """As of any dataset; the other spellings under which a corpus is found are known too."""
        folders = (*corpora.FOLDERS, *mnistm.PHOTO_FOLDERS)
        known = {folder.split("/")[1] for folder in folders if folder.startswith("Digits/")}
        return [name for name in super().strays(data_dir) if name not in known]

    def open(self, index: int) -> ArrayDomain:
        readers = (corpora.read_mnist, self.read_mnistm, corpora.read_svhn, corpora.read_usps)
        train, test = ((formats.as_rgb(images, SIZE), labels) for images, labels in readers[index](self.root()))
        return joined(self.metadata.domains[index], train, test, len(self.metadata.classes))

    def listed(self, index: int) -> int:
        """As of any dataset, by the headers of the corpus' files."""
        counters = (corpora.count_mnist, self.count_mnistm, corpora.count_svhn, corpora.count_usps)
        return counters[index](self.root())

    def read_mnistm(self, root: Path) -> tuple[Part, Part]:
        """Train and test part of MNIST-M."""
        with _other_way():
            return corpora.read_mnistm(root)

    def count_mnistm(self, root: Path) -> int:
        """Images of both parts of MNIST-M, none of which is decoded."""
        with _other_way():
            return corpora.count_mnistm(root)


@contextmanager
def _other_way() -> Iterator[None]:
    """Where MNIST-M's archive is missing, say what there is to be had instead."""
    try:
        yield
    except MissingDataError as error:
        raise MissingDataError(
            f"{error} Where the archive is not to be had, MNIST-M can be made of MNIST and photos: type "
            f"{mnistm.COMMAND}, and --dataset DigitsBuilt."
        ) from error


@DATASETS.register("DigitsBuilt")
class DigitsBuilt(Digits):
    """Digits with an MNIST-M made here by its recipe, of 60000 + 10000 images, for those who cannot get its archive.

    Another dataset under another name, so that no record or table mixes the two. The other three domains are the same.
    Image i of its MNIST-M is digit i of MNIST.
    """

    metadata = _metadata(
        "DigitsBuilt",
        "Digits, with an MNIST-M that is made here of MNIST and photos instead of its archive",
        70000,
        f"{mnistm.BUILT} (made of MNIST and BSDS500)",
        BSDS_ARCHIVE,
    )

    @classmethod
    def prepare(cls, staging: Path) -> None:
        """Keep of BSDS500 the photos that MNIST-M is made of."""
        photos = mnistm.photo_folder(staging)
        if photos is not None:
            apart, home = staging / ".photos", staging / "Digits/BSDS500"
            photos.rename(apart)
            shutil.rmtree(home)
            (home / "data/images").mkdir(parents=True)
            apart.rename(home / "data/images/train")

    @classmethod
    def build(cls, data_dir: Path) -> list[str]:
        """Make MNIST-M by its recipe where it is not there yet."""
        if (data_dir / mnistm.BUILT).is_file():
            return []
        mnistm.build_mnistm(data_dir)
        return [
            f"MNIST-M was made of MNIST's digits and BSDS500's photos: {mnistm.BUILT}, 60000 + 10000 images where its archive "
            "has 59001 + 9001. It belongs to --dataset DigitsBuilt, and not to --dataset Digits."
        ]

    def read_mnistm(self, root: Path) -> tuple[Part, Part]:
        """Train and test part of the MNIST-M that was made here."""
        return mnistm.read_built_mnistm(root)

    def count_mnistm(self, root: Path) -> int:
        """Images of both parts of the MNIST-M that was made here, none of which is decoded."""
        return mnistm.count_built_mnistm(root)
