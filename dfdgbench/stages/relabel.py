"""Relabel: soft labels of every view of a distilled set, stored as records or given on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dfdgbench.engine.flops import forward_flops
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.files import write_json
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.losses.soft_labels import ensemble_logits
from dfdgbench.networks.base import Network
from dfdgbench.networks.transfer import TransferNetwork
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import Released, Side
from dfdgbench.stages.distilled import DistilledSet, LoadedSet
from dfdgbench.stages.label_records import LabelRecord, load_record, save_record, set_id
from dfdgbench.stages.label_views import EpochViews, Mixture, draw_epoch, show


class Relabelling(Hparams):
    """Hyper-parameters of soft labels (spec, section 5)."""

    mode: Literal["stored", "online"] = hparam(
        "stored", doc="records of every epoch, or the owner's models asked batch by batch; the labels are the same"
    )
    crop: float = hparam(0.08, gt=0, le=1, doc="smallest area of the random crop")
    cutmix: float = hparam(1.0, ge=0, doc="alpha of CutMix's Beta, one draw a batch; 0: no CutMix")
    partners: Literal["own", "any"] = hparam(
        "own",
        doc="who is mixed in by CutMix: images of the same domain's set, or of any in the batch; the models of the image that is "
        "mixed into label both",
    )
    shuffle_cells: bool = hparam(False, doc="exchange halves of each image first, left and right, top and bottom")
    epochs_per_shard: int = hparam(50, gt=0, doc="epochs a record")
    together: int = hparam(8, gt=0, doc="batches that are labelled in one forward pass; changes only the last digits")


@dataclass(frozen=True, eq=False)
class Labeller:
    """The owner's models and how they look at a set.

    Attributes:
        models: of each part of the set.
        together: batches a forward pass.
    """

    models: Sequence[Sequence[Network]]
    images: LoadedSet
    hparams: Relabelling
    mixture: Mixture
    seed: int
    batch: int
    flip: bool
    work: Work
    transfer: TransferNetwork | None = None

    def views(self, epoch: int) -> EpochViews:
        """The views of one epoch."""
        return draw_epoch(
            self.hparams,
            self.mixture,
            self.images.owners,
            epoch,
            seed=self.seed,
            size=self.images.images.shape[-1],
            batch=self.batch,
            flip=self.flip,
        )

    def logits(self, views: EpochViews, first: int) -> list[Tensor]:
        """float16 logits [B, K] of ``together`` batches from batch ``first`` on."""
        return list(self.answers(views, first).half().split(self.batch))

    @torch.no_grad()
    def answers(self, views: EpochViews, first: int) -> Tensor:
        """The same of all these batches, one after the other, as the models give them: float32 [n, K]."""
        count = min(self.hparams.together, len(views.shares) - first)
        shown, chosen = show(views, first, self.batch, self.images.images, self.transfer, together=count)
        owners = self.images.owners[views.order[first * self.batch : (first + count) * self.batch].long()]
        of_batch = torch.arange(len(chosen)) // self.batch
        labelled: Tensor | None = None
        for part, models in enumerate(self.models):
            rows = (owners == part).nonzero()[:, 0]
            if not len(rows):
                continue
            there = rows.to(shown.device)
            seen = self.work.runtime.images(shown if len(rows) == len(shown) else shown[there])
            found = torch.stack([model(seen).float() for model in models])
            if labelled is None:
                labelled = found.new_zeros(len(shown), found.shape[-1])
            labelled[there] = _combined(found, of_batch[rows])
        assert labelled is not None
        return labelled


def _combined(logits: Tensor, of_batch: Tensor) -> Tensor:
    """One model's logits, or those of several brought to one norm batch by batch: [M, n, K] -> [n, K]."""
    if len(logits) == 1:
        return logits[0]
    lengths = of_batch.unique_consecutive(return_counts=True)[1].tolist()
    return torch.cat([ensemble_logits(part) for part in logits.split(lengths, dim=1)])


class LabelStage(Stage):
    """Base of the owner's stages that label a set.

    Args:
        images: what is labelled, with the models that label each part.
        batch: images a batch of the student's.
        transfer: the stage of a transfer network that images are rendered by.
    """

    hparams: Relabelling

    def __init__(
        self,
        problem: Problem,
        images: DistilledSet,
        hparams: Relabelling,
        batch: int,
        mixture: Mixture,
        transfer: Stage | None = None,
        index: int = 0,
    ) -> None:
        models = images.models
        inputs: list[Stage] = [*images.shards, *models, *([transfer] if transfer is not None else [])]
        super().__init__(
            problem,
            hparams,
            domains=problem.sources,
            inputs=inputs,
            side=Side.OWNER,
            releases=Released.LABELS,
            index=index,
            seed=seed_hash(problem.trial_seed, "labels", tuple(problem.domain_name(e) for e in problem.sources)),
        )
        self.images, self.batch, self.mixture, self.transfer = images, batch, mixture, transfer

    def facts(self) -> Mapping[str, Any]:
        parts = [
            {"shards": len(part.shards), "images": part.images, "models": len(part.models)}
            for part in self.images.parts
        ]
        return {
            "parts": parts,
            "batch": self.batch,
            "mixture": asdict(self.mixture),
            "index": self.index,
            "hflip": self.problem.metadata.hflip,
        }

    def labeller(self, work: Work) -> Labeller:
        """With everything loaded."""
        transfer = work.input(self.transfer).network if self.transfer is not None else None
        return Labeller(
            [[work.input(model) for model in part.models] for part in self.images.parts],
            self.images.load(work),
            self.hparams,
            self.mixture,
            self.seed,
            self.batch,
            self.problem.metadata.hflip,
            work,
            transfer,
        )


