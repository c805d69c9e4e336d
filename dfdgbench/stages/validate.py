"""Validate: a student that sees a distilled set and its label records, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dfdgbench.engine.flops import TRAINED, forward_flops
from dfdgbench.engine.predictions import load_predictors, save_predictors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, PredictorStage, Stage
from dfdgbench.engine.work import Work
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.losses.schedules import cosine
from dfdgbench.losses.soft_labels import matched_logits, soft_label_divergence
from dfdgbench.networks.base import Network, build, weights_id
from dfdgbench.networks.norm import apply_bn_policy
from dfdgbench.seeds import seed_hash
from dfdgbench.stages.distilled import DistilledSet, LoadedSet
from dfdgbench.stages.label_records import LabelRecord
from dfdgbench.stages.label_views import Mixture, show
from dfdgbench.stages.relabel import Labels, LabelService, LabelStage, OnlineLabels, StoredLabels
from dfdgbench.stages.squeeze import BatchNorm, frozen_bn
from dfdgbench.stages.storage import Storage, average_source_images


class Studying(Hparams):
    """Hyper-parameters of the student (spec, section 6)."""

    epochs: int = hparam(300, gt=0, doc="passes over the set")
    batch_size: int = hparam(32, gt=0, doc="images a step")
    lr: float = hparam(5e-5, small=case(1e-3), gt=0, doc="learning rate of AdamW(0.9, 0.999), a cosine by epochs")
    weight_decay: float = hparam(0.0, ge=0, doc="weight decay of AdamW")
    bn: BatchNorm = hparam(
        "paper",
        doc="batch normalisation: frozen for sets across domains (live where the initial weights are random) and live for sets "
        "of single domains (paper), or always frozen or live",
    )
    loss: Literal["kl", "mse"] = hparam(
        "kl", doc="divergence from the softened labels, or squared error of logits and the images' own classes"
    )
    temperature: float = hparam(20.0, gt=0, doc="of the divergence, which is not multiplied by its square")
    hard_weight: float = hparam(0.1, ge=0, doc="weight of the images' own classes beside the squared error")
    eval_every: int = hparam(10, gt=0, doc="epochs between records, where --checkpoint-freq is not given")


class Validate(PredictorStage):
    """Train a student on a distilled set with the views and logits of its label records.

    Args:
        images: the set.
        labels: the stages of its label records, or the one that answers for the owner's models.
        across: whether the paper freezes batch normalisation for it.
        transfer: the stage of the transfer network that images are rendered by.
    """

    kind = "distilled-student"
    hparams: Studying

    def __init__(
        self,
        problem: Problem,
        images: DistilledSet,
        labels: Sequence[LabelStage],
        hparams: Studying,
        *,
        across: bool,
        transfer: Stage | None = None,
    ) -> None:
        inputs: list[Stage] = [*images.shards, *labels, *([transfer] if transfer is not None else [])]
        super().__init__(problem, hparams, domains=problem.sources, inputs=inputs, seed=problem.seed)
        self.images, self.labels, self.transfer = images, list(labels), transfer
        self.frozen = frozen_bn(hparams.bn, across, problem)
        self.mixture: Mixture = self.labels[0].mixture
        self.batches = -(-self.mixture.shown(images.images) // hparams.batch_size)

    @property
    def steps(self) -> int:
        return self.problem.steps or self.hparams.epochs * self.batches

    def cost(self) -> float:
        return self.steps * self.hparams.batch_size * TRAINED * forward_flops(self.problem.network)

    def facts(self) -> Mapping[str, Any]:
        network = self.problem.network
        return {
            "network": network.name,
            "weights": weights_id(network),
            "frozen": self.frozen,
            "steps": self.steps,
            "images": [part.images for part in self.images.parts],
            "online": isinstance(self.labels[0], LabelService),
        }

    def recorded(self, number: int) -> bool:
        if self.problem.checkpoint_freq is not None:
            return super().recorded(number)
        epoch, place = divmod(number, self.batches)
        ends = place == self.batches - 1 and epoch % self.hparams.eval_every == 0
        return ends or number == self.steps - 1

    def epoch(self, step: int) -> float:
        return step / self.batches

    def build(self, work: Work) -> dict[str, nn.Module]:
        student = build(self.problem.network, seed_hash(self.seed, "initial weights"))
        apply_bn_policy(student, "frozen" if self.frozen else "live")
        return {"default": work.place(student)}

    def start(self, work: Work) -> State:
        images = self.images.load(work)
        labels = self._labels(work, len(images))
        student = self.build(work)["default"].train()
        transferred = work.input(self.transfer) if self.transfer is not None else None
        storage = self._storage(images, labels, transferred)
        return State(
            student=student,
            optimizer=torch.optim.AdamW(
                student.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay
            ),
            _images=images,
            _labels=labels,
            _transfer=transferred.network if transferred is not None else None,
            _storage=storage,
        )

    def _labels(self, work: Work, images: int) -> Labels:
        found: list[Any] = [work.input(stage) for stage in self.labels]
        if isinstance(found[0], OnlineLabels):
            return found[0]
        records: list[LabelRecord] = found
        for record in records:
            record.require(self.images.identity, images)
        return StoredLabels(records)

    def _storage(self, images: LoadedSet, labels: Labels, transferred: Any) -> dict[str, float]:
        network, stored = self.problem.network, 0 if isinstance(labels, OnlineLabels) else self.hparams.epochs
        counts, options = self.problem.metadata.counts, self.problem.options
        storage = Storage(
            len(images),
            network.image_size,
            average_source_images(counts, len(self.problem.sources), options.holdout_fraction),
            transferred.parameters if transferred is not None else 0,
            stored * self.mixture.shown(len(images)) * network.num_classes,
        )
        on_disk = images.bytes + labels.bytes + (transferred.bytes if transferred is not None else 0)
        return {
            "ratio_paper": storage.ratio_paper,
            "ratio_with_labels": storage.ratio_with_labels,
            "bytes_on_disk": float(on_disk),
        }

    def step(self, state: State, work: Work, number: int) -> Metrics:
        epoch, batch = divmod(number, self.batches)
        epoch %= self.hparams.epochs  # --steps may ask for more than there are labels for
        for parameters in state.optimizer.param_groups:
            parameters["lr"] = cosine(epoch / self.hparams.epochs, self.hparams.lr)
        views, student = state._labels.views(epoch), state.student
        seen, chosen = show(views, batch, self.hparams.batch_size, state._images.images, state._transfer)
        answers = student(work.runtime.images(seen))
        teacher = state._labels.logits(epoch, batch).to(work.device).float()
        if self.hparams.loss == "kl":
            loss = soft_label_divergence(answers, teacher, self.hparams.temperature)
        else:
            loss = matched_logits(answers, teacher, state._images.labels[chosen], self.hparams.hard_weight)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach(), **state._storage}

    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        return {"default": state.student}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        save_predictors(folder / "model.safetensors", self.predictors(state, work))
        return {}

    def load(self, folder: Path, work: Work) -> Network:
        predictors = self.build(work)
        load_predictors(folder / "model.safetensors", predictors)
        student: Network = predictors["default"].eval()  # type: ignore[assignment]
        return student
