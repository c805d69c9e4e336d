"""DTL and DSM: one set in the average style of the source domains, and a network that renders it in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from dfdgbench.algorithms.base import register
from dfdgbench.algorithms.distilled import OURS_PAPER, Distilled, DistilledHparams
from dfdgbench.algorithms.erm import ERM
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.errors import ConfigError
from dfdgbench.hparams import Hparams, group, hparam
from dfdgbench.settings import DISTILLED
from dfdgbench.stages.distilled import DistilledSet, Part
from dfdgbench.stages.label_views import Mixture
from dfdgbench.stages.pool import Shard
from dfdgbench.stages.select_real import Choosing, StitchCrops
from dfdgbench.stages.squeeze import Squeezed, require_statistics, squeezed
from dfdgbench.stages.statistics import StyleMeasure, Styles
from dfdgbench.stages.style_recover import RecoverStyle, StyleRecovery, batch_size
from dfdgbench.stages.transfer import LearnTransfer, TransferLearning


class StyleMixing(Hparams):
    """Hyper-parameters of domain style mixing (spec, section 5)."""

    alpha: float = hparam(0.1, gt=0, doc="of Beta(alpha, alpha), which the first style's share is drawn from")
    share: float | None = hparam(None, ge=0, le=1, doc="the first style's share, where it is not drawn")
    pair: Literal["distinct", "any"] = hparam("distinct", doc="whether the second style is another domain's")
    expand: bool = hparam(False, doc="show every image in every style in each epoch, and not in one that is drawn")
    include_raw: bool = hparam(False, doc="show every image as it is, too")


class DTLHparams(DistilledHparams):
    """Hyper-parameters of DTL-DSM."""

    style: Literal["avg-style", "per-style"] = hparam(
        "avg-style", doc="one set in the mean style of the source domains, or one set in the style of each"
    )
    normalize: bool = hparam(True, doc="divide differences of styles by the spread of the target's channels")
    transfer: bool = hparam(True, doc="render images in the styles of the source domains (domain transfer learning)")
    mix: bool = hparam(True, doc="mix two domains' styles (domain style mixing); pure styles otherwise")
    images: Literal["own", "rded"] = hparam(
        "own", doc="what is rendered: the recovered images, or RDED's in their place"
    )
    recover: StyleRecovery = group(StyleRecovery, searched=False, doc="the images")
    styles: StyleMeasure = group(StyleMeasure, searched=False, doc="the styles of the source domains")
    psi: TransferLearning = group(TransferLearning, searched=False, doc="the transfer network")
    dsm: StyleMixing = group(StyleMixing, searched=False, doc="the mixing of styles")
    rded: Choosing = group(Choosing, searched=False, doc="RDED's images, where they are rendered")


@register("DTL-DSM", setting=DISTILLED, paper=OURS_PAPER)
class DTLDSM(Distilled):
    """Recover one set in the mean style of the source domains; show it to the student in mixtures of their styles.

    Batch normalisation is frozen, so styles are measured on the real source images. Weights, steps, batch and rates are not
    in the paper. Rows of its Table 4: ``style``, ``normalize``, ``transfer`` and ``mix``. Presets: ``fast`` (fewer steps,
    one domain each), ``half`` (shares of 1/2 instead of drawn ones), ``rded-images``, ``live-bn``, ``mini``.
    """

    Hparams = DTLHparams
    more_presets = {
        "fast": {"recover.steps": 1000, "psi.visit": 25, "psi.domains": 1},
        "half": {"dsm.share": 0.5},
        "rded-images": {"images": "rded"},
        "mini": {"psi.visit": 10, "psi.domains": 1, "psi.width": 8},
    }
    more_tiny = {"recover.steps": 2, "psi.visit": 1, "psi.width": 4}

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        _check(hparams)
        (made_from,) = squeezed(ERM, problem, hparams.squeeze, "across")
        require_statistics([made_from])
        styles = {e: Styles(made_from, made_from.models[0], hparams.styles, [e]) for e in made_from.domains}
        if hparams.style == "per-style":
            sets = [cls.part(made_from, cls._shards(made_from, hparams, styles, [e]), hparams) for e in styles]
            return cls.finished(problem, hparams, DistilledSet(tuple(sets)), across=True)
        shards: Sequence[Shard] = cls._shards(made_from, hparams, styles, made_from.domains)
        if not hparams.transfer:
            return cls.finished(problem, hparams, DistilledSet((cls.part(made_from, shards, hparams),)), across=True)
        virtual = cls._recover(made_from, hparams, styles, made_from.domains, 0, whole=True)
        transfer = LearnTransfer(virtual, hparams.psi, [styles[e] for e in made_from.domains], shards)
        if hparams.images == "rded":
            shards = [StitchCrops(made_from, hparams.rded, hparams.ipc, made_from.models)]
        part: Part = cls.part(made_from, shards, hparams)
        mixture = _mixture(hparams, len(made_from.domains))
        return cls.finished(problem, hparams, DistilledSet((part,)), across=True, mixture=mixture, transfer=transfer)

    @classmethod
    def _shards(
        cls, made_from: Squeezed, hparams: Any, styles: dict[int, Styles], domains: Sequence[int]
    ) -> list[RecoverStyle]:
        groups = made_from.problem.network.num_classes * (hparams.ipc // batch_size(hparams.recover, hparams.ipc))
        count = -(-groups // hparams.recover.groups_per_shard)
        return [cls._recover(made_from, hparams, styles, domains, index) for index in range(count)]

    @staticmethod
    def _recover(
        made_from: Squeezed,
        hparams: Any,
        styles: dict[int, Styles],
        domains: Sequence[int],
        index: int,
        whole: bool = False,
    ) -> RecoverStyle:
        chosen = [styles[e] for e in domains]
        return RecoverStyle(
            made_from, hparams.recover, domains, chosen, hparams.ipc, index, normalise=hparams.normalize, whole=whole
        )


def _mixture(hparams: Any, domains: int) -> Mixture:
    mixing: StyleMixing = hparams.dsm
    share = mixing.share if hparams.mix or mixing.share is not None else 1.0
    return Mixture(domains, mixing.alpha, share, mixing.pair == "distinct", mixing.expand, mixing.include_raw)


def _check(hparams: Any) -> None:
    """``ConfigError`` for rows that do not exist."""
    if hparams.approach != "across":
        raise ConfigError(
            "DTL-DSM has one set of all source domains, so approach is 'across'. For one set a domain type --hparam "
            "style=per-style --hparam transfer=false --hparam mix=false."
        )
    if hparams.mix and not hparams.transfer:
        raise ConfigError(
            "Styles can be mixed where images are rendered only. Type --hparam mix=false, or transfer=true."
        )
    if hparams.transfer and hparams.style == "per-style":
        raise ConfigError(
            "Images in the styles of single domains are not rendered. Type --hparam transfer=false --hparam mix=false, or "
            "style=avg-style."
        )
    if hparams.images == "rded" and not hparams.transfer:
        raise ConfigError("images=rded is for rendered images. Type --hparam transfer=true, or --algorithm RDED.")
    if hparams.transfer and hparams.recover.steps % hparams.psi.visit:
        raise ConfigError(
            f"psi.visit={hparams.psi.visit} does not divide recover.steps={hparams.recover.steps}: images would get more steps "
            "than asked for. Give a divisor."
        )
    batch_size(hparams.recover, hparams.ipc)
