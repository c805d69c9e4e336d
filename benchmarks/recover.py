"""Recovering and relabelling in groups, against one group after the other, in one run: images x iterations a second.

    python benchmarks/recover.py
    python benchmarks/recover.py --network resnet18 --size 224 --groups 4 --classes 7 --device cuda

Both ways are this project's own stages and differ in the size of a forward pass alone. Networks and images lie channels last, as
with ``--channels-last``. On a CPU seconds are processor seconds. What both ways made is compared at the end. On a GPU the steps are
also profiled for host synchronisation.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.algorithms.distilled import MINI
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.runtime import Precision, Runtime, set_threads
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.work import Work
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.planning import plan
from dfdgbench.stages.distilled import LoadedSet
from dfdgbench.stages.label_views import Mixture
from dfdgbench.stages.relabel import Labeller, Relabelling

TOGETHER = MINI["relabel.together"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="smallcnn")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels-first", action="store_true", help="the memory format without --channels-last")
    given = parser.parse_args()
    ratios(given)


def ratios(given: argparse.Namespace) -> None:
    """Both ways in turn, round by round."""
    spec = NetworkSpec(given.network, given.classes, "none", given.size)
    device = torch.device(given.device)
    set_threads(device, given.threads)
    model = build(spec, 0).to(device).train()
    with torch.no_grad():  # batch normalisation must have seen data
        model(torch.rand(32, 3, given.size, given.size, device=device))
    runtime = Runtime(device, Precision(channels_last=not given.channels_first))
    runtime.place(model.eval().requires_grad_(False))
    # Other processes of a busy machine take wall time and no processor time.
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    print(
        f"{given.network} at {given.size}, {given.groups} groups of {given.classes} images, {given.threads} threads, "
        f"channels {'first' if given.channels_first else 'last'}"
    )
    print("| what | one after the other | grouped | ratio | largest difference |\n| --- | ---: | ---: | ---: | ---: |")
    for name, work in {
        "recover (SRe2L)": recovering(given, model, runtime),
        "relabel": relabelling(given, model, runtime),
    }.items():
        alone, together = work
        rates: dict[str, list[float]] = {"alone": [], "together": []}
        found: dict[str, Tensor] = {}
        for run in work:
            run()  # warm
        for _ in range(given.rounds):
            for way, run in (("alone", alone), ("together", together)):
                began = clock()
                found[way], count = run()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                rates[way].append(count / (clock() - began))
        pairs = [two / one for one, two in zip(rates["alone"], rates["together"], strict=True)]
        gap = float((found["alone"].float() - found["together"].float()).abs().max())
        slow, fast = (statistics.median(rates[way]) for way in ("alone", "together"))
        print(f"| {name} | {slow:,.0f} | {fast:,.0f} | {statistics.median(pairs):.2f} | {gap:.2g} |")
    if device.type == "cuda":
        synchronisations(recovering(given, model, runtime)[1])


Run = Callable[[], tuple[Tensor, int]]


def recovering(given: argparse.Namespace, model: torch.nn.Module, runtime: Runtime) -> tuple[Run, Run]:
    """SRe2L's steps in shards of one group, and of all."""

    def way(groups: int) -> Run:
        folder = Path(tempfile.mkdtemp(prefix="dfdgbench-bench-"))
        algorithm = ALGORITHMS.get("SRe2L")
        hparams = {
            **algorithm.tiny,
            "ipc": given.groups,
            "recover.groups_per_shard": groups,
            "recover.steps": given.steps,
        }
        config = RunConfig.make(algorithm="SRe2L", dataset="Debug28", network="smallcnn", hparams=hparams)
        made = plan(config, Execution(device=given.device, artifacts=folder))
        stages = [stage for stage in made.last.inputs if stage.kind == "sre2l"]
        for stage in stages:
            network = replace(
                stage.problem.network, name=given.network, image_size=given.size, num_classes=given.classes
            )
            stage.problem = replace(stage.problem, network=network)
            stage.require_classes = lambda work: None

        def run() -> tuple[Tensor, int]:
            images = []
            for stage in stages:
                work = _Given(stage, runtime, model)
                state: State = stage.start(work)
                for number in range(given.steps):
                    stage.step(state, work, number)
                images.append(state.pixels.images().flatten(0, 1))
            return torch.cat(images), given.steps * given.classes * given.groups

        return run

    return way(1), way(given.groups)


class _Given(Work):
    """Work whose every input is one model."""

    def __init__(self, stage: object, runtime: Runtime, model: torch.nn.Module) -> None:
        super().__init__(stage, runtime, lambda _: Path())  # type: ignore[arg-type]
        self.model = model

    def input(self, stage: object) -> torch.nn.Module:
        return self.model

    def log(self, message: str) -> None:
        pass


def relabelling(given: argparse.Namespace, model: torch.nn.Module, runtime: Runtime) -> tuple[Run, Run]:
    """An epoch's labels, a batch at a time and TOGETHER at a time; batches of ten images, as the preset mini has them."""
    count, device = 10 * given.groups * 4, runtime.device
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, given.size, given.size), generator=draw, dtype=torch.uint8)
    loaded = LoadedSet(images.to(device), torch.zeros(count, device=device).long(), torch.zeros(count).long(), 0)
    work = _Given(None, runtime, model)

    def way(together: int) -> Run:
        labeller = Labeller(
            [[model]],
            loaded,
            Relabelling(together=together),
            Mixture(),
            0,
            10,
            True,
            work,  # type: ignore[list-item]
        )

        def run() -> tuple[Tensor, int]:
            views = labeller.views(0)
            found = [part for first in range(0, len(views.shares), together) for part in labeller.logits(views, first)]
            return torch.cat(found), count

        return run

    return way(1), way(TOGETHER)


def synchronisations(run: Run) -> None:
    """How often the host waits for the GPU in a run's steps."""
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
        run()
    waits = [
        event
        for event in profile.key_averages()
        if "Synchronize" in event.key or event.key == "aten::_local_scalar_dense"
    ]
    print("waits of the host in all steps:", ", ".join(f"{event.key} {event.count}" for event in waits) or "none")


if __name__ == "__main__":
    main()
