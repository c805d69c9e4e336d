"""`dfdgbench sweep status` on many run folders, in a process of its own: seconds, and whether torch was imported.

python benchmarks/sweep_status.py                  # 10,000 runs in every state
python benchmarks/sweep_status.py --runs 1000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dfdgbench.engine import records
from dfdgbench.engine.config import RunConfig
from dfdgbench.files import read_json
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.tables.spec import load
from dfdgbench.versions import code

ALGORITHMS = ("ERM", "AvgPred", "HighestConf", "DEKAN")
WATCHED = (
    "import sys, atexit\n"
    "atexit.register(lambda: sys.stderr.write('torch' if 'torch' in sys.modules else 'no torch'))\n"
    "from dfdgbench.cli.main import main\nsys.exit(main(sys.argv[1:]))"
)


def plant(root: Path, count: int) -> None:
    """A sweep of ``count`` runs: most are done, the rest in every other state."""
    runs = [
        SweepRun(0, number % 4, "blended", RunConfig.make(algorithm=ALGORITHMS[number % 4], trial_seed=number))
        for number in range(count)
    ]
    sweep = SweepFolder(root)
    sweep.write(load("quickstart"), runs, {})
    for number, run in enumerate(runs):
        _run(sweep, run, number)


def _run(sweep: SweepFolder, run: SweepRun, number: int) -> None:
    folder = sweep.folder(run)
    if number % 10 == 9:
        return
    folder.path.mkdir(parents=True)
    args = run.config.model_dump()
    stages = {f"teacher {index}": f"{index:064x}" for index in range(13)}
    folder.config.write_text(json.dumps({"config": args, "args": args, "stages": stages, **code()}, indent=2))
    folder.results.write_text(records.line({"step": 0, "env0_in_acc": 0.5}))
    (folder.path / "out.txt").write_text("step 0\n")
    states = {
        6: {"state": "failed", "error": "RuntimeError: no", "traceback": "Traceback\n" * 20 + "RuntimeError: no\n"},
        7: {"state": "running", "stage": "train", "step": 3, "steps": 9, "rate": 1.5, "left": 4.0},
        8: {"state": "stopped", "error": "Stopped."},
    }
    status = states.get(number % 10, {"state": "done", "seconds": 12.5})
    (folder.path / "status.json").write_text(json.dumps(status, indent=2))
    if number % 10 == 7:
        (folder.path / "lease").write_text(f"elsewhere {number} 1 abc\n{number:020d}\n")
    if status["state"] == "done":
        (folder.path / "done").write_text("done")


def main() -> None:
    """Plant, measure three times, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sweep"
        plant(root, options.runs)
        assert len(read_json(root / "sweep.json")["runs"]) == options.runs
        for _ in range(3):
            began = time.perf_counter()
            command = [sys.executable, "-c", WATCHED, "sweep", "status", str(root)]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - began
            print(f"status of {options.runs} runs: {seconds:.2f} s, {ended.stderr}; {ended.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main()
