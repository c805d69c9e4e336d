"""A sweep of trivial runs on a real scheduler: many runs a job, beside the plain way, one job a run.

python benchmarks/sweep_launch.py                       # 500 runs, 50 a job, on a private SLURM of two cores (as root)
python benchmarks/sweep_launch.py --runs 100 --runs-per-job 10 --plain 4

The scheduler is the one that the tests start (tests/private_slurm.py; Debian packages slurm-wlm and munge). The plain way is
measured on a few runs and extrapolated: its jobs differ in nothing but their data's seed, so that more of them take
proportionally longer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from private_slurm import Scheduler, private_scheduler

TABLE = """
name: trivial
title: Trivial runs
trials: {trials}
options: {{network: smallcnn, checkpoint_freq: 0, steps: 1}}
hparams: {{batch_size: 4}}
parts: [{{title: Debug28, dataset: Debug28, columns: {{"0": first, "1": second}}}}]
rows: [{{label: ERM, algorithm: ERM}}]
"""
SITE = "partition: low\ntime: 1:00:00\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="an even number")
    parser.add_argument("--runs-per-job", type=int, default=50)
    parser.add_argument("--tasks-per-gpu", type=int, default=1)
    parser.add_argument("--plain", type=int, default=8, help="runs to measure one job a run with; an even number")
    options = parser.parse_args()
    several = ("--tasks-per-gpu", str(options.tasks_per_gpu))
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, private_scheduler(Path(folder)) as scheduler:
        bundled = measured(scheduler, "bundled", options.runs, options.runs_per_job, *several)
        plain = measured(scheduler, "plain", options.plain, 1)
    (launch, jobs), (_, few) = bundled, plain
    a_run = few / options.plain
    extrapolated = launch + a_run * options.runs
    print(
        f"{options.runs} runs, {options.runs_per_job} a job: {launch + jobs:.0f} s from the command to the last run's end, "
        f"{launch:.0f} s of it to launch"
    )
    print(
        f"one job a run: {few:.0f} s for {options.plain} runs once launched, {a_run:.1f} s a run; extrapolated, not measured, "
        f"to {options.runs} runs: {extrapolated:.0f} s, {extrapolated / (launch + jobs):.0f} times as long"
    )


def measured(scheduler: Scheduler, name: str, runs: int, runs_per_job: int, *flags: str) -> tuple[float, float]:
    """Seconds of the launch, and from its end to an empty queue; all runs must then be done."""
    folder = scheduler.state
    (folder / f"{name}.yaml").write_text(TABLE.format(trials=runs // 2))
    (folder / "site.yaml").write_text(SITE)
    environment = os.environ | {"DFDGBENCH_SITE": str(folder / "site.yaml")}
    command = [
        sys.executable,
        "-m",
        "dfdgbench",
        "sweep",
        "launch",
        f"{name}.yaml",
        "--launcher",
        "slurm",
        "--device",
        "cpu",
    ]
    command += ["--output-dir", name, "--runs-per-job", str(runs_per_job), *flags]
    began = time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True)
    launched = time.perf_counter()
    while scheduler.jobs():
        time.sleep(0.5)
    seconds = launched - began, time.perf_counter() - launched
    done = len(list((folder / name).glob("runs/*/done")))
    if done != runs:
        errors = "".join(file.read_text()[-500:] for file in sorted((folder / name / "launcher").glob("*.err"))[:3])
        sys.exit(f"{done} of {runs} runs are done.\n{errors}\n{scheduler.logs()}")
    return seconds


if __name__ == "__main__":
    main()
