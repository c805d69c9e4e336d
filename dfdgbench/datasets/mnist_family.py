"""MNIST as it is, and DomainBed's two datasets made of it: ColoredMNIST and RotatedMNIST.

DomainBed shuffles, colours and mislabels with the run's global generator, so that its domains' content differs from job to job,
even among those of one trial that selection compares. Here a domain's content is a function of the dataset's name and the
domain's index alone: numbers compare, but no image is at the place that any run of DomainBed had it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from dfdgbench.datasets.base import DATASETS, Dataset, Keys, Labels, Metadata
from dfdgbench.datasets.digits import MNIST_FILES, MNIST_URLS, sources
from dfdgbench.datasets.disk.corpora import MNIST_SIDE, count_mnist, read_mnist
from dfdgbench.datasets.disk.formats import DIGITS
from dfdgbench.datasets.disk.parts import AGAIN, Part, Pixels, joined
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.errors import DataError
from dfdgbench.seeds import seed_hash

SOURCES = sources(MNIST_URLS, MNIST_FILES, "MNIST/raw")
LAYOUT = (
    "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] (torchvision's, or MNIST/ or Digits/MNIST/ itself, or images "
    "MNIST/{train,test}/DIGIT/NUMBER.png)"
)
LICENCE = "CC BY-SA 3.0"

COLOUR_NOISE = (0.1, 0.2, 0.9)
"""Of each domain of ColoredMNIST, the probability that an image's colour is not that of its label."""
LABEL_NOISE = 0.25
ANGLES = (0, 15, 30, 45, 60, 75)
"""Of each domain of RotatedMNIST, in degrees against the clock."""


class MNISTBased(Dataset):
    """What is read from MNIST's files alone."""

    @classmethod
    def strays(cls, data_dir: Path) -> list[str]:
        """None: no domain has a folder of its own."""
        return []


@DATASETS.register("MNIST")
class MNIST(MNISTBased):
    """The handwritten digits of LeCun et al. at 28x28 in grey, one domain of 60,000 train and 10,000 test images."""

    metadata = Metadata(
        name="MNIST",
        description="handwritten digits, one domain, as published",
        domains=("MNIST",),
        classes=DIGITS,
        counts=(70000,),
        image_size=MNIST_SIDE,
        native_size=MNIST_SIDE,
        channels=1,
        hflip=False,
        augment=False,
        small=True,
        network="MNIST_CNN",
        checkpoint_freq=100,
        protocol="official",
        protocols=("domainbed", "official"),
        folder="MNIST",
        licence=LICENCE,
        citation="LeCun et al. 1998, Gradient-based learning applied to document recognition",
        homepage="https://yann.lecun.org/exdb/mnist/",
        layout=LAYOUT,
        sources=SOURCES,
    )

    def open(self, index: int) -> ArrayDomain:
        train, test = ((images[..., None], labels) for images, labels in read_mnist(self.root()))
        return joined(self.metadata.domains[index], train, test, len(DIGITS))

    def listed(self, index: int) -> int:
        """As of any dataset, by the headers of MNIST's files."""
        return count_mnist(self.root())


class SharedMNIST(MNISTBased):
    """All of MNIST in one shuffled row, dealt out to the domains in turn: domain i of n has places i, i + n, i + 2n, ..."""

    @cached_property
    def shuffled(self) -> Part:
        """Images [N, 28, 28] and labels [N] in an order that the dataset's name decides."""
        whole = joined("MNIST", *read_mnist(self.root()), len(DIGITS))
        self._check(len(whole))
        order = np.random.RandomState(seed_hash(self.metadata.name)).permutation(len(whole))
        return whole.images[order], whole.labels[order]

    @cached_property
    def total(self) -> int:
        """Images of all domains, none of which is decoded."""
        count = count_mnist(self.root())
        self._check(count)
        return count

    def _check(self, count: int) -> None:
        """Refuse a corpus of which some is missing, which would deal every digit to another place."""
        expected = sum(self.metadata.counts or ())
        if count != expected:
            raise DataError(f"MNIST below {self.data_dir} has {count} images, {expected} are expected. {AGAIN}")

    def listed(self, index: int) -> int:
        """As of any dataset, by the headers of MNIST's files."""
        return len(range(index, self.total, len(self.metadata.domains)))

    def dealt(self, index: int) -> Part:
        """Images [N, 28, 28] and labels [N] of one domain."""
        images, labels = self.shuffled
        step = len(self.metadata.domains)
        return images[index::step], labels[index::step]


