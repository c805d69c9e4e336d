"""Sweeps for reports: a small one with everything in it, and one whose every text would do harm if it could."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from result_builders import our_record, plan, small

from dfdgbench.engine.config import RunConfig
from dfdgbench.files import write_json
from dfdgbench.tables.spec import Part, Row, load

HOSTILE = (
    "<script>window.harmed='element'</script>",
    '"><img src=x onerror="window.harmed=\'attribute\'">',
    "</script><script>window.harmed='closed'</script>",
    "</style><svg onload=\"window.harmed='style'\">",
    "{{ 7 * 7 }} ${7*7} <!-- ]]> &lt;b&gt;",
    "javascript:window.harmed='address'",
    "\u202eevil \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "two\nlines\u2028and\u2029more\x00\ttab",
    "long" * 300,
    "lone \ud800 surrogate",
)


def write_images(artifacts: Path, title: str, key: str, side: int = 32, kind: str = "inverted") -> None:
    """A set of images among the artifacts."""
    folder = artifacts / kind / key
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.random.RandomState(0).randint(0, 255, (6, 3, side, side)).astype(np.uint8))
    np.save(folder / "labels.npy", np.array([0, 1, 2, 0, 1, 2], dtype=np.int16))
    (folder / "artifact.json").write_text(json.dumps({"key": key, "title": title}))


def leave(sweep: Path, entry: dict[str, Any], accuracy: float, setting: str = "data-free", **changes: Any) -> Path:
    """A run that is done, with three records, and a config.json that ``changes`` add to."""
    config = RunConfig.make(**entry["config"])
    folder = sweep / "runs" / entry["id"]
    folder.mkdir(parents=True)
    target = config.test_envs[0]
    records = []
    for step, share in ((0, 0.5), (100, 0.9), (200, 1.0)):
        scores = {f"env{env}_{split}_acc": share * 0.9 for env in range(4) for split in ("in", "out") if env != target}
        records.append(our_record(config, scores | {f"env{target}_in_acc": share * accuracy}, step, setting))
    content = {
        "config": config.model_dump(),
        "args": records[0]["args"],
        "setting": setting,
        "device": "x86_64",
        "domains": ["handwritten", "blended", "printed", "numbers"],
        "stages": {"inverted photo": "a"},
        "versions": {"dfdgbench": "0.1.0", "torch": "2.6.0"},
        "git": "0123456789abcdef",
    }
    write_json(folder / "config.json", content | changes)
    write_json(folder / "status.json", {"state": "done", "seconds": 12.5})
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "done").write_text("done")
    return folder


def fail(sweep: Path, entry: dict[str, Any], error: str) -> Path:
    """A run that failed."""
    folder = sweep / "runs" / entry["id"]
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"config": entry["config"]})
    write_json(
        folder / "status.json", {"state": "failed", "error": error, "traceback": f"Traceback\n  a line\n{error}"}
    )
    (folder / "err.txt").write_text(error, errors="replace")
    return folder


def complete(sweep: Path) -> None:
    """A sweep of three methods in two settings, two domains, two trials: all done but one that failed and one not begun."""
    rows = [Row(label=name, algorithm=name) for name in ("AvgPred", "DEKAN", "ERM")]
    spec = small(rows=rows, trials=2, title="A small table")
    entries = plan(spec, sweep, trials=2, command="dfdgbench sweep launch small.yaml")
    for number, entry in enumerate(entries[:-2]):
        setting = "domain-generalisation" if entry["config"]["algorithm"] == "ERM" else "data-free"
        leave(sweep, entry, 0.5 + 0.03 * number, setting)
    fail(sweep, entries[-2], "RuntimeError: the loss is not finite")
    write_images(sweep / "artifacts", "inverted photo", "a")


def beside_published(sweep: Path) -> None:
    """Runs of DEKAN's table on PACS, whose printed numbers are known; DEKAN is best on photos, AvgPred on art."""
    entries = plan(load("dekan-table1"), sweep)
    domains = ["art_painting", "cartoon", "photo", "sketch"]
    for entry in entries:
        algorithm, env = entry["config"]["algorithm"], int(entry["config"]["test_envs"][0])
        if entry["config"]["dataset"] == "PACS" and algorithm in ("AvgPred", "DEKAN"):
            accuracy = 0.7 + 0.05 * env if algorithm == "DEKAN" else 0.75
            leave(sweep, entry, accuracy, domains=domains)


def hostile(sweep: Path) -> None:
    """A sweep whose labels, names, messages, hyper-parameters, notes and titles are ``HOSTILE``."""
    rows = [Row(label=text[:1200], algorithm="DEKAN", note=text, hparams={"inversion.steps": 10 + number})
            for number, text in enumerate(HOSTILE[:-1])]  # fmt: skip
    part = Part(title=HOSTILE[0], dataset="MiniDigits", columns={"handwritten": HOSTILE[1], "blended": HOSTILE[2]})
    spec = small(rows=rows, parts=[part], title=HOSTILE[2], description=HOSTILE[0], notes=list(HOSTILE[:-1]), trials=1)
    entries = plan(spec, sweep, command=HOSTILE[2])
    artifacts = sweep / "artifacts"
    for number, entry in enumerate(entries):
        text = HOSTILE[number % len(HOSTILE)]
        if number % 3 == 2:
            fail(sweep, entry, text)
            continue
        changes = {
            "device": text,
            "git": text,
            "versions": {text: text},
            "domains": [text] * 4,
            "stages": {text: f"k{number}"},
        }
        folder = leave(sweep, entry, 0.5, **changes)
        lines = (folder / "results.jsonl").read_text().splitlines()
        written = [json.loads(line) | {"hparams": {text: text, "nested": {text: [text]}}} for line in lines]
        (folder / "results.jsonl").write_text(
            "".join(json.dumps(record) + "\n" for record in written) + text + "\n", errors="replace"
        )
        write_images(artifacts, text, f"k{number}")
    odd = sweep / "runs" / "<img src=x onerror=alert(1)>"
    odd.mkdir()
    (odd / "status.json").write_text(json.dumps({"state": HOSTILE[0]}))
