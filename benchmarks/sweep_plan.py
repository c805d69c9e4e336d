"""Planning a large sweep: seconds beyond importing torch, peak memory, stages before and after uniting.

python benchmarks/sweep_plan.py                # 10,000 runs on four domains in memory
python benchmarks/sweep_plan.py --runs 1000
python benchmarks/sweep_plan.py --launched     # a sweep whose stages are all there and whose runs are done, but for one
python benchmarks/sweep_plan.py --profile      # and where the time goes
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import pstats
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.plan import SweepPlan

METHODS = ("DEKAN", "Multi-DI", "Multi-DI-matched", "Soup", "AvgPred")
TRIALS, TARGETS = 25, 4


def peak() -> float:
    """The most memory that this process has held so far (VmHWM), in MiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def leave(plan: SweepPlan, sweep: SweepFolder, artifacts: Path) -> None:
    """What a launch of ``plan`` leaves, as far as planning reads it, without the last run."""
    from dfdgbench.tables.spec import load

    sweep.write(load("quickstart"), plan.runs, {})
    for stage in plan.stages.values():
        (artifacts / stage.address.name).mkdir(parents=True)
        manifest = {"stage": stage.kind, "seconds": 3.0, "steps": stage.steps, "key": stage.key}
        (artifacts / stage.address.name / "artifact.json").write_text(json.dumps(manifest))
    for run in plan.runs[:-1]:
        folder = sweep.folder(run).path
        folder.mkdir(parents=True)
        (folder / "status.json").write_text('{"state": "done", "seconds": 3.0}')
        (folder / "done").write_text("done")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--launched", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    import torch  # noqa: F401  (what follows is measured beyond it)

    before, began = peak(), time.perf_counter()
    logging.getLogger("dfdgbench").setLevel(logging.ERROR)
    from dfdgbench.engine.config import Execution, RunConfig
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.plan import plan_sweep
    from dfdgbench.sweeps.run import SweepRun

    settings = max(1, options.runs // (TRIALS * TARGETS * len(METHODS)))
    runs = []
    for trial in range(TRIALS):
        for setting in range(settings):
            for row, method in enumerate(METHODS):
                # Every setting is another student, as in a search; what comes before it can be shared.
                student = {"distillation.lr": 1e-4 * (setting + 1)} if row < 3 else {}
                for target in range(TARGETS):
                    config = RunConfig.make(
                        algorithm=method, dataset="MiniDigits", test_envs=[target], trial_seed=trial,
                        hparams_seed=setting, hparams=student, checkpoint_freq=0,
                    )  # fmt: skip
                    runs.append(SweepRun(0, row, str(target), config.swept()))
    listed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(device="cpu", artifacts=Path(folder) / "artifacts")
        sweep = SweepFolder(Path(folder) / "sweep")
        if options.launched:
            leave(plan_sweep(runs, sweep, execution), sweep, execution.artifacts)
            began, listed = time.perf_counter(), time.perf_counter()
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        plan = plan_sweep(runs, sweep, execution)
        plan.kinds()
        profile.disable()
    seconds = time.perf_counter() - began
    print(
        f"{len(runs)} runs: {plan.unshared.stages} stages before uniting, {plan.planned.stages} after; "
        f"{seconds:.2f} s beyond importing torch ({listed - began:.2f} s of it to list the runs and import the package), "
        f"{peak():.0f} MiB at the peak ({before:.0f} MiB of it torch)"
    )
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
