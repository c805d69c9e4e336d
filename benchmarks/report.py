"""`dfdgbench report` on a sweep of 500 runs: seconds to build it, its size, and how soon a browser has it ready.

python benchmarks/report.py                    # 500 runs of 18 records, every tenth not done
python benchmarks/report.py --keep sweep500    # leaves the sweep and its report in that folder

Ready is measured in headless Chromium where `chromium` and selenium are there: until the page's scripts have run, until a
click has sorted the largest table, and until one has opened the panel of a cell.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfdgbench.engine import records
from dfdgbench.engine.config import RunConfig
from dfdgbench.files import write_json
from dfdgbench.tables.spec import Row, TableSpec, load
from dfdgbench.versions import code

RECORDS = 18
SETTINGS = {"ERM": "domain-generalisation"}
DOMAINS = {"PACS": ["art_painting", "cartoon", "photo", "sketch"], "Digits": ["MNIST", "MNIST-M", "SVHN", "USPS"]}
READY = """
const [entry] = performance.getEntriesByType('navigation');
return entry.loadEventEnd;
"""
CLICK = """
const began = performance.now();
document.querySelector(arguments[0]).click();
document.body.getBoundingClientRect();
return performance.now() - began;
"""


def plant(root: Path, count: int) -> None:
    """A sweep of DEKAN's table with ``count`` runs, most of them done."""
    spec = load("dekan-table1")
    entries = [entry for entry, _ in zip(_entries(spec), range(count), strict=False)]
    execution = {"artifacts": str(root / "artifacts")}
    content = {
        "spec": spec.model_dump(),
        "runs": entries,
        "command": "dfdgbench sweep launch dekan-table1",
        "execution": execution,
    }
    write_json(root / "sweep.json", content | code(), sort_keys=False)
    for number, entry in enumerate(entries):
        _run(root / "runs" / entry["id"], RunConfig.make(**entry["config"]), number)


def _entries(spec: TableSpec) -> Iterator[dict[str, Any]]:
    for trial in range(1000):
        for i, part in enumerate(spec.parts):
            for j, row in spec.run_rows():
                for column in part.targets if not part.quoted else ():
                    yield _entry(spec, (i, j), row, column, trial)


def _entry(spec: TableSpec, place: tuple[int, int], row: Row, column: str, trial: int) -> dict[str, Any]:
    part = spec.parts[place[0]]
    config = RunConfig.make(
        algorithm=row.name,
        dataset=part.dataset,
        test_envs=[DOMAINS[part.dataset].index(column)],
        trial_seed=trial,
        hparams={**spec.hparams, **part.hparams, **row.hparams},
        **{**spec.options, **part.options, **row.options},
    ).swept()
    return {"part": place[0], "row": place[1], "column": column, "id": config.run_id, "config": config.model_dump()}


def _run(folder: Path, config: RunConfig, number: int) -> None:
    folder.mkdir(parents=True)
    setting, domains = SETTINGS.get(config.algorithm, "data-free"), DOMAINS[config.dataset]
    held_out = [int(env) for env in config.test_envs]
    named = {
        "protocol": "domainbed",
        "network": config.network or "resnet34",
        "setting": setting,
        "test_envs": held_out,
    }
    args = (
        config.model_dump() | named | {"train_envs": [env for env in range(4) if env not in held_out], "hparams": None}
    )
    about = {
        "config": config.model_dump(),
        "args": args,
        "setting": setting,
        "domains": domains,
        "device": "NVIDIA A100",
    }
    (folder / "config.json").write_text(json.dumps(about | code(), indent=2))
    failed = number % 10 == 9
    draw = random.Random(number)
    hparams = {f"hparam_{index}": draw.random() if index % 5 == 0 else 0.1 for index in range(24)}
    with open(folder / "results.jsonl", "w") as file:
        for step in range(RECORDS // 2 if failed else RECORDS):
            learned = 1 - math.exp(-(step + 1) / 5)
            values = {
                f"env{env}_{split}_acc": (0.55 + 0.05 * env + 0.1 * (env not in held_out)) * learned
                + draw.gauss(0, 0.02)
                for env in range(4)
                for split in ("in", "out")
            }
            file.write(
                records.line({"step": 300 * step, "args": args, "hparams": hparams, "loss": 1 - learned, **values})
            )
    if failed:
        error = "RuntimeError: the loss is not finite at step 2700"
        trace = "Traceback (most recent call last):\n" + '  File "x.py", line 1, in f\n' * 12 + error
        (folder / "err.txt").write_text(trace)
        (folder / "status.json").write_text(json.dumps({"state": "failed", "error": error, "traceback": trace}))
    else:
        (folder / "status.json").write_text(json.dumps({"state": "done", "seconds": draw.uniform(900, 4000)}))
        (folder / "done").write_text("done")


def measure(page: Path, rounds: int) -> None:
    """Print how soon a browser has ``page`` ready, of several visits; that there is none where there is none."""
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        driver = None
    if driver is None or not shutil.which("chromium"):
        print("no chromium with chromedriver and selenium here: how soon the page is ready is not measured")
        return
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,900"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    found: dict[str, list[float]] = {"ready": [], "sort all runs": [], "open a cell's runs": []}
    try:
        for _ in range(rounds):
            browser.get(page.as_uri())
            found["ready"].append(browser.execute_script(READY))
            found["sort all runs"].append(browser.execute_script(CLICK, "#run-table thead button"))
            found["open a cell's runs"].append(browser.execute_script(CLICK, "[data-cell]"))
    finally:
        browser.quit()
    for name, times in found.items():
        print(f"{name}: {statistics.median(times):.0f} ms, at most {max(times):.0f} ms, of {rounds} visits")


def main() -> None:
    """Plant, build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5, help="visits of the page, and times it is built")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the sweep here, and leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.keep or Path(folder) / "sweep"
        plant(root, options.runs)
        page = root.resolve() / "report.html"
        times = []
        for _ in range(options.rounds):
            began = time.perf_counter()
            command = [sys.executable, "-m", "dfdgbench", "report", str(root), "--out", str(page)]
            subprocess.run(command, capture_output=True, text=True, check=True)
            times.append(time.perf_counter() - began)
        seconds, size = statistics.median(times), page.stat().st_size / 1e6
        print(f"report of {options.runs} runs of {RECORDS} records: {seconds:.2f} s, {size:.2f} MB")
        measure(page, options.rounds)


if __name__ == "__main__":
    main()
