"""Evaluate: the engine's own step, apart from training. It consumes no training randomness."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfdgbench.datasets.feed.augment import BatchAugment
from dfdgbench.datasets.feed.pairs import PairReader, native_masks, pair_batches
from dfdgbench.datasets.feed.readers import Reader
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import domainbed_augmentation, evaluation_batches
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.runtime import Runtime
from dfdgbench.engine.stage import PredictorStage
from dfdgbench.errors import EmptySplitError, MissingDataError
from dfdgbench.seeds import seed_hash, untouched_randomness
from dfdgbench.tasks.base import Accumulator, Task
from dfdgbench.tasks.segmentation import AtBothSizes, Segmentation

log = logging.getLogger("dfdgbench")
BATCH = 256
MAPS = 8
"""Images a batch where each has a map of scores."""


@dataclass(frozen=True)
class Augmented:
    """Evaluation on augmented images, as DomainBed evaluates its source domains, drawn from a seed."""

    augment: BatchAugment
    seed: int


def measure(
    predictor: nn.Module, split: Split, task: Task, runtime: Runtime, reader: Reader | PairReader
) -> dict[str, float]:
    """The task's metrics of ``predictor`` on every image of ``split``, each once, untransformed but for the resize.

    The predictor is run in eval mode without gradients and left in the mode it was in.
    """
    return measure_all({"": predictor}, split, task, runtime, reader)[""]


def measure_all(
    predictors: Mapping[str, nn.Module],
    split: Split,
    task: Task,
    runtime: Runtime,
    reader: Reader | PairReader,
    augmented: Augmented | None = None,
) -> dict[str, dict[str, float]]:
    """:func:`measure` of several predictors in one pass over the images."""
    modes = {name: predictor.training for name, predictor in predictors.items()}
    totals = {name: task.accumulator() for name in predictors}
    augment = (augmented.augment, torch.Generator().manual_seed(augmented.seed)) if augmented else (None, None)
    batches = (
        pair_batches(split, reader, MAPS)
        if isinstance(reader, PairReader)
        else evaluation_batches(split, reader, BATCH, *augment)
    )
    try:
        for predictor in predictors.values():
            predictor.eval()
        with untouched_randomness(), torch.no_grad():
            for (images, targets), native in zip(batches, _native(split, task), strict=False):
                images, targets = runtime.images(images), targets.to(runtime.device)
                masks = [mask.to(runtime.device) for mask in native]
                for name, scores in scores_of(predictors, images).items():
                    _count(totals[name], scores, targets, masks)
    finally:
        for name, predictor in predictors.items():
            predictor.train(modes[name])
    return {name: total.compute() for name, total in totals.items()}


def _native(split: Split, task: Task) -> Iterable[Sequence[Tensor]]:
    """The masks of each batch in their own sizes, where the task is scored at these too; else nothing, for ever."""
    native = isinstance(task, Segmentation) and task.native
    return native_masks(split, MAPS) if native else itertools.repeat(())


def _count(total: Accumulator, scores: Tensor, targets: Tensor, native: Sequence[Tensor]) -> None:
    total.update(scores, targets)
    if isinstance(total, AtBothSizes):
        total.update_native(scores, native)


def scores_of(predictors: Mapping[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    """Each predictor's scores [B, K]. Those of one ``family`` are its views, and are computed together by
    ``family.together(views, images)``, so that what they share is computed once."""
    found: dict[str, Tensor] = {}
    families: dict[int, list[str]] = {}
    for name, predictor in predictors.items():
        family = getattr(predictor, "family", None)
        if family is None:
            found[name] = predictor(images)
        else:
            families.setdefault(id(family), []).append(name)
    for names in families.values():
        views = [predictors[name] for name in names]
        shared: Any = views[0].family
        found |= zip(names, shared.together(views, images), strict=True)
    return found


def evaluate(
    stage: PredictorStage,
    predictors: Mapping[str, nn.Module],
    problem: Problem,
    runtime: Runtime,
    step: int = 0,
    chosen: str | None = None,
) -> tuple[dict[str, float], list[str]]:
    """Every predictor on every split that the protocol names; the default one is ``chosen``, or the stage's choice.

    Returns the record's accuracies (the default predictor's under DomainBed's keys, the others' with ``@name``), and
    the splits whose data is not there, whose values are NaN.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in predictors}
    absent = []
    for domain in range(len(problem.metadata.domains)):
        for split in problem.split_names(domain):
            prefix = f"env{_position(problem, domain, split)}_{split}"
            own = domain if problem.metadata.name == stage.problem.metadata.name else None
            answering = {name: stage.answering(predictor, own, split) for name, predictor in predictors.items()}
            values = _measured(answering, problem, domain, split, runtime, step)
            if values is None:
                absent.append(f"{problem.domain_name(domain)}/{split}")
            for name in predictors:
                for suffix in problem.task.suffixes:
                    found[name][f"{prefix}_{suffix}"] = values[name][suffix] if values else float("nan")
    chosen = chosen or stage.default(found)
    record = dict(found[chosen])
    if len(found) > 1:
        record |= {f"{key}@{name}": value for name, keys in found.items() for key, value in keys.items()}
    return record, absent


def _measured(
    predictors: Mapping[str, nn.Module | None], problem: Problem, domain: int, split: str, runtime: Runtime, step: int
) -> dict[str, dict[str, float]] | None:
    unknown = {name: dict.fromkeys(problem.task.suffixes, float("nan")) for name in predictors}
    try:
        images = problem.split(domain, split)
    except EmptySplitError as error:
        log.warning("%s Its values are NaN.", error)
        return unknown
    except MissingDataError as error:
        log.debug("not evaluated: %s", error)
        return None
    augmented = None
    if problem.val_augment and problem.metadata.augment and problem.role(domain, split) == "source":
        seed = seed_hash(problem.seed, "val_augment", domain, split, step)
        augmented = Augmented(domainbed_augmentation(problem.metadata.hflip), seed)
    answering = {name: predictor for name, predictor in predictors.items() if predictor is not None}
    reader = problem.any_reader(domain, runtime.device)
    return unknown | measure_all(answering, images, problem.task, runtime, reader, augmented)


def _position(problem: Problem, domain: int, split: str) -> int:
    """The number in a record key: the domain's, but for DomainBed's uda splits, which are counted among themselves."""
    if split != "uda":
        return domain
    return sorted(problem.targets).index(domain)
