"""What is asked of a network before anything runs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from dfdgbench.errors import NoBatchNormError, listing
from dfdgbench.networks.base import NetworkSpec, architecture, build
from dfdgbench.networks.norm import batch_norms, norm_layers

# DomainBed's networks for small images have no dropout, whatever the hyper-parameters say.
_WITHOUT_DROPOUT = frozenset({"smallcnn", "MNIST_CNN", "WRN-16-2"})
_WITH_STATISTICS = {
    "classification": ("resnet18", "resnet50", "WRN-16-2", "efficientnet_lite0", "smallcnn"),
    "segmentation": ("deeplabv3_resnet50", "segnet_vgg16", "deeplab_small", "segnet_small"),
}
_TRANSFORMERS = ("vit", "deit", "swin", "beit", "eva", "dinov2")


def dropout_hparam(spec: NetworkSpec) -> str:
    """Which hyper-parameter of DomainBed's is this network's dropout: ``resnet_dropout``, ``vit_dropout`` or none ("")."""
    if spec.name in _WITHOUT_DROPOUT:
        return ""
    name = spec.name.removeprefix("timm:").lower()
    return "vit_dropout" if any(kind in name for kind in _TRANSFORMERS) else "resnet_dropout"


def require_batch_norm(spec: NetworkSpec) -> None:
    """Raise ``NoBatchNormError`` where the network has no batch normalisation, by type and whatever its layers' names."""
    found = _normalisation(replace(spec, weights="none"))
    if found is not None:
        raise NoBatchNormError(
            f"The network '{spec.name}' has no batch normalisation, whose statistics this method reads (normalisation "
            f"layers found: {found}). Type --network with one that has: {listing(_WITH_STATISTICS[architecture(spec.name).task])}."
        )


@lru_cache(maxsize=16)
def _normalisation(spec: NetworkSpec) -> str | None:
    """None for a network with batch normalisation, else its other normalisation layers in words."""
    network = build(spec, seed=0)
    return None if batch_norms(network) else norm_layers(network)
