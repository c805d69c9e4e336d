"""Every network of the timm library as ``timm:NAME``, and the one that DomainBed uses by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from dfdgbench.errors import UnknownNameError, near
from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec
from dfdgbench.networks.weights import WeightsSource, fit

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@NETWORKS.register("timm:NAME")
class TimmArchitecture(Architecture):
    """A network of timm without its classification layer; ``NAME`` is timm's, with or without its tag.

    Normalisation and the default weights are those of timm's own configuration of the network.
    """

    description = "any network of the timm library, with its own pretrained weights"
    example = "timm:resnet18"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.timm_name = self._known(name.partition(":")[2])
        self.model, _, _ = self.timm_name.partition(".")
        config = self._config()
        self.mean, self.std = tuple(config.mean), tuple(config.std)
        self.pretrained = config.tag if config.has_weights else None
        self.head = config.classifier if isinstance(config.classifier, str) else ""

    def tags(self) -> list[str]:
        """timm's tags of the pretrained weights."""
        import timm

        found = timm.list_models(f"{self.model}.*", pretrained=True)
        return [name.partition(".")[2] for name in found]

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights."""
        network: Any = self._create(spec, pretrained=False)
        return network, int(getattr(network, "head_hidden_size", None) or network.num_features)

    def weights_source(self, tag: str) -> WeightsSource:
        """Hugging Face's cache and hub, or torch's hub cache and the server that the network names."""
        if tag not in self.tags():
            return super().weights_source(tag)
        config = self._config(tag)
        other = tag if tag != self.pretrained else ""
        if not config.hf_hub_id:
            return self._plain_source(config.url, other)
        from huggingface_hub import constants

        host = urlparse(constants.ENDPOINT).hostname or ""
        cached = self._hub_file(config) is not None
        return WeightsSource(f"timm:{config.hf_hub_id}", cached, constants.HF_HUB_CACHE, host, other)

    def load_pretrained(self, featurizer: nn.Module, spec: NetworkSpec) -> None:
        """Copy timm's pretrained weights, made for three channels, into ``featurizer``."""
        tag = self.tag(spec)
        if tag is None:
            return
        with self.weights_source(tag).reading(self.name):
            donor = self._create(NetworkSpec(spec.name, 1, image_size=spec.image_size), pretrained=True, tag=tag)
        fit(featurizer, donor.state_dict(), spec.channels, f"The weights '{tag}'", f"the network '{self.name}'")

    def _create(self, spec: NetworkSpec, pretrained: bool, tag: str = "") -> nn.Module:
        import timm

        name = f"{self.model}.{tag}" if tag else self.timm_name
        # A vision transformer is built for one image size, and timm resamples its position embedding to it.
        config = self._config(tag)
        more: dict[str, Any] = {"img_size": spec.image_size} if config.fixed_input_size else {}
        file = self._hub_file(config) if pretrained and config.hf_hub_id and not config.custom_load else None
        if (
            file is not None
        ):  # else the hub is asked whether it has a newer one, and asked again where there is no network
            more["pretrained_cfg_overlay"] = {"file": file}
        network: nn.Module = timm.create_model(name, pretrained, num_classes=0, in_chans=spec.channels, **more)
        return network

    @staticmethod
    def _hub_file(config: Any) -> str | None:
        """The weights' file in Hugging Face's cache, the one that timm would take."""
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = config.hf_hub_id.partition("@")
        files = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        found = (try_to_load_from_cache(repository, file, revision=revision or None) for file in files)
        return next((path for path in found if isinstance(path, str)), None)

    def _config(self, tag: str = "") -> Any:
        from timm.models import get_pretrained_cfg

        return get_pretrained_cfg(f"{self.model}.{tag}" if tag else self.timm_name)

    @staticmethod
    def _plain_source(url: str, tag: str) -> WeightsSource:
        address = urlparse(url)
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(address.path).name
        return WeightsSource(f"timm:{path.name}", path.is_file(), str(path.parent), address.hostname or "", tag)

    @staticmethod
    def _known(name: str) -> str:
        """``name``, or ``UnknownNameError`` where timm has no such network or no such weights of it."""
        import timm

        model, _, tag = name.partition(".")
        if not timm.is_model(model):
            close = [f"timm:{found}" for found in near(model, timm.list_models())]
            meant = f" Did you mean {' or '.join(close)}?" if close else ""
            raise UnknownNameError(
                f"timm {timm.__version__} has no network '{model}'.{meant} "
                f"Its names: python -c 'import timm; print(timm.list_models(\"*resnet*\"))'."
            )
        tags = [found.partition(".")[2] for found in timm.list_models(f"{model}.*", pretrained=True)]
        if tag and tag not in tags:
            raise UnknownNameError(
                f"timm's network '{model}' has no weights '{tag}'. It has: {', '.join(tags) or 'none'}. "
                f"Type --network timm:{model}{'.' + tags[0] if tags else ''}."
            )
        return name


@NETWORKS.register("resnet50_augmix")
class ResNet50AugMix(TimmArchitecture):
    """DomainBed's default since ERM++ (Teterwak et al. 2023): timm's resnet50.ram_in1k."""

    description = "timm's resnet50.ram_in1k, ImageNet weights trained with augmentation (DomainBed's default today)"
    example = ""

    def __init__(self, name: str) -> None:
        super().__init__("timm:resnet50.ram_in1k")
        self.name = name
