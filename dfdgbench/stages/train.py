"""Train a step-wise method on real images: a run of a one-stage algorithm, or a teacher for a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dfdgbench.datasets.feed.training import Batch, EachDomain, PooledFeed, pooled_batches
from dfdgbench.engine.flops import TRAINED, forward_flops
from dfdgbench.engine.predictions import load_predictors, save_predictors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State, pack, unpack
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.engine.work import Work
from dfdgbench.errors import DataError
from dfdgbench.hparams import Hparams, case, hparam
from dfdgbench.networks.base import NetworkSpec, weights_id
from dfdgbench.seeds import seed_hash
from dfdgbench.settings import Read, Released, Side


class Moving:
    """All of a step-wise algorithm that training changes: its modules, and its optimisers, counters and generators."""

    def __init__(self, algorithm: nn.Module) -> None:
        self.algorithm = algorithm

    def _parts(self) -> dict[str, Any]:
        kinds = (Optimizer, LRScheduler, torch.Generator, Tensor, int, float)
        return {
            name: value
            for name, value in vars(self.algorithm).items()
            if isinstance(value, kinds) and not name.startswith("_") and name != "training"
        }

    def state_dict(self) -> dict[str, Any]:
        parts = {name: pack(value) for name, value in self._parts().items()}
        return {"module": self.algorithm.state_dict(), "parts": parts}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(saved["module"])
        for name, value in self._parts().items():
            setattr(self.algorithm, name, unpack(value, saved["parts"][name]))


class Train(PredictorStage):
    """Train ``algorithm`` on the train splits of ``domains``.

    Args:
        algorithm: a class with DomainBed's interface.
        hparams: the algorithm's own hyper-parameters. ``sampling`` "pooled" draws ``batch_size`` images a step from all
            domains together, else from each; ``epochs`` counts passes over the training data.
        steps: number of updates; None for the hyper-parameters' epochs, else the dataset's number.
    """

    kind = "train"

    def __init__(
        self,
        algorithm: Any,
        problem: Problem,
        domains: Sequence[int],
        hparams: Hparams,
        *,
        steps: int | None = None,
        seed: int | None = None,
        side: Side = Side.USER,
        releases: Released | None = None,
        validation: bool = False,
    ) -> None:
        self.algorithm = algorithm
        self._steps = steps
        self._feeds_from = [Read(domain, problem.protocol.train) for domain in domains]
        self._validation = Read(domains[0], problem.protocol.validation) if validation else None
        reads = (*self._feeds_from, *([self._validation] if self._validation else []))
        super().__init__(problem, hparams, domains=domains, reads=reads, side=side, releases=releases, seed=seed)

    @property
    def steps(self) -> int:
        if self._steps is not None:
            return self._steps
        return self._epochs * self.steps_per_epoch if self._epochs else self.problem.metadata.steps

    @property
    def _epochs(self) -> int | None:
        """Passes over the training data, where the hyper-parameters give these and the run's options no steps."""
        return getattr(self.hparams, "epochs", None) if self._steps is None else None

    @property
    def _pooled(self) -> bool:
        return getattr(self.hparams, "sampling", "domain") == "pooled"

    @property
    def _images_a_step(self) -> int:
        batch_size: int = self.hparams.batch_size  # type: ignore[union-attr]
        return batch_size if self._pooled else batch_size * len(self._feeds_from)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Steps that one pass over all source domains takes; by the dataset's published counts where data is not here."""
        try:
            images = sum(len(self.problem.split(read.domain, read.split)) for read in self._feeds_from)
        except DataError:
            counts = self.problem.metadata.counts or ()
            images = sum(counts[read.domain] for read in self._feeds_from if read.domain < len(counts))
        return max(1, pooled_batches(images, self._images_a_step))

    def cost(self) -> float:
        return self.steps * self._images_a_step * TRAINED * forward_flops(self.network)

    @property
    def network(self) -> NetworkSpec:
        """The network as the algorithm's hyper-parameters shape it."""
        spec: NetworkSpec = self.algorithm.network_spec(self.problem.network, self.hparams)
        return spec

    @property
    def initial_seed(self) -> int:
        """The seed of the random initial weights."""
        return self.seed

    def facts(self) -> Mapping[str, Any]:
        return {
            "algorithm": f"{self.algorithm.__module__}:{self.algorithm.__qualname__}",
            "network": self.network.name,
            "weights": weights_id(self.network),
            "image_size": self.network.image_size,
            "num_classes": self.network.num_classes,
            "initial_seed": self.initial_seed,
            "steps": self.steps,
            "validation": self.problem.metadata.checkpoint_freq if self._validation is not None else None,
            "hflip": self.problem.metadata.hflip,
            "augment": self.problem.metadata.augment,
            **({"data_path": self.problem.data_path.kind} if self._augments else {}),
        }

    @property
    def _augments(self) -> bool:
        return bool(getattr(self.hparams, "data_augmentation", False)) and self.problem.metadata.augment

    def build(self, work: Work) -> dict[str, nn.Module]:
        predictors: dict[str, nn.Module] = self._algorithm(work).predictors()
        return predictors

    def _algorithm(self, work: Work) -> Any:
        size = self.network.image_size
        algorithm = self.algorithm(
            (self.network.channels, size, size),
            self.network.num_classes,
            len(self._feeds_from),
            self.hparams,
            network=self.network,
            seed=self.initial_seed,
            place=work.place,
        )
        algorithm.domain_names = self.domains
        return algorithm.train()

    def start(self, work: Work) -> State:
        algorithm = self._algorithm(work)
        if hasattr(algorithm, "steps_per_epoch"):
            algorithm.steps_per_epoch = self.steps_per_epoch
        return State(
            moving=Moving(algorithm),
            best={},
            best_accuracy=-1.0,
            _algorithm=algorithm,
            _feed=self._feed(work),
            _stream=None,
        )

    def _feed(self, work: Work) -> EachDomain | PooledFeed:
        batch_size: int = self.hparams.batch_size  # type: ignore[union-attr]
        augmentation = getattr(self.hparams, "augmentation", "domainbed")
        if self._pooled:
            return work.pooled_feed(self._feeds_from, batch_size, augment=self._augments, augmentation=augmentation)
        feeds = [
            work.feed(
                read,
                batch_size,
                augment=self._augments,
                hflip=self._hflip(read),
                class_balanced=bool(getattr(self.hparams, "class_balanced", False)),
                augmentation=augmentation,
            )
            for read in self._feeds_from
        ]
        return EachDomain(feeds)

    def _hflip(self, read: Read) -> bool | None:
        return None

    def step(self, state: State, work: Work, number: int) -> Metrics:
        if state._stream is None:
            state._stream = state._feed.prefetch(number)
        minibatches = [_on_device(batch, work) for batch in next(state._stream)]
        metrics: Metrics = state._algorithm.update(minibatches, None)
        if self._validation and self._due(number):
            self._validate(state, work)
        return metrics

    def _due(self, number: int) -> bool:
        every = self.problem.metadata.checkpoint_freq
        return number == self.steps - 1 or (number > 0 and number % every == 0)

    def _validate(self, state: State, work: Work) -> None:
        """Keep the weights that do best on the domain's own validation split (the first of several that tie)."""
        assert self._validation is not None
        predictor = next(iter(state._algorithm.predictors().values()))
        accuracy = work.accuracy(predictor, self._validation)
        if accuracy > state.best_accuracy:
            state.best_accuracy = accuracy
            state.best = {name: value.detach().cpu().clone() for name, value in predictor.state_dict().items()}

    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        predictors: dict[str, nn.Module] = state._algorithm.predictors()
        return predictors

    def answering(self, predictor: nn.Module, domain: int | None, split: str) -> nn.Module | None:
        choose = getattr(predictor, "answering", None)
        if choose is None:
            return predictor
        trained = [read.domain for read in self._feeds_from]
        position = trained.index(domain) if domain in trained else None
        chosen: nn.Module | None = choose(position, self.problem.use(split))
        return chosen

    def diagnostics(self, state: State, work: Work) -> Mapping[str, NDArray[Any]]:
        made = getattr(state._algorithm, "diagnostics", None)
        return made() if made is not None else {}

    def recorded(self, number: int) -> bool:
        if self._epochs and self.problem.checkpoint_freq is None:
            return (number + 1) % self.steps_per_epoch == 0
        return super().recorded(number)

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        predictor = next(iter(state._algorithm.predictors().values()))
        if self._validation:
            predictor.load_state_dict(state.best)
        save_predictors(folder / "model.safetensors", {"default": predictor})
        return {"validation accuracy": 100 * state.best_accuracy} if self._validation else {}

    def load(self, folder: Path, work: Work) -> nn.Module:
        """The trained predictor, on the device, in eval mode, its parameters frozen."""
        predictor = next(iter(self.build(work).values()))
        load_predictors(folder / "model.safetensors", {"default": predictor})
        return predictor.eval().requires_grad_(False)

    def epoch(self, step: int) -> float:
        """DomainBed's: the smallest domain's, held-out domains counted too. Of pooled images, passes over all of them."""
        if self._pooled:
            return step / self.steps_per_epoch
        sizes = []
        for domain in range(len(self.problem.metadata.domains)):
            try:
                sizes.append(len(self.problem.split(domain, self.problem.protocol.train)))
            except DataError:
                continue
        batch_size: int = self.hparams.batch_size  # type: ignore[union-attr]
        return step / (min(sizes) / batch_size) if sizes else float("nan")


