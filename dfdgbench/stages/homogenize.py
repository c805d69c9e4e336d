"""Post-hoc adaptation: a reconstruction network is trained so that what a fixed classifier makes of a small target set has the
statistics that its owner stored (guided data homogenisation, Willis and Oala 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.engine.flops import OPTIMISED, forward_flops
from dfdgbench.engine.predictions import load_predictors, save_predictors
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, PredictorStage
from dfdgbench.engine.work import Work
from dfdgbench.hparams import Hparams, case, group, hparam
from dfdgbench.losses.homogenization import Moments, Reduction, neighbour_variation, statistics_loss
from dfdgbench.networks.base import Network
from dfdgbench.networks.frozen import frozen
from dfdgbench.networks.homogenization import Corrupted, Corruption, Homogenized, Perturbation, Reconstruction, scores
from dfdgbench.networks.maps import FeatureMaps, convolutions
from dfdgbench.seeds import generator
from dfdgbench.settings import Read
from dfdgbench.stages.classifier import Classifier, Trained, Verifier
from dfdgbench.stages.homogenize_measures import Measured, TargetSet, load_images, mean_and_spread, strips
from dfdgbench.stages.source_statistics import (
    PROJECTED,
    RANDOM,
    TRAINED,
    Reading,
    SourceStatistics,
    Statistics,
    Variance,
    check_statistics,
    read_statistics,
)

Maps = Literal["criterion", "nn", "nn-all", "random-nn", "rp"]
Kind = Literal["auto", "none", "convolution", Corruption]


class Perturbing(Hparams):
    """What is done to the target's images, and to unseen ones of its domain."""

    kind: Kind = hparam(
        "auto", doc="convolution where a domain is its own target, else none; or one of torchvision's corruptions"
    )
    kappa: float = hparam(
        0.15, by_dataset={"MNIST": case(0.3)}, ge=0, doc="strength of the convolutions and of their noise"
    )
    biases: bool = hparam(True, doc="random biases of the convolutions (released code), or none (text)")
    severity: int = hparam(3, ge=1, le=5, doc="strength of a corruption")
    seed: int | None = hparam(None, ge=0, doc="which perturbation; None: one a trial")


class Homogenising(Hparams):
    """Hyper-parameters of the adaptation (fact sections 2 to 4; the released code where it and the paper disagree)."""

    maps: Maps = hparam(
        "nn-all",
        doc="whose statistics guide it: none, the last convolution's, all, a random network's, random projections",
    )
    class_conditional: bool = hparam(False, doc="statistics of each class (CC)")
    supervised: bool = hparam(True, doc="whether the target set's labels are used")
    reading: Reading = hparam("code", doc="which maps: convolutions' outputs (released code), or hidden states (paper)")
    over_maps: Reduction = hparam("mean", doc="mean (released code) or sum (paper) over maps")
    over_classes: Reduction = hparam("mean", doc="mean (released code) or sum (paper) over classes")
    source_variance: Variance = hparam(
        "within-batch", doc="the stored variance: mean of batches' (released code), or pooled"
    )
    statistics_weight: float = hparam(
        1.0, by_dataset={"MNIST": case(0.001), "CIFAR10": case(10.0)}, ge=0, doc="weight of the statistics (r_stats)"
    )
    criterion_weight: float = hparam(1.0, ge=0, doc="weight of the cross-entropy (r_crit); without labels it is 0")
    variation_weight: float = hparam(
        0.0, ge=0, doc="weight of neighbours' differences (0.001 in the released code's defaults)"
    )
    width: int = hparam(8, gt=0, doc="channels within a block of the reconstruction network (text: 16)")
    depth: int = hparam(8, gt=0, doc="its blocks (text: 4)")
    target_images: int = hparam(512, gt=0, doc="images of the target set")
    batch_size: int = hparam(128, gt=0, doc="images a step")
    epochs: int = hparam(100, gt=0, doc="passes over the target set")
    lr: float = hparam(0.1, gt=0, doc="learning rate of Adam")
    initialisations: int = hparam(
        1, gt=0, doc="reconstruction networks a run, whose spread is recorded beside their mean"
    )
    statistics_folder: str = hparam("", doc="a folder of released statistics to use instead of those of this store")
    perturbation: Perturbing = group(Perturbing, searched=False, doc="what is to be undone")


