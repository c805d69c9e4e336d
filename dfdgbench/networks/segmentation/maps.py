"""What networks for segmentation share: from images to a map of scores, with features on the way that adaptation looks at."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor
from torch.nn import functional

from dfdgbench.networks.base import Architecture, Network


class ScoreMaps(Network):
    """A featurizer and a classifier on images float [B, C, H, W] in [0, 1], to score maps [B, K, H, W].

    The featurizer leaves maps [B, ``n_features``, h, w], or a tuple that begins with them; its classifier takes whatever it left.
    Scores of another size than the images are enlarged bilinearly (``align_corners=False``).
    """

    def forward(self, images: Tensor, give: Literal["scores", "features", "both"] = "scores") -> Any:
        """Scores; or features [B, n_features, h, w] alone, which costs no classifier; or (features, scores)."""
        encoded = self.featurizer(self.normalised(images))
        maps = encoded if isinstance(encoded, Tensor) else encoded[0]
        if give == "features":
            return maps
        scores = self.classifier(encoded)
        if scores.shape[2:] != images.shape[2:]:
            scores = functional.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=False)
        return scores if give == "scores" else (maps, scores)

    def features(self, images: Tensor) -> Tensor:
        """Feature maps [B, n_features, h, w]."""
        maps: Tensor = self(images, "features")
        return maps


class SegmentationArchitecture(Architecture):
    """One network for segmentation. Its ``build`` returns the featurizer and the channels of the maps that it leaves."""

    task = "segmentation"

    @property
    def network(self) -> type[Network]:
        return ScoreMaps
