"""Planning a large sweep: seconds beyond importing torch, peak memory, stages before and after uniting.

python benchmarks/sweep_plan.py                # 10,000 runs on four domains in memory
python benchmarks/sweep_plan.py --runs 1000
python benchmarks/sweep_plan.py --profile      # and where the time goes
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import pstats
import tempfile
import time
from pathlib import Path

METHODS = ("DEKAN", "Multi-DI", "Multi-DI-matched", "Soup", "AvgPred")
TRIALS, TARGETS = 25, 4


def peak() -> float:
    """The most memory that this process has held so far (VmHWM), in MiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    import torch  # noqa: F401  (what follows is measured beyond it)

    before, began = peak(), time.perf_counter()
    logging.getLogger("dfdgbench").setLevel(logging.ERROR)
    from dfdgbench.engine.config import Execution, RunConfig
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.grid import SweepRun
    from dfdgbench.sweeps.plan import plan_sweep

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
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        plan = plan_sweep(runs, SweepFolder(Path(folder) / "sweep"), execution)
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
