"""What an iteration of SFDA costs beside its parts: the forward and backward passes of its networks, run plainly.

The iteration and the parts take turns in one run, so that a busy machine hurts them alike; the ratio is the median of the
rounds' ratios. Weights are random: they do not change the time.

    python benchmarks/sfda_step.py                                                   # small networks at 96x128
    python benchmarks/sfda_step.py --networks deeplabv3_resnet50 --size 256 512 --width 64 --device cuda --dtype bfloat16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from dfdgbench.algorithms.generated import generated_size
from dfdgbench.algorithms.sfda import SFDA
from dfdgbench.engine.runtime import Precision, Runtime
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.norm import statistics_kept
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.stages.adapt import Given
from dfdgbench.tasks.segmentation import Segmentation

K = 4


def prepared(name: str, options: argparse.Namespace, runtime: Runtime) -> SFDA:
    """SFDA on a source model of random weights."""
    spec = NetworkSpec(name, options.classes, "none", options.size[0], image_width=options.size[1])

    def made() -> ScoreMaps:
        network = build(spec, seed=0)
        assert isinstance(network, ScoreMaps)
        return runtime.place(network).train()  # type: ignore[return-value]

    source = made().eval().requires_grad_(False)
    given = Given(
        source=source,  # type: ignore[arg-type]
        copy=made,
        fresh=lambda pretrained: made(),
        targets=lambda: iter(()),
        task=Segmentation([str(number) for number in range(options.classes)]),
        num_classes=options.classes,
        shape=spec.shape,
        counts=(0, 8),
        steps=10**6,
        seed=0,
        place=runtime.place,
        device=runtime.device,
    )
    hparams = {"batch_size": options.batch, "g.width": options.width, "d.width": options.width, "log.gradients": 0}
    return SFDA(given, SFDA.Hparams.build({**hparams, "ipsm.k": K}, "SFDA"))


def parts(sfda: SFDA, images: Tensor, options: argparse.Namespace) -> Callable[[], None]:
    """The passes that an iteration is made of, each with the mean of its output for a loss."""
    device, size = images.device, generated_size(tuple(options.size))
    fakes = torch.rand(options.batch, 3, *size, device=device)
    noise = torch.randn(options.batch, sfda.hparams.g.latent, device=device)
    patch = (options.size[0] // K, options.size[1] // K)
    maps = torch.rand(K * K * options.batch, options.classes, *patch, device=device)
    places = torch.arange(K * K, device=device).repeat(options.batch)
    source, model = sfda.given.source, sfda.model

    def passed(network: nn.Module, *given: Tensor, weights: bool = True) -> None:
        for parameter in network.parameters():
            parameter.requires_grad_(weights)
        entered = given[0].detach().requires_grad_(not weights)
        network(entered, *given[1:]).float().mean().backward()
        network.zero_grad(set_to_none=True)

    def run() -> None:
        passed(sfda.generator, noise)
        passed(source, fakes, weights=False)
        with statistics_kept(model):
            passed(model, fakes, weights=False)
            with torch.no_grad():
                model(images, "features")
        with torch.no_grad():
            sfda.generator(noise)
            source(fakes)
        passed(model, fakes)
        passed(model, images)
        passed(sfda.discriminator, maps, places, weights=False)
        passed(sfda.discriminator, maps, places)

    return run


def measured(
    sfda: SFDA, images: Tensor, plain: Callable[[], None], options: argparse.Namespace
) -> list[tuple[float, float]]:
    """Seconds of the iteration and of its parts in every round, after one that is not counted; of a CPU's own time there."""
    on_cpu = options.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    times = []
    for number in range(options.rounds + 1):
        took = []
        for work in (partial(sfda.update, number, images, None), plain):
            began = clock()
            work()
            if not on_cpu:
                torch.cuda.synchronize()
            took.append(clock() - began)
        if number:
            times.append((took[0], took[1]))
        sfda.given.source.requires_grad_(False)
        sfda.model.requires_grad_(True)
        sfda.discriminator.requires_grad_(True)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["segnet_small", "deeplab_small"])
    parser.add_argument("--size", nargs=2, type=int, default=[96, 128])
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=16, help="of the generator and of the discriminator")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--channels-last", action="store_true")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    runtime = Runtime(torch.device(options.device), Precision(options.dtype, options.channels_last))
    for name in options.networks:
        sfda = prepared(name, options, runtime)
        images = runtime.images(torch.rand(options.batch, 3, *options.size))
        plain = parts(sfda, images, options)
        times = measured(sfda, images, plain, options)
        step, sum_of_parts = (1000 * statistics.median(each) for each in zip(*times, strict=True))
        ratio = statistics.median(one / other for one, other in times)
        print(
            f"{name:20} iteration {step:8.1f} ms   parts {sum_of_parts:8.1f} ms   {ratio:.3f} x   "
            f"{1000 * options.batch / step:.1f} target images a second",
            flush=True,
        )


if __name__ == "__main__":
    main()
