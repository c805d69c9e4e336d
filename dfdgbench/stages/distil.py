"""Stage 3 of DEKAN: one student out of many teachers, on synthetic images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfdgbench.datasets.feed.augment import BatchAugment
from dfdgbench.engine.flops import TRAINED, forward_flops
from dfdgbench.engine.predictions import load_predictors, save_predictors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.engine.work import Work
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.losses.distillation import distillation_loss, teacher_targets
from dfdgbench.losses.schedules import warmup_cosine
from dfdgbench.networks.base import Network, build, weights_id
from dfdgbench.networks.norm import apply_bn_policy, check_distinct
from dfdgbench.seeds import seed_hash
from dfdgbench.stages.pool import Pool, PoolSet, join
from dfdgbench.stages.train import Teacher


class Distillation(Hparams):
    """Hyper-parameters of the student (DEKAN, arXiv 2110.04545, Eq. 3; its released code where the paper is silent)."""

    temperature: float = hparam(3.0, gt=0, doc="tau")
    direction: Literal["forward", "reverse"] = hparam("forward", doc="KL(p || S), or (as printed) KL(S || p)")
    optimizer: Literal["adam", "sgd"] = hparam(
        "adam", doc="Adam (paper), or SGD with Nesterov momentum 0.9 (released code)"
    )
    lr: float = hparam(5e-5, small=case(1e-3), gt=0, doc="learning rate")
    weight_decay: float = hparam(0.0, ge=0, doc="weight decay")
    batch_size: int = hparam(256, gt=0, doc="images a step")
    epochs: float = hparam(20.0, gt=0, doc="passes over the images")
    warmup: int = hparam(100, ge=0, doc="steps of linear warm-up before the cosine; at most a tenth of all")
    match: Literal["steps", "epochs"] = hparam(
        "steps", doc="with fewer images than DEKAN: as many steps as DEKAN has, or as many epochs"
    )
    sampling: Literal["per-image", "per-set"] = hparam("per-image", doc="images alike, or sets alike")
    freeze_bn_after: int | None = hparam(None, ge=0, doc="step after which the student's batch normalisation is frozen")
    crop: float = hparam(0.7, small=case(0.8), gt=0, le=1, doc="smallest area of the random crop")
    color: float = hparam(0.3, ge=0, le=1, doc="strength of the jitter of brightness, contrast and saturation")
    grayscale: float = hparam(0.1, ge=0, le=1, doc="probability of grey")
    holdout: float = hparam(
        0.0,
        ge=0,
        lt=1,
        doc="share of every set's images kept from training, which the rule synthetic-holdout selects by",
    )
    allow_frozen_bn: bool = hparam(False, doc="accept teachers with identical batch-normalisation buffers")


class Distil(PredictorStage):
    """Train a student to predict what the teachers of each image predict, averaged (DEKAN Eq. 3).

    The targets are computed on the augmented image that the student sees; only teachers with a weight are run.

    Args:
        teachers: by domain index.
        sets: the images, and who teaches on them.
        reference_images: how many images set the number of steps where ``match`` is "steps".
    """

    kind = "student"
    hparams: Distillation

    def __init__(
        self,
        teachers: Mapping[int, Teacher],
        sets: Sequence[PoolSet],
        problem: Problem,
        hparams: Distillation,
        *,
        images: int,
        reference_images: int | None = None,
    ) -> None:
        self.teachers, self.sets = dict(teachers), list(sets)
        shards = [shard for pool_set in sets for shard in pool_set.shards]
        super().__init__(
            problem, hparams, domains=list(teachers), inputs=[*teachers.values(), *shards], seed=problem.seed
        )
        counted = images if hparams.match == "epochs" or reference_images is None else reference_images
        self._images = images
        self._steps = problem.steps or max(1, round(hparams.epochs * counted / hparams.batch_size))

    @property
    def steps(self) -> int:
        return self._steps

    def cost(self) -> float:
        shards = [(len(part.shards), sum(weight > 0 for weight in part.teachers.values())) for part in self.sets]
        taught = sum(count * teachers for count, teachers in shards) / sum(count for count, _ in shards)
        images = self.steps * self.hparams.batch_size
        return images * (TRAINED + taught) * forward_flops(self.problem.network)

    def facts(self) -> Mapping[str, Any]:
        network = self.problem.network
        name = self.problem.domain_name
        weights = [
            {"shards": len(part.shards), **{name(i): weight for i, weight in part.teachers.items()}}
            for part in self.sets
        ]
        return {
            "network": network.name,
            "weights": weights_id(network),
            "steps": self.steps,
            "teacher_weights": weights,
            "hflip": self.problem.metadata.hflip,
        }

    def epoch(self, step: int) -> float:
        return step * self.hparams.batch_size / self._images

    def build(self, work: Work) -> dict[str, nn.Module]:
        return {"default": work.place(build(self.problem.network, seed_hash(self.seed, "initial weights")))}

    def start(self, work: Work) -> State:
        teachers = {i: work.input(teacher) for i, teacher in self.teachers.items()}
        if not self.hparams.allow_frozen_bn and len(teachers) > 1:
            check_distinct({self.problem.domain_name(i): teacher for i, teacher in teachers.items()})
        student = self.build(work)["default"].train()
        pools, held_out = self._held_out([pool_set.pool(work) for pool_set in self.sets], work)
        pool = join(pools)
        return State(
            _held_out=join(held_out) if held_out else None,
            _held_out_weights=self._weights(held_out) if held_out else None,
            student=student,
            optimizer=self._optimizer(student),
            _teachers=list(teachers.values()),
            _images=pool.images.to(work.device),
            _weights=self._weights(pools).to(work.device),
            _sizes=[len(part) for part in pools],
            _augment=BatchAugment(
                crop_scale=(self.hparams.crop, 1.0),
                hflip=self.problem.metadata.hflip,
                jitter=self.hparams.color,
                grayscale=self.hparams.grayscale,
            ),
        )

    def _held_out(self, pools: Sequence[Pool], work: Work) -> tuple[list[Pool], list[Pool]]:
        """What is trained on of every set, and what is not; no second part where nothing is to be kept."""
        if not self.hparams.holdout:
            return list(pools), []
        trained: list[Pool] = []
        kept: list[Pool] = []
        for number, pool in enumerate(pools):
            count = min(len(pool) - 1, max(1, int(len(pool) * self.hparams.holdout)))
            order = torch.randperm(len(pool), generator=work.generator("holdout", number))
            for part, chosen in ((kept, order[:count]), (trained, order[count:].sort().values)):
                part.append(Pool(pool.images[chosen], pool.labels[chosen]))
        return trained, kept

    def _weights(self, pools: Sequence[Pool]) -> Tensor:
        """Teacher weights of every image [N, I], made together with the images."""
        order = list(self.teachers)
        rows = [
            torch.tensor([pool_set.teachers.get(i, 0.0) for i in order]).expand(len(pool), -1)
            for pool_set, pool in zip(self.sets, pools, strict=True)
        ]
        return torch.cat(rows)

    def _optimizer(self, student: nn.Module) -> torch.optim.Optimizer:
        lr, decay = self.hparams.lr, self.hparams.weight_decay
        if self.hparams.optimizer == "adam":
            return torch.optim.Adam(student.parameters(), lr=lr, weight_decay=decay)
        return torch.optim.SGD(student.parameters(), lr=lr, weight_decay=decay, momentum=0.9, nesterov=True)

    def step(self, state: State, work: Work, number: int) -> Metrics:
        student: Network = state.student
        if self.hparams.freeze_bn_after is not None and number >= self.hparams.freeze_bn_after:
            apply_bn_policy(student, "frozen")
        warmup = min(self.hparams.warmup, self.steps // 10)
        for parameters in state.optimizer.param_groups:
            parameters["lr"] = warmup_cosine(number, self.steps, self.hparams.lr, warmup)
        chosen = self._draw(state, work, number).to(work.device)
        images = state._augment(state._images[chosen].float() / 255, work.generator("augment", number))
        images = work.runtime.images(images)
        targets = self._targets(state, images, state._weights[chosen])
        loss = distillation_loss(student(images), targets, self.hparams.temperature, self.hparams.direction)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        metrics = {"loss": loss.detach()}
        if state._held_out is not None and self._recorded(number):
            metrics["syn_out_acc"] = self._agreement(state, work)
        return metrics

    def _recorded(self, number: int) -> bool:
        every = self.problem.record_every
        return number == self.steps - 1 or bool(every and number % every == 0)

    @torch.no_grad()
    def _agreement(self, state: State, work: Work) -> Tensor:
        """Share of the held-out synthetic images, untransformed, that the student classifies as the teachers together do.

        Not one image of any domain is looked at, so that selection by it is within the data-free setting.
        """
        student, held_out = state.student, state._held_out
        training, agreed, size = student.training, [], self.hparams.batch_size
        student.eval()
        for number, images in enumerate(held_out.batches(size, work.device)):
            weights = state._held_out_weights[number * size : (number + 1) * size].to(work.device)
            images = work.runtime.images(images)
            targets = self._targets(state, images, weights)
            agreed.append(student(images).argmax(dim=1) == targets.argmax(dim=1))
        student.train(training)
        return torch.cat(agreed).double().mean()

    def _draw(self, state: State, work: Work, number: int) -> Tensor:
        """Indices [B] of batch ``number``: consecutive parts of shuffled passes, or sets drawn alike."""
        size = self.hparams.batch_size
        if self.hparams.sampling == "per-set":
            return self._draw_per_set(state._sizes, size, work.generator("batch", number))
        total = len(state._images)
        places = torch.arange(number * size, (number + 1) * size)
        passes = range(int(places[0]) // total, int(places[-1]) // total + 1)
        shuffled = [torch.randperm(total, generator=work.generator("pass", p)) for p in passes]
        return torch.cat(shuffled)[places - passes[0] * total]

    @staticmethod
    def _draw_per_set(sizes: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
        lengths = torch.tensor(sizes)
        offsets = lengths.cumsum(0) - lengths
        sets = torch.randint(len(sizes), (count,), generator=generator)
        within = (torch.rand(count, generator=generator) * lengths[sets]).long()
        return offsets[sets] + within

    def _targets(self, state: State, images: Tensor, weights: Tensor) -> Tensor:
        """Averaged probabilities [B, K]. A teacher sees only the images that it has a weight on."""
        classes = self.problem.network.num_classes
        logits = torch.zeros(len(state._teachers), len(images), classes, device=images.device)
        with torch.no_grad():
            for i, teacher in enumerate(state._teachers):
                heard = weights[:, i] > 0
                if bool(heard.any()):
                    logits[i, heard] = teacher(images[heard])
        return teacher_targets(logits, weights, self.hparams.temperature)

    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        return {"default": state.student}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        save_predictors(folder / "model.safetensors", self.predictors(state, work))
        return {}

    def load(self, folder: Path, work: Work) -> nn.Module:
        predictors = self.build(work)
        load_predictors(folder / "model.safetensors", predictors)
        return predictors["default"].eval()
