"""What DMG's masks cost: a training step against Aggregate's, Pred-Ens evaluation against one pass of the plain network.

All variants take turns in one run, so that a busy machine hurts them alike; every number is a median of processor
time (on a GPU of time), a ratio the median of the rounds' ratios. Weights are random: they do not change the time.

    python benchmarks/dmg.py                                 # AlexNet and ResNet-18, three sources, batches of 64
    python benchmarks/dmg.py --networks resnet18 --sites script --rounds 21 --device cuda
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dfdgbench.algorithms.aggregate import Aggregate
from dfdgbench.algorithms.dmg import DMG, RESNET_STAGES
from dfdgbench.engine.evaluation import scores_of
from dfdgbench.networks.base import NetworkSpec

SIZE, CLASSES = 224, 7


def rounds_of(work: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every variant in every round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for number in range(rounds + 1):
        for name, each in work.items():
            began = clock()
            each()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(clock() - began)
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, plain: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(seconds[name], seconds[plain], strict=True))


def report(title: str, seconds: Mapping[str, list[float]], plain: str) -> None:
    """One line a variant: milliseconds, and how many times the plain one's."""
    for name, values in seconds.items():
        middle = 1000 * statistics.median(values)
        print(f"{title:62} {name:28} {middle:9.1f} ms   {ratio(seconds, name, plain):6.3f} x", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["alexnet", "resnet18"])
    parser.add_argument(
        "--sites", choices=RESNET_STAGES, default="paper", help="'script' also masks what enters a ResNet's layer3"
    )
    parser.add_argument("--domains", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    for name in options.networks:
        _measure(name, options, device)


def _measure(name: str, options: argparse.Namespace, device: torch.device) -> None:
    spec = NetworkSpec(name, CLASSES, weights="none", image_size=SIZE)
    shape, domains = (3, SIZE, SIZE), options.domains
    place = {"place": lambda module: module.to(device), "network": spec}
    plain = Aggregate(shape, CLASSES, domains, {}, **place).train()
    masked = DMG(shape, CLASSES, domains, {"sites": options.sites}, **place).train()
    random = torch.Generator().manual_seed(0)
    images: Tensor = torch.rand(options.batch, *shape, generator=random).to(device)
    labels = torch.randint(CLASSES, (options.batch,), generator=random).to(device)
    minibatches = list(zip(images.chunk(domains), labels.chunk(domains), strict=True))
    steps = {"Aggregate": lambda: plain.update(minibatches), "DMG": lambda: masked.update(minibatches)}
    title = f"{name}, {options.sites}'s sites: training step, batch {options.batch}"
    report(title, rounds_of(steps, options.rounds, device), "Aggregate")

    plain.eval()
    masked.eval()
    views = masked.predictors()
    views["known-domain"] = views["known-domain"].answering(0, "test")  # type: ignore[operator]

    @torch.no_grad()
    def pass_of(work: Callable[[], object]) -> object:
        return work()

    passes = {
        "one pass of the network": lambda: pass_of(lambda: plain.predict(images)),
        "pred-ens": lambda: pass_of(lambda: masked.predict(images)),
        f"all {len(views)} predictors": lambda: pass_of(lambda: scores_of(views, images)),
    }
    title = f"{name}, {options.sites}'s sites: evaluation, batch {options.batch}, {domains} sources"
    report(title, rounds_of(passes, options.rounds, device), "one pass of the network")


if __name__ == "__main__":
    main()
