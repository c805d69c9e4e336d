"""RDED, and a random choice of real images as its control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.distilled import RDED_PAPER, Distilled, DistilledHparams
from dfdgbench.hparams import Hparams, PerDataset, group, hparam
from dfdgbench.settings import DISTILLED
from dfdgbench.stages.pool import Shard
from dfdgbench.stages.relabel import Relabelling
from dfdgbench.stages.select_real import ChooseRandom, ChooseReal, Choosing, StitchCrops
from dfdgbench.stages.squeeze import Squeezed

# Images a class whose bytes are those of DTL's ten and its transfer network (spec, section 8).
STORAGE_OF_DTL = PerDataset(10, {"VLCS": 19, "PACS": 16, "OfficeHome": 11, "TerraIncognita": 15})


class StitchedLabels(Relabelling):
    """RDED's relabelling: cells are shuffled, and crops are larger."""

    crop: float = hparam(0.5, gt=0, le=1, doc="smallest area of the random crop")
    shuffle_cells: bool = hparam(True, doc="exchange halves of each image first, left and right, top and bottom")


class RDEDHparams(DistilledHparams):
    """Hyper-parameters of RDED."""

    recover: Choosing = group(Choosing, searched=False, doc="the images")
    relabel: StitchedLabels = group(StitchedLabels, searched=False, doc="the soft labels; the owner's")


@register("RDED", setting=DISTILLED, paper=RDED_PAPER)
class RDED(Distilled):
    """Stitch four crops of real images that the squeezed model recognises into each image; no pixel is optimised.

    Presets: ``storage-of-dtl`` (as many bytes as DTL-DSM at 10 images a class), ``live-bn``, ``mini``.
    """

    Hparams = RDEDHparams
    more_presets = {"storage-of-dtl": {"ipc": STORAGE_OF_DTL}}

    @classmethod
    def recovered(cls, made_from: Squeezed, hparams: Any) -> Sequence[Shard]:
        return [StitchCrops(made_from, hparams.recover, hparams.ipc, made_from.models)]


class NoChoice(Hparams):
    """A random choice has no hyper-parameters."""


@register("Random-real", setting=DISTILLED, paper=RDED_PAPER)
class RandomReal(Distilled):
    """Control: random real images of each class, relabelled as all methods' are."""

    @classmethod
    def recovered(cls, made_from: Squeezed, hparams: Any) -> Sequence[Shard]:
        shard: ChooseReal = ChooseRandom(made_from, NoChoice(), hparams.ipc, ())
        return [shard]