def coloured(digits: Pixels, labels: Labels, noise: float, draw: np.random.RandomState) -> Part:
    """Digits in one of two colours that tell more of the label than the shape does.

    The label is 1 for the digits 0 to 4 and 0 for 5 to 9, then flipped with probability 0.25; the colour is the label, flipped
    with probability ``noise``. An image is all in its colour's channel, the other channel is 0.

    Args:
        digits: uint8 [N, H, W].
        labels: the digit of each image, int64 [N].

    Returns:
        Images uint8 [N, H, W, 2] and labels int64 [N].
    """
    count = len(digits)
    target = (labels < 5) ^ (draw.random_sample(count) < LABEL_NOISE)
    colour: Keys = (target ^ (draw.random_sample(count) < noise)).astype(np.int64)
    images = np.zeros((*digits.shape, 2), dtype=np.uint8)
    images[np.arange(count), ..., colour] = digits
    return images, target.astype(np.int64)


def rotated(digits: Pixels, angle: float) -> Pixels:
    """Digits uint8 [N, H, W] turned by ``angle`` degrees against the clock, bilinear, corners filled with 0.

    What torchvision's ``rotate`` with bilinear interpolation does to PIL images.
    """
    made = np.empty_like(digits)
    for row, digit in enumerate(digits):
        made[row] = np.asarray(Image.fromarray(digit).rotate(angle, Image.Resampling.BILINEAR))
    return made


@DATASETS.register("ColoredMNIST")
class ColoredMNIST(SharedMNIST):
    """MNIST in two colours (Arjovsky et al. 2019): the colour agrees with the label in 90, 80 and 10 % of the images.

    Two channels of 28x28 pixels, all 70,000 digits and no sub-sampling, as in DomainBed; a quarter of the labels is flipped, so
    that the shape tells 75 % of them. Unlike DomainBed's, the content does not depend on the run's seed.
    """

    metadata = Metadata(
        name="ColoredMNIST",
        description="digits below 5 or not, in a colour that agrees with the label in 90, 80 and 10 % of the images",
        domains=("+90%", "+80%", "-90%"),
        classes=("5 to 9", "0 to 4"),
        counts=(23334, 23333, 23333),
        image_size=MNIST_SIDE,
        native_size=MNIST_SIDE,
        channels=2,
        hflip=False,
        augment=False,
        small=True,
        network="MNIST_CNN",
        checkpoint_freq=100,
        folder="MNIST",
        licence=LICENCE,
        citation="Arjovsky et al. 2019, Invariant risk minimization, arXiv:1907.02893",
        homepage="https://github.com/facebookresearch/InvariantRiskMinimization",
        layout=LAYOUT,
        sources=SOURCES,
    )

    def open(self, index: int) -> ArrayDomain:
        draw = np.random.RandomState(seed_hash(self.metadata.name, index))
        images, labels = coloured(*self.dealt(index), COLOUR_NOISE[index], draw)
        return ArrayDomain(self.metadata.domains[index], images, labels)


@DATASETS.register("RotatedMNIST")
class RotatedMNIST(SharedMNIST):
    """MNIST turned by 0 to 75 degrees (Ghifary et al. 2015), another sixth of the digits at every angle.

    One channel of 28x28 pixels. Unlike DomainBed's, the content does not depend on the run's seed.
    """

    metadata = Metadata(
        name="RotatedMNIST",
        description="handwritten digits turned by 0, 15, 30, 45, 60 and 75 degrees",
        domains=tuple(str(angle) for angle in ANGLES),
        classes=DIGITS,
        counts=(11667, 11667, 11667, 11667, 11666, 11666),
        image_size=MNIST_SIDE,
        native_size=MNIST_SIDE,
        channels=1,
        hflip=False,
        augment=False,
        small=True,
        network="MNIST_CNN",
        checkpoint_freq=100,
        folder="MNIST",
        licence=LICENCE,
        citation="Ghifary et al. 2015, Domain generalization for object recognition with multi-task autoencoders, "
        "arXiv:1508.07680",
        homepage="https://github.com/facebookresearch/DomainBed",
        layout=LAYOUT,
        sources=SOURCES,
    )

    def open(self, index: int) -> ArrayDomain:
        digits, labels = self.dealt(index)
        return ArrayDomain(self.metadata.domains[index], rotated(digits, ANGLES[index])[..., None], labels)
