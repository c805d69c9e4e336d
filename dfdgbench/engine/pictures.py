"""What a predictor of masks sees in a few test images, beside a run's last record."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dfdgbench.datasets.feed.pairs import pair_batches
from dfdgbench.datasets.feed.split import Split
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.runtime import Runtime
from dfdgbench.errors import DataError
from dfdgbench.seeds import untouched_randomness

SHOWN = 4
"""Images of each held-out domain, spread evenly over its test split."""


def pictures(problem: Problem, predictor: nn.Module, runtime: Runtime) -> dict[str, NDArray[Any]]:
    """Of every held-out domain whose data is here ``images_DOMAIN`` uint8 [N, H, W, 3], ``truth_DOMAIN`` and
    ``predicted_DOMAIN`` uint8 [N, H, W], 255 for pixels of no class; and ``palette`` uint8 [K, 3]. Nothing for other tasks."""
    metadata = problem.metadata
    if metadata.task != "segmentation" or not metadata.palette:
        return {}
    found: dict[str, NDArray[Any]] = {"palette": np.array(metadata.palette, dtype=np.uint8)}
    mode = predictor.training
    predictor.eval()
    for target in problem.targets:
        try:
            split = problem.split(target, problem.protocol.test)
        except DataError:
            continue
        keys = split.keys[np.linspace(0, len(split) - 1, min(SHOWN, len(split))).round().astype(np.int64)]
        with untouched_randomness(), torch.no_grad():
            reader = problem.pair_reader(target, runtime.device)
            (batch,) = pair_batches(Split(split.domain, keys), reader, SHOWN)
            predicted = predictor(runtime.images(batch[0])).argmax(1)
        name = problem.domain_name(target)
        found[f"images_{name}"] = (255 * batch[0]).round().byte().permute(0, 2, 3, 1).numpy()
        found[f"truth_{name}"] = batch[1].byte().numpy()
        found[f"predicted_{name}"] = predicted.byte().cpu().numpy()
    predictor.train(mode)
    return found
