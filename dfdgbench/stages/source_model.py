"""A segmentation model of the source domains, released by the owner of their images: where every adaptation starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import SGD

from dfdgbench.engine.flops import TRAINED, forward_flops
from dfdgbench.engine.predictions import load_predictors, save_predictors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.losses.schedules import polynomial
from dfdgbench.networks.base import NetworkSpec, architecture, build, weights_id
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.settings import Read, Released, Side
from dfdgbench.tasks.base import Task

FILE = "model.safetensors"
AUXILIARY = 0.1
"""Weight of the auxiliary head's cross-entropy, of networks that have one (AdaptSegNet's and MaxSquare's releases)."""


class SourceTraining(Hparams):
    """Hyper-parameters of the source model. They belong to the owner of the images and stay fixed in a search."""

    lr: float = hparam(2.5e-4, gt=0, doc="learning rate of SGD at the first step; polynomial decay")
    momentum: float = hparam(0.9, gt=0, lt=1, doc="Nesterov's momentum")
    weight_decay: float = hparam(1e-4, ge=0, doc="weight decay")
    power: float = hparam(0.9, ge=0, doc="power of the learning rate's decay; 0: constant")
    batch_size: int = hparam(8, gt=1, doc="images a step, of all source domains together")
    steps: int | None = hparam(None, gt=0, doc="updates; the dataset's number where not given")
    hflip: bool = hparam(True, doc="mirror images and masks with probability 1/2")


def initial(spec: NetworkSpec, seed: int, work: Work) -> ScoreMaps:
    """A network for segmentation on the device, its random weights decided by ``seed``."""
    network = build(spec, seed)
    assert isinstance(network, ScoreMaps), type(network)
    return work.place(network)


class SourceModel(Stage):
    """Minimise the cross-entropy on labelled source images (SFDA, Eq. 1). One for all methods of a trial."""

    kind = "source-model"

    def __init__(self, problem: Problem, training: SourceTraining) -> None:
        super().__init__(
            problem,
            training,
            domains=problem.sources,
            reads=tuple(Read(domain, problem.protocol.train) for domain in problem.sources),
            side=Side.OWNER,
            releases=Released.MODEL,
        )
        self.training = training

    @property
    def steps(self) -> int:
        return self.training.steps or self.problem.metadata.steps

    def cost(self) -> float:
        return self.steps * self.training.batch_size * TRAINED * forward_flops(self.problem.network)

    def facts(self) -> Mapping[str, Any]:
        auxiliary = (
            {"auxiliary": AUXILIARY} if getattr(architecture(self.problem.network.name), "levels", 1) > 1 else {}
        )
        return {**network_facts(self.problem.network), "steps": self.steps, **auxiliary}

    def start(self, work: Work) -> State:
        model, training = self.initial(work).train(), self.training
        feed = work.pair_feed(self.reads, training.batch_size, "source", hflip=training.hflip)
        optimizer = SGD(
            model.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay, nesterov=True
        )
        return State(model=model, optimizer=optimizer, _feed=feed, _stream=None)

    def step(self, state: State, work: Work, number: int) -> Metrics:
        if state._stream is None:
            state._stream = state._feed.prefetch(number)
        images, masks = next(state._stream)
        training = self.training
        for group in state.optimizer.param_groups:
            group["lr"] = polynomial(number, self.steps, training.lr, training.power)
        images, masks = work.runtime.images(images), masks.to(work.device)
        loss = supervised(self.problem.task, level_scores(state.model, images, state.model.levels), masks, AUXILIARY)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach()}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        save_predictors(folder / FILE, {"default": state.model})
        return {}

    def load(self, folder: Path, work: Work) -> ScoreMaps:
        """The model on the device, in eval mode, its parameters frozen."""
        model = self.initial(work)
        load_predictors(folder / FILE, {"default": model})
        return model.eval().requires_grad_(False)

    def initial(self, work: Work) -> ScoreMaps:
        """The network before training."""
        return initial(self.problem.network, self.seed, work)


def level_scores(model: ScoreMaps, images: Tensor, levels: int) -> tuple[Tensor, ...]:
    """The score maps of the first ``levels`` heads, each [B, K, H, W], the main one first."""
    return tuple(model(images, "levels")) if levels == 2 else (model(images),)


def supervised(task: Task, scores: Sequence[Tensor], masks: Tensor, auxiliary: float) -> Tensor:
    """Cross-entropy of the main head, and ``auxiliary`` times that of the second where there is one."""
    main, *second = (task.loss(each, masks) for each in scores)
    return main + auxiliary * second[0] if second else main


def network_facts(spec: NetworkSpec) -> dict[str, Any]:
    """What of a network decides an artifact, in JSON."""
    return {
        "network": spec.name,
        "weights": weights_id(spec),
        "image_size": list(spec.shape),
        "num_classes": spec.num_classes,
    }
