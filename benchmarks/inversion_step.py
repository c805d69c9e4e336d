"""Speed of an inversion step, side by side with the plain way of doing it.

Two ratios, both measured in one run, alternating so that a busy machine hurts both alike:

* moments at batch-normalisation inputs by matrix products, against ``torch.var_mean``;
* all groups of a shard in one batch, against one group after the other.

    python benchmarks/inversion_step.py [--network smallcnn] [--size 32] [--group 64] [--groups 4]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from dfdgbench.losses.moments import moment_loss, network_bands
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.taps import Backend, Taps
from dfdgbench.stages.invert import stored_moments


def step(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, groups: int, backend: Backend) -> None:
    """Cross-entropy and moments of ``groups`` groups, forward and backward to the images."""
    stored = stored_moments(network)
    bands = network_bands(stored, [(mean + 1, var + 1) for mean, var in stored], 10.0, "channel")
    images = images.clone().requires_grad_()
    with Taps(network, groups=groups, backend=backend) as taps:
        logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits, labels) * groups + moment_loss(taps.moments(), bands).sum()
    loss.backward()


def ratio(plain: Callable[[], None], ours: Callable[[], None], rounds: int) -> tuple[float, float, float]:
    """Median milliseconds of both, and the median of their ratios round by round."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 2):
        pair = []
        for work in (plain, ours):
            began = time.perf_counter()
            work()
            pair.append(time.perf_counter() - began)
        times.append((pair[0], pair[1]))
    kept = times[2:]
    medians = [1000 * statistics.median(column) for column in zip(*kept, strict=True)]
    return medians[0], medians[1], statistics.median(a / b for a, b in kept)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="smallcnn")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = build(NetworkSpec(options.network, 10, weights="none", image_size=options.size), 0)
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    count = options.group * options.groups
    images = torch.rand(count, 3, options.size, options.size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(count) % 10

    def whole(backend: Backend) -> Callable[[], None]:
        return lambda: step(network, images, labels, options.groups, backend)

    def one_by_one() -> None:
        for part, given in zip(images.split(options.group), labels.split(options.group), strict=True):
            step(network, part, given, 1, "matmul")

    print(f"{options.network} at {options.size} pixels, {options.groups} groups of {options.group}, one thread")
    for title, plain, ours in (
        ("moments: var_mean against matrix products", whole("var_mean"), whole("matmul")),
        ("groups: one after the other against one batch", one_by_one, whole("matmul")),
    ):
        before, after, times = ratio(plain, ours, options.rounds)
        print(f"{title}: {before:.1f} ms, {after:.1f} ms, ratio {times:.2f}")


if __name__ == "__main__":
    main()
