"""Predictors on disk: safetensors, one file for all of a run's predictors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from dfdgbench.errors import ArtifactError
from dfdgbench.files import write_bytes


def save_predictors(path: Path, predictors: Mapping[str, nn.Module]) -> None:
    """Write every predictor's state; the names are ``PREDICTOR/parameter``. Tensors that are shared are written twice."""
    tensors = {
        f"{name}/{key}": tensor.detach().cpu().contiguous().clone()
        for name, predictor in predictors.items()
        for key, tensor in predictor.state_dict().items()
    }
    write_bytes(path, save(tensors), "The model")


def load_predictors(path: Path, predictors: Mapping[str, nn.Module]) -> None:
    """Fill ``predictors`` with what :func:`save_predictors` wrote."""
    tensors = read_tensors(path)
    for name, predictor in predictors.items():
        prefix = f"{name}/"
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        try:
            predictor.load_state_dict(own)
        except RuntimeError as error:
            raise ArtifactError(f"The file {path} does not fit the predictor '{name}': {error}") from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A safetensors file; ``ArtifactError`` where it is damaged or missing."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"The file {path} cannot be read as safetensors: {error}") from error
