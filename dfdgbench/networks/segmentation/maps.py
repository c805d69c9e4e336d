"""What networks for segmentation share: from images to a map of scores, with features on the way that adaptation looks at."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from dfdgbench.networks.base import Architecture, Network
from dfdgbench.networks.segmentation.levels import TwoHeads


class ScoreMaps(Network):
    """A featurizer and a classifier on images float [B, C, H, W] in [0, 1], to score maps [B, K, H, W].

    The featurizer leaves maps [B, ``n_features``, h, w], or a tuple that begins with them; its classifier takes whatever it left.
    Scores of another size than the images are enlarged bilinearly (``align_corners=False``).
    """

    def forward(self, images: Tensor, give: Literal["scores", "features", "both", "levels"] = "scores") -> Any:
        """Scores; or features [B, n_features, h, w] alone, which costs no classifier; or (features, scores); or (scores, those
        of the auxiliary head), of networks that have one."""
        encoded = self.featurizer(self.normalised(images))
        maps = encoded if isinstance(encoded, Tensor) else encoded[0]
        if give == "features":
            return maps
        scores = _enlarged(self.classifier(encoded), images)
        if give == "levels":
            assert isinstance(self.classifier, TwoHeads) and self.classifier.auxiliary is not None, "one head"
            return scores, _enlarged(self.classifier.auxiliary(encoded[1]), images)
        return scores if give == "scores" else (maps, scores)

    def features(self, images: Tensor) -> Tensor:
        """Feature maps [B, n_features, h, w]."""
        maps: Tensor = self(images, "features")
        return maps

    @property
    def levels(self) -> int:
        """How many heads it has."""
        return 2 if isinstance(self.classifier, TwoHeads) and self.classifier.auxiliary is not None else 1

    def one_level(self) -> ScoreMaps:
        """This network, with the same parameters, as if it had no auxiliary head."""
        if self.levels == 1:
            return self
        assert isinstance(self.classifier, TwoHeads)
        made = copy.copy(self)
        made._modules = {**self._modules, "classifier": TwoHeads(self.classifier.main, None)}
        return made.train(self.training)  # type: ignore[return-value]


def _enlarged(scores: Tensor, images: Tensor) -> Tensor:
    if scores.shape[2:] == images.shape[2:]:
        return scores
    return functional.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=False)


class SegmentationArchitecture(Architecture):
    """One network for segmentation. Its ``build`` returns the featurizer and the channels of the maps that it leaves."""

    task = "segmentation"
    levels: ClassVar[int] = 1
    """Heads: 2 where ``classifier`` returns :class:`TwoHeads`."""

    @property
    def network(self) -> type[Network]:
        return ScoreMaps