class Relabel(LabelStage):
    """Records of ``epochs_per_shard`` epochs; a step is an epoch. How long a student learns is not in its key."""

    kind = "labels"

    @property
    def steps(self) -> int:
        return self.hparams.epochs_per_shard

    def cost(self) -> float:
        each = sum(
            part.images * sum(forward_flops(model.problem.network) for model in part.models)
            for part in self.images.parts
        )
        return self.steps * each * self.mixture.shown(1)

    def start(self, work: Work) -> State:
        labeller = self.labeller(work)
        shown = self.mixture.shown(len(labeller.images))
        classes = self.problem.network.num_classes
        return State(
            logits=torch.zeros(self.steps, shown, classes, dtype=torch.float16),
            _labeller=labeller,
        )

    def step(self, state: State, work: Work, number: int) -> Metrics:
        labeller: Labeller = state._labeller
        views = labeller.views(self.index * self.steps + number)
        starts = range(0, len(views.shares), self.hparams.together)
        state.logits[number] = torch.cat([part for first in starts for part in labeller.logits(views, first)]).cpu()
        return {}

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        labeller: Labeller = state._labeller
        epochs = tuple(labeller.views(self.index * self.steps + number) for number in range(self.steps))
        images = len(labeller.images)
        save_record(folder, LabelRecord(set_id(self.images.identity), images, self.batch, epochs, state.logits))
        return {"epochs": self.steps, "images": images}

    def load(self, folder: Path, work: Work) -> LabelRecord:
        return load_record(folder)


class LabelService(LabelStage):
    """The owner's models, asked batch by batch: no records are kept, and the user sees logits alone."""

    kind = "label-service"

    def start(self, work: Work) -> State:
        return State()

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        write_json(folder / "service.json", {"set": set_id(self.images.identity)})
        return {}

    def load(self, folder: Path, work: Work) -> OnlineLabels:
        return OnlineLabels(self.labeller(work))


class StoredLabels:
    """Labels out of consecutive records."""

    def __init__(self, records: Sequence[LabelRecord]) -> None:
        self.records = list(records)
        self.bytes = sum(record.bytes for record in records)

    def views(self, epoch: int) -> EpochViews:
        """The views of an epoch."""
        record, place = divmod(epoch, len(self.records[0].epochs))
        return self.records[record].epochs[place]

    def logits(self, epoch: int, batch: int) -> Tensor:
        """float16 [B, K]."""
        record, place = divmod(epoch, len(self.records[0].epochs))
        size = self.records[record].batch
        return self.records[record].logits[place, batch * size : (batch + 1) * size]


class OnlineLabels:
    """Labels by asking; as many batches are labelled at once as are for a record, so that both give the same bits."""

    bytes = 0

    def __init__(self, labeller: Labeller) -> None:
        self.labeller = labeller
        self._views: tuple[int, EpochViews] | None = None
        self._asked: tuple[tuple[int, int], list[Tensor]] | None = None

    def views(self, epoch: int) -> EpochViews:
        """The views of an epoch."""
        if self._views is None or self._views[0] != epoch:
            self._views = epoch, self.labeller.views(epoch)
        return self._views[1]

    def logits(self, epoch: int, batch: int) -> Tensor:
        """float16 [B, K]."""
        together = self.labeller.hparams.together
        place = epoch, batch // together
        if self._asked is None or self._asked[0] != place:
            self._asked = place, self.labeller.logits(self.views(epoch), place[1] * together)
        return self._asked[1][batch % together]


Labels = StoredLabels | OnlineLabels


def label_source(
    problem: Problem,
    images: DistilledSet,
    hparams: Relabelling,
    epochs: int,
    batch: int,
    mixture: Mixture | None = None,
    transfer: Stage | None = None,
) -> tuple[LabelStage, ...]:
    """The stages that a student's labels for ``epochs`` epochs come from."""
    mixture = mixture or Mixture()
    if hparams.mode == "online":
        return (LabelService(problem, images, hparams, batch, mixture, transfer),)
    shards = -(-epochs // hparams.epochs_per_shard)
    return tuple(Relabel(problem, images, hparams, batch, mixture, transfer, index) for index in range(shards))