def perturbation_kind(problem: Problem, given: Perturbing) -> str:
    """What is done to the target's images."""
    if given.kind != "auto":
        return given.kind
    return "convolution" if problem.targets[0] in problem.sources else "none"


def make_perturbation(problem: Problem, given: Perturbing, network: Network) -> nn.Module | None:
    """The perturbation that its seed draws, None for none."""
    kind, spec = perturbation_kind(problem, given), problem.network
    random = generator(problem.trial_seed if given.seed is None else given.seed, "perturbation")
    if kind == "none":
        return None
    if kind == "convolution":
        return Perturbation(spec.channels, spec.shape, given.kappa, random, biases=given.biases)
    assert kind in get_args(Corruption)
    return Corrupted(kind, given.severity, network, spec.shape, random)  # type: ignore[arg-type]


def places(maps: Maps, reading: Reading, layers: int) -> tuple[str, list[int]]:
    """Family and places of a method's maps, for a network of ``layers`` convolutions (section 3.3)."""
    every = list(range(layers + 1))
    if maps == "rp":
        return PROJECTED, [0]
    if reading == "paper":
        found = {
            "nn": (TRAINED, [layers + 1]),
            "nn-all": (TRAINED, [*every, layers + 1]),
            "random-nn": (RANDOM, [*every, layers + 1]),
        }
    else:
        found = {"nn": (TRAINED, [layers]), "nn-all": (TRAINED, every[2:]), "random-nn": (RANDOM, every)}
    return found[maps]


