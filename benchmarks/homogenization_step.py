"""A step of data homogenisation, ours and the plain way of doing it, in one run.

Plain: the reconstruction network's convolutions and the frozen classifier as PyTorch has them, and ``torch.var_mean`` of every
map. Ours: convolutions between few channels as products, batch normalisation folded into the classifier's convolutions or made a
product, channels last, moments of all maps at once. Both compute the same, which is shown in float64 on eight images.
The two take turns, so that a busy machine hurts them alike; the ratio is the median of the rounds' ratios. Weights are random:
they do not change the time.

    python benchmarks/homogenization_step.py                                        # MNIST's ResNet-20, batches of 128
    python benchmarks/homogenization_step.py --network cifar_resnet18 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.losses.homogenization import Moments, reduced, statistics_loss
from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.frozen import frozen
from dfdgbench.networks.homogenization import Reconstruction
from dfdgbench.networks.maps import FeatureMaps, convolutions

CLASSES = 10
METHODS = ("CRITERION", "NN", "NN ALL", "RANDOM NN")
Step = Callable[[], tuple[Tensor, list[Tensor]]]


def _places(method: str, layers: int) -> list[int]:
    every = list(range(layers + 1))
    return {"CRITERION": [], "NN": [layers], "NN ALL": every[2:], "RANDOM NN": every}[method]


def _plain_loss(sources: list[Moments], maps: list[Tensor]) -> Tensor:
    terms = []
    for (mean, variance), map_ in zip(sources, maps, strict=True):
        dims = [0, *range(2, map_.ndim)]
        found = torch.var_mean(map_, dims, correction=0)
        terms.append((mean[0] - found[1]).norm() + (variance[0] - found[0]).norm())
    return reduced(torch.stack(terms), "mean")


def _plain_forward(rho: Reconstruction, images: Tensor) -> Tensor:
    made: Tensor = rho.exit(rho.blocks(rho.entry(images)))
    return made


class Bench:
    """One method's step, both ways, on one reconstruction network each."""

    def __init__(self, method: str, network: Network, images: Tensor, labels: Tensor, random: Network) -> None:
        self.places = _places(method, len(convolutions(network.featurizer)))
        self.images, self.labels = images, labels
        looked = random if method == "RANDOM NN" else network
        self.plain_networks = (network, looked)
        mine = frozen(network, self.places if looked is network else ())
        self.our_networks = (mine, mine if looked is network else frozen(looked, self.places))
        self.sources: list[Moments] = []
        if self.places:
            with FeatureMaps(looked, self.places) as reader, torch.no_grad():
                found = [torch.var_mean(m, [0, *range(2, m.ndim)], correction=0) for m in reader.of(images)[1]]
            self.sources = [(mean[None], variance[None]) for variance, mean in found]

    def step(self, ours: bool) -> Step:
        """One step of a fresh reconstruction network: its loss, and the gradients of its kernels."""
        rho = Reconstruction(self.images.shape[1], 8, 8, torch.Generator().manual_seed(0)).train().to(self.images.dtype)
        judge, looked = self.our_networks if ours else self.plain_networks
        kernels = [parameter for parameter in rho.parameters() if parameter.ndim == 4]

        def run() -> tuple[Tensor, list[Tensor]]:
            rho.zero_grad(set_to_none=True)
            made = rho(self.images) if ours else _plain_forward(rho, self.images)
            with FeatureMaps(looked, self.places) as reader:
                logits, maps = reader.of(made)
            loss = functional.cross_entropy(
                logits if judge is looked else judge.classifier(judge.featurizer(made)), self.labels
            )
            if maps:
                loss = loss + (statistics_loss if ours else _plain_loss)(self.sources, maps)
            loss.backward()
            return loss.detach(), [kernel.grad for kernel in kernels if kernel.grad is not None]

        return run

    def check(self) -> float:
        """Largest difference of the two ways' losses and gradients."""
        (one, mine), (two, plain) = self.step(True)(), self.step(False)()
        return max(float((a - b).abs().max()) for a, b in zip([one, *mine], [two, *plain], strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="mnist_resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    channels, size = (1, 28) if options.network.startswith("mnist") else (3, 32)
    spec = NetworkSpec(options.network, CLASSES, image_size=size, channels=channels)
    network, random = (build(spec, seed).eval().requires_grad_(False) for seed in (0, 1))
    images = torch.randn(options.batch, channels, size, size, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(options.batch) % CLASSES
    for method in METHODS:
        bench = Bench(method, network, images, labels, random)
        exact = Bench(method, deepcopy(network).double(), images[:8].double(), labels[:8], deepcopy(random).double())
        difference = exact.check()
        ways = [bench.step(ours) for ours in (True, False)]
        times = []
        for _ in range(options.rounds):
            took = []
            for way in ways:
                began = time.process_time()
                way()
                took.append(time.process_time() - began)
            times.append(took)
        ours, plain = (1000 * statistics.median(each) for each in zip(*times, strict=True))
        ratio = statistics.median(other / one for one, other in times)
        print(
            f"{method:10} ours {ours:6.0f} ms   plain {plain:6.0f} ms   {ratio:.2f} x   in float64 they differ by {difference:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
