"""Collecting a large sweep: seconds and peak memory of `dfdgbench collect`, cold and warm, beside a plain reader.

python benchmarks/collect.py                     # 9,600 runs of 18 records in DomainBed's format
python benchmarks/collect.py --runs 960
python benchmarks/collect.py --nan 0.02          # that share of the records has a NaN
python benchmarks/collect.py --folder DIR        # keep the runs there, and use them again

Each way is a process of its own, whose start and imports count. The plain way reads line by line with json.loads,
makes a pandas frame of all records, and makes DomainBed's three selections by grouping it; cold is without the kept
frame, warm with it. The files themselves are in the system's page cache in all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations, count, product
from pathlib import Path
from typing import Any

from dfdgbench.results.domainbed import ENVIRONMENTS
from dfdgbench.results.stored import NAME

DATASETS = ("PACS", "VLCS", "OfficeHome", "TerraIncognita")
ALGORITHMS = ("ERM", "CORAL", "DANN", "IRM", "Mixup", "MLDG", "SagNet", "VREx")
TRIALS, RECORDS = 3, 18
HPARAMS = {
    "batch_size": 32, "class_balanced": False, "data_augmentation": True, "dinov2": False, "freeze_bn": False, "lars": False,
    "linear_steps": 500, "nonlinear_classifier": False, "resnet18": False, "resnet50_augmix": True, "resnet_dropout": 0.0,
    "vit": False, "vit_attn_tune": False, "vit_dropout": 0.0,
}  # fmt: skip


def grid(runs: int) -> Iterator[tuple[int, int, str, str, list[int]]]:
    """Hparams seed, trial, dataset, algorithm and held-out domains of ``runs`` runs, as DomainBed plans them."""
    held_out = [[env] for env in range(4)] + [list(pair) for pair in combinations(range(4), 2)]
    cells = ((seed, *rest) for seed in count() for rest in product(range(TRIALS), DATASETS, ALGORITHMS, held_out))
    yield from (cell for _, cell in zip(range(runs), cells, strict=False))


def make(folder: Path, runs: int, nan: float) -> int:
    """Write the runs; returns how many bytes of records they have."""
    size = 0
    for number, (seed, trial, dataset, algorithm, test_envs) in enumerate(grid(runs)):
        draw = random.Random(number)
        name = hashlib.md5(str(number).encode()).hexdigest()
        run = folder / name
        run.mkdir(parents=True)
        args = {
            "algorithm": algorithm, "checkpoint_freq": None, "data_dir": "/data/domain_generalisation", "dataset": dataset,
            "holdout_fraction": 0.2, "hparams": None, "hparams_seed": seed, "output_dir": f"sweep/{name}",
            "save_model_every_checkpoint": False, "seed": draw.randrange(2**31), "skip_model_save": False, "steps": None,
            "task": "domain_generalization", "test_envs": test_envs, "trial_seed": trial, "uda_holdout_fraction": 0,
        }  # fmt: skip
        hparams = HPARAMS | {"lr": 10 ** draw.uniform(-5, -3.5), "weight_decay": 10 ** draw.uniform(-6, -2)}
        lines = "".join(json.dumps(found, sort_keys=True) + "\n" for found in records(draw, args, hparams, nan))
        (run / "results.jsonl").write_text(lines)
        (run / "out.txt").write_text("")
        (run / "err.txt").write_text("")
        (run / "done").write_text("done")
        size += len(lines)
    return size


def records(draw: random.Random, args: dict[str, Any], hparams: dict[str, Any], nan: float) -> Iterator[dict[str, Any]]:
    """A run's records, step by step."""
    for k in range(RECORDS):
        step = min(300 * k, 5000)
        made = {
            "step": step, "epoch": step / 26.3125, "step_time": draw.uniform(0.2, 0.3), "mem_gb": draw.uniform(8, 9),
            "loss": draw.random() / (k + 1), "args": args, "hparams": hparams,
        }  # fmt: skip
        for env in range(len(ENVIRONMENTS[args["dataset"]])):
            level = draw.randint(400, 1600)
            made |= {f"env{env}_in_acc": level / 1641, f"env{env}_out_acc": draw.randint(level // 5, 410) / 410}
        if draw.random() < nan:
            made["env0_out_acc"] = float("nan")
        yield made


def plain(folder: Path) -> None:
    """DomainBed's three selections from a frame of all records, one record a row."""
    import pandas as pd

    rows = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError), open(Path(entry.path) / "results.jsonl", encoding="utf-8") as file:
            rows += [json.loads(line) for line in file]
    frame = pd.DataFrame(rows)
    for name in ("dataset", "algorithm", "trial_seed", "hparams_seed"):
        frame[name] = [args[name] for args in frame["args"]]
    frame["targets"] = [tuple(args["test_envs"]) for args in frame["args"]]
    keys = ["algorithm", "dataset", "trial_seed", "hparams_seed"]
    chosen: dict[str, list[tuple[Any, ...]]] = {"training-domain": [], "oracle": [], "leave-one-out": []}
    for seeds, group in frame.groupby(keys):
        alone = group[group["targets"].map(len) == 1]
        for targets, run in alone.groupby("targets"):
            (target,) = targets
            sources = [env for env in range(4) if env != target]
            validation = run[[f"env{env}_out_acc" for env in sources]].mean(axis=1, skipna=False)
            test = run[f"env{target}_in_acc"]
            if validation.notna().any():
                at = validation.idxmax()
                chosen["training-domain"].append((*seeds, target, validation[at], test[at]))
            last = run["step"].idxmax()
            chosen["oracle"].append((*seeds, target, run[f"env{target}_out_acc"][last], test[last]))
            others = {}
            for env in sources:
                pair = group[group["targets"] == tuple(sorted((target, env)))]
                others[env] = pair.set_index("step")[f"env{env}_in_acc"]
            mean = pd.DataFrame(others).dropna().mean(axis=1)
            if len(mean):
                chosen["leave-one-out"].append(
                    (*seeds, target, mean.max(), run.set_index("step")[f"env{target}_in_acc"][mean.idxmax()])
                )
    for rule, found in chosen.items():
        table = pd.DataFrame(found, columns=[*keys, "target", "validation", "test"]).sort_values(
            ["validation", "hparams_seed"]
        )
        best = table.groupby(["algorithm", "dataset", "trial_seed", "target"])["test"].last()
        cells = (100 * best).groupby(["dataset", "algorithm", "target"]).agg(["mean", "sem"]).round(1)
        print(rule, cells.to_string(), sep="\n")


def measured(words: list[str]) -> tuple[float, float, float]:
    """Wall and CPU seconds of a command, and the most memory that it held (MiB)."""
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9600)
    parser.add_argument("--nan", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(options.plain)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "sweep"
        if not folder.exists():
            print(f"{make(folder, options.runs, options.nan) / 2**20:.0f} MiB of records in {options.runs} runs")
        collect = [sys.executable, "-m", "dfdgbench", "collect", str(folder)]
        read_by_line = [sys.executable, __file__, "--plain", str(folder)]
        for _ in range(options.rounds):
            (folder / NAME).unlink(missing_ok=True)
            for name, words in (("cold", collect), ("warm", collect), ("plain", read_by_line)):
                wall, cpu, peak = measured(words)
                print(f"{name}: {wall:.2f} s ({cpu:.2f} s of CPU time), {peak:.0f} MiB at the peak", flush=True)


if __name__ == "__main__":
    main()