class Guide:
    """What pulls reconstructed images to the source's statistics.

    Args:
        network: the classifier.
        statistics: None where the method has none.
    """

    def __init__(
        self, network: Network, statistics: Statistics | None, problem: Problem, hparams: Homogenising
    ) -> None:
        self.hparams = hparams
        self.targets: list[Moments] = []
        self.looking: Network | None = None
        if statistics is None or hparams.maps == "criterion" or not hparams.statistics_weight:
            self.network = frozen(network)
            return
        family, self.places = places(hparams.maps, hparams.reading, len(convolutions(network.featurizer)))
        self.network = frozen(network, self.places if family == TRAINED else ())
        by_class, device = hparams.class_conditional, network.mean.device
        found = statistics.moments(family, self.places, by_class=by_class, variance=hparams.source_variance)
        self.targets = [(mean.to(device), variance.to(device)) for mean, variance in found]
        if family == PROJECTED:
            spec = problem.network
            self.directions = statistics.directions((spec.channels, *spec.shape)).to(device)
            self.colour = statistics.colour(by_class).to(device)[:, :, None, None]
        else:
            random = family == RANDOM
            self.looking = frozen(statistics.random_network(network, problem), self.places) if random else self.network

    def losses(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """The terms of the objective for reconstructed images [B, C, H, W], and their weighted sum ``loss``."""
        hparams = self.hparams
        terms: dict[str, Tensor] = {}
        logits, maps = self._look(images, labels)
        total = images.new_zeros(())
        if logits is not None and labels is not None:
            terms["criterion"] = functional.cross_entropy(logits, labels)
            total = total + hparams.criterion_weight * terms["criterion"]
        if maps:
            terms["statistics"] = statistics_loss(
                self.targets,
                maps,
                labels if hparams.class_conditional else None,
                over_classes=hparams.over_classes,
                over_maps=hparams.over_maps,
            )
            total = total + hparams.statistics_weight * terms["statistics"]
        if hparams.variation_weight:
            total = total + hparams.variation_weight * neighbour_variation(images)
        return {"loss": total, **terms}

    def _look(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor | None, list[Tensor]]:
        """Scores, where a criterion needs them, and the maps, where they count."""
        counted = bool(self.targets)
        judged = labels is not None and self.hparams.supervised and self.hparams.criterion_weight > 0
        logits: Tensor | None = None
        maps: list[Tensor] = []
        if counted and self.looking is not None:
            with FeatureMaps(self.looking, self.places) as reader:
                logits, maps = reader.of(images)
        elif counted:
            colour = self.colour[labels] if self.hparams.class_conditional else self.colour
            maps = [(images - colour).flatten(1) @ self.directions]
        if judged and (not counted or self.looking is not self.network):
            logits = scores(self.network, images)
        return (logits if judged else None), maps


class Homogenize(PredictorStage):
    """Train the reconstruction network on a small target set; the classifier and what it carries stay as they are.

    Predictors: the default one is the classifier behind perturbation and reconstruction, ``distorted`` behind the perturbation
    alone, ``undistorted`` the classifier, ``init1``, ... other initialisations of the reconstruction.
    """

    kind = "homogenize"
    version = 2
    hparams: Homogenising

    def __init__(
        self,
        classifier: Classifier,
        verifier: Verifier,
        statistics: SourceStatistics | None,
        problem: Problem,
        hparams: Homogenising,
    ) -> None:
        self.classifier, self.verifier, self.statistics = classifier, verifier, statistics
        target = problem.targets[0]
        self._target = Read(target, problem.adaptation, labelled=hparams.supervised)
        super().__init__(
            problem,
            hparams,
            domains=[target],
            inputs=[classifier, verifier, *([statistics] if statistics else [])],
            reads=(self._target,),
            seed=problem.seed,
        )

    @property
    def steps(self) -> int:
        return self.hparams.initialisations * self._each

    @property
    def _each(self) -> int:
        """Steps of one reconstruction network."""
        return self.problem.steps or self.hparams.epochs * self._batches

    @property
    def _batches(self) -> int:
        return math.ceil(self.hparams.target_images / self.hparams.batch_size)

    def cost(self) -> float:
        return self.steps * self.hparams.batch_size * OPTIMISED * forward_flops(self.problem.network)

    def epoch(self, step: int) -> float:
        return (step % self._each + 1) / self._batches

    def recorded(self, number: int) -> bool:
        """At the end alone, unless ``--checkpoint-freq`` asks for more: a record measures seven things."""
        return number == self.steps - 1 or (self.problem.checkpoint_freq is not None and super().recorded(number))

    def facts(self) -> Mapping[str, Any]:
        return {"perturbation": perturbation_kind(self.problem, self.hparams.perturbation), "steps": self.steps}

    def ready(self) -> None:
        if self.hparams.statistics_folder:  # whose they are is told when they are used
            read_statistics(Path(self.hparams.statistics_folder).expanduser())

    def build(self, work: Work) -> dict[str, nn.Module]:
        trained: Trained = work.input(self.classifier)
        return self._predictors(trained.network, self._reconstructions(work), work)

    def _reconstructions(self, work: Work) -> nn.ModuleList:
        hparams, channels = self.hparams, self.problem.network.channels
        made = [
            Reconstruction(channels, hparams.width, hparams.depth, work.generator("reconstruction", number))
            for number in range(hparams.initialisations)
        ]
        return nn.ModuleList(made).to(work.device)

    def _perturbed(self, network: Network, work: Work) -> list[nn.Module]:
        made = make_perturbation(self.problem, self.hparams.perturbation, network)
        return [] if made is None else [made.to(work.device)]

    def _predictors(self, network: Network, reconstructions: nn.ModuleList, work: Work) -> dict[str, nn.Module]:
        before = self._perturbed(network, work)
        found: dict[str, nn.Module] = {}
        for number, reconstruction in enumerate(reconstructions):
            found[f"init{number}" if number else "default"] = Homogenized(network, [*before, reconstruction])
        found["distorted"] = Homogenized(network, before)
        if before:
            found["undistorted"] = Homogenized(network, [])
        return found

    def start(self, work: Work) -> State:
        trained: Trained = work.input(self.classifier)
        network = trained.network
        images, labels = load_images(work.split(self._target), self.hparams.target_images, network, self.problem, work)
        for module in self._perturbed(network, work):
            images = module(images)
        reconstructions = self._reconstructions(work)
        return State(
            reconstructions=reconstructions,
            optimizers=[torch.optim.Adam(rho.parameters(), lr=self.hparams.lr) for rho in reconstructions],
            done=0,
            _network=network,
            _guide=Guide(network, self._statistics(network, work), self.problem, self.hparams),
            _images=images,
            _labels=labels if self.hparams.supervised else None,
            _target=None,
        )

    def _statistics(self, network: Network, work: Work) -> Statistics | None:
        given = self.hparams.statistics_folder
        if not given and self.statistics is None:
            return None
        found: Statistics = read_statistics(Path(given).expanduser()) if given else work.input(self.statistics)  # type: ignore[arg-type]
        sources = [self.problem.fingerprint(Read(d, self.problem.protocol.train)) for d in self.problem.sources]
        check_statistics(found, network, sources, self.problem.network.name)
        return found

    def step(self, state: State, work: Work, number: int) -> Metrics:
        which, within = divmod(number, self._each)
        rho, optimizer = state.reconstructions[which].train(), state.optimizers[which]
        chosen = self._batch(within, len(state._images), work).to(work.device)
        labels = None if state._labels is None else state._labels[chosen]
        terms = state._guide.losses(rho(state._images[chosen]), labels)
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        optimizer.step()
        state.done = number + 1
        return {name: value.detach() for name, value in terms.items()}

    def _batch(self, number: int, size: int, work: Work) -> Tensor:
        """Indices of a batch: passes, each in an order of its own, whose last batch may be smaller. All initialisations see the
        same batches."""
        epoch, place = divmod(number, self._batches)
        order = torch.randperm(size, generator=work.generator("pass", epoch))
        return order[place * self.hparams.batch_size : (place + 1) * self.hparams.batch_size]

    def predictors(self, state: State, work: Work) -> dict[str, nn.Module]:
        return self._predictors(state._network, state.reconstructions, work)

    # What a record holds ---------------------------------------------------------------------------------------------

    def measures(self, state: State, work: Work) -> Mapping[str, float]:
        """Section 6: means over the initialisations that were begun, ``_sd`` their spread, ``@...`` of what is not adapted."""
        target = self._measured_on(state, work)
        before = self._perturbed(state._network, work)
        begun = state.reconstructions[: math.ceil(state.done / self._each)]
        found = mean_and_spread([target.measure(nn.Sequential(*before, rho)) for rho in begun])
        found |= {f"{name}@distorted": value for name, value in target.measure(nn.Sequential(*before)).items()}
        found |= {f"{name}@undistorted": value for name, value in target.measure(nn.Sequential()).items()}
        return found | {f"{name}@source": value for name, value in target.source().items()}

    def _measured_on(self, state: State, work: Work) -> TargetSet:
        if state._target is None:
            trained, verifier = work.input(self.classifier), work.input(self.verifier)
            state._target = TargetSet(self.problem, self._target, self.hparams.target_images, trained, verifier, work)
        found: TargetSet = state._target
        return found

    def diagnostics(self, state: State, work: Work) -> Mapping[str, NDArray[Any]]:
        """Ten images of the target set: as they are, distorted, and homogenised."""
        target = self._measured_on(state, work)
        before = self._perturbed(state._network, work)
        return strips(target, nn.Sequential(*before), state.reconstructions[0])

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        save_predictors(folder / "model.safetensors", self.predictors(state, work))
        return {}

    def load(self, folder: Path, work: Work) -> nn.Module:
        predictors = self.build(work)
        load_predictors(folder / "model.safetensors", predictors)
        return predictors["default"].eval()


__all__ = ["Homogenising", "Homogenize", "Measured", "Perturbing", "make_perturbation", "places"]
