"""Homogenization: post-hoc adaptation by guided data homogenisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dfdgbench.algorithms.base import Algorithm, Paper, register
from dfdgbench.algorithms.stepwise import Minibatch, Stepwise, joined
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.hparams import group, hparam
from dfdgbench.losses.schedules import warmup_cosine
from dfdgbench.networks.base import build
from dfdgbench.settings import POST_HOC
from dfdgbench.stages.classifier import Classifier, Classifying, Verifier
from dfdgbench.stages.homogenize import Homogenising, Homogenize
from dfdgbench.stages.homogenize_checks import check_method, check_problem, check_target, check_verifier
from dfdgbench.stages.source_statistics import Gathering, SourceStatistics


class Scheduled(Stepwise):
    """How classifiers are trained before they are released: cross-entropy, Adam, a cosine down to a hundredth of the rate."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.network = self.place(build(self.spec, self.seed))
        hparams = self.hparams
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=hparams.lr, weight_decay=hparams.weight_decay)
        self.updates = 0

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Any = None) -> Metrics:
        images, labels = joined(minibatches)
        steps = self.hparams.steps
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = warmup_cosine(self.updates, steps, self.hparams.lr, min(100, steps // 10))
        self.updates += 1
        loss = functional.cross_entropy(self.network(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(x)
        return scores

    def predictors(self) -> dict[str, nn.Module]:
        return {"default": self.network}


class HomogenizationHparams(Homogenising):
    """Hyper-parameters of guided data homogenisation."""

    classifier: Classifying = group(Classifying, searched=False, doc="the released classifiers; the owner's")
    gathering: Gathering = group(Gathering, searched=False, doc="the released statistics; the owner's")
    verifier: str = hparam(
        "auto", doc="network of the second classifier; auto: the paper's, else the same with another seed"
    )


_VERIFIERS = {"mnist_resnet20": "mnist_resnet9", "cifar_resnet34": "cifar_resnet18"}
_PAPER: dict[str, Any] = {
    "reading": "paper",
    "gathering.reading": "paper",
    "over_maps": "sum",
    "over_classes": "sum",
    "source_variance": "pooled",
    "perturbation.biases": False,
}


@register(
    "Homogenization",
    setting=POST_HOC,
    paper=Paper("Willis and Oala 2021, Post-hoc domain adaptation via guided data homogenization", arxiv="2104.03624"),
)
class Homogenization(Algorithm):
    """Move target images to where a fixed classifier expects them, guided by statistics that it carries.

    A small network before the classifier is trained on a few hundred target images, so that means and variances of feature maps
    are those stored from the source (NN: the last convolution's; NN ALL: all; RANDOM NN: a random network's; RP: random
    projections; CC: by class), beside the cross-entropy where the target is labelled. CRITERION is the cross-entropy alone.

    A domain that is source and target at once (``--dataset MNIST --test-envs MNIST``) is perturbed by random convolutions, as
    in the paper. A held-out domain of several is a real shift and is not perturbed, unless ``perturbation.kind`` says so.
    """

    Hparams = HomogenizationHparams
    protocol = "post-hoc"
    own_target = True
    presets = {
        "code": {},
        "code-text": {"width": 16, "depth": 4},
        "code-defaults": {"width": 4, "depth": 4, "variation_weight": 0.001},
        "paper": _PAPER,
        "paper-text": {**_PAPER, "width": 16, "depth": 4},
    }
    tiny = {
        "target_images": 4,
        "batch_size": 2,
        "epochs": 2,
        "depth": 2,
        "width": 2,
        "classifier.steps": 3,
        "classifier.batch_size": 4,
        "gathering.batch_size": 8,
        "gathering.projections": 4,
    }

    @classmethod
    def plan(cls, problem: Problem, hparams: Any) -> PredictorStage:
        check_method(hparams)
        check_problem(problem, hparams)
        check_verifier(hparams.verifier)
        check_target(problem, hparams)
        classifier, verifier, statistics = problem.once(
            ("homogenization", hparams.verifier, hparams.classifier.model_dump_json()),
            lambda: cls._released(problem, hparams),
            hparams.gathering,
        )
        needed = hparams.maps != "criterion" and not hparams.statistics_folder
        return Homogenize(classifier, verifier, statistics if needed else None, problem, hparams)

    @staticmethod
    def _released(problem: Problem, hparams: Any) -> tuple[Classifier, Verifier, SourceStatistics]:
        name = hparams.verifier
        if name == "auto":
            name = _VERIFIERS.get(problem.network.name, problem.network.name)
        second = replace(problem.network, name=name)
        classifier = Classifier(Scheduled, problem, problem.network, hparams.classifier)
        verifier = Verifier(Scheduled, problem, second, hparams.classifier)
        return classifier, verifier, SourceStatistics(classifier, problem, hparams.gathering)