def _on_device(batch: Batch, work: Work) -> Batch:
    images, labels = batch
    return work.runtime.images(images), labels.to(work.device, non_blocking=True)


class Teaching(Hparams):
    """Hyper-parameters of a teacher: DomainBed's ERM on one domain, batch normalisation live.

    They belong to the owner of the data and stay fixed in a search.
    """

    lr: float = hparam(5e-5, small=case(1e-3), gt=0, doc="learning rate of Adam")
    weight_decay: float = hparam(0.0, ge=0, doc="weight decay of Adam")
    batch_size: int = hparam(32, small=case(64), gt=0, doc="images a step")
    steps: int | None = hparam(None, gt=0, doc="updates; the dataset's number where not given")
    selection: Literal["validation", "last"] = hparam(
        "validation", doc="which weights are released: the best on the domain's own validation split, or the last"
    )
    data_augmentation: bool = hparam(True, doc="DomainBed's augmentation, where the dataset has one")
    hflip_domains: tuple[str, ...] = hparam(
        (), doc="domains whose training images are mirrored though the dataset says no"
    )
    resnet_dropout: float = hparam(0.0, ge=0, lt=1, doc="dropout of the features")
    class_balanced: bool = hparam(False, doc="draw every class equally often")
    freeze_bn: bool = hparam(False, doc="keep batch normalisation at its initial statistics")
    nonlinear_classifier: bool = hparam(False, doc="a classifier of three layers")


class Teacher(Train):
    """An ERM model of one domain, released by the owner of its images (DEKAN, stage 0).

    All teachers of a trial share their random initial weights, so that they can be averaged.
    """

    kind = "teacher"

    def __init__(self, erm: type[Any], problem: Problem, domain: int, teaching: Teaching) -> None:
        steps = teaching.steps or problem.metadata.steps
        super().__init__(
            erm,
            problem,
            [domain],
            teaching,
            steps=steps,
            side=Side.OWNER,
            releases=Released.MODEL,
            validation=teaching.selection == "validation",
        )

    @property
    def initial_seed(self) -> int:
        return seed_hash(self.problem.trial_seed, "initial weights")

    def _hflip(self, read: Read) -> bool | None:
        taught: Teaching = self.hparams  # type: ignore[assignment]
        return True if self.problem.domain_name(read.domain) in taught.hflip_domains else None
