"""Do DMG's masks do what is claimed? Accuracy on the sources' own held-out images, by the mask of the image's domain, by all
masks combined, by the mean mask, and by masks of other domains.

python benchmarks/dmg_modes.py                       # MiniDigits, four held-out domains, three trials
python benchmarks/dmg_modes.py --hparam mask_lr=0.01 lambda_iou=1
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dfdgbench.api import Run, train
from dfdgbench.engine import diagnostics
from dfdgbench.engine.config import Execution

DOMAINS = ("handwritten", "blended", "printed", "numbers")


def modes(run: Run) -> dict[str, float]:
    """Percent, each mode's mean over the source domains' validation splits; and what became of the masks."""
    record, problem = run.records[-1], run.plan.problem
    names = {source: problem.domain_name(source) for source in problem.sources}

    def mean(*pairs: tuple[int, str]) -> float:
        return 100 * statistics.fmean(record[f"env{source}_out_acc@{predictor}"] for source, predictor in pairs)

    others = [(one, f"mask-{names[other]}") for one in names for other in names if other != one]
    target = problem.targets[0]
    arrays = diagnostics.read(run.folder.path, record["step"])
    return {
        "known-domain": mean(*((source, "known-domain") for source in names)),
        "combined (pred-ens)": mean(*((source, "pred-ens") for source in names)),
        "mask-ens": mean(*((source, "mask-ens") for source in names)),
        "mismatched": mean(*others),
        "held-out domain": 100 * record[f"env{target}_in_acc"],
        "hard IoU of masks": 100 * float(arrays["hard_iou_pooled"].mean()),
        "logits moved": record["mask_moved"],
    }


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1001)
    parser.add_argument("--hparam", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    given: Mapping[str, Any] = {
        name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in options.hparam)
    }
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(device="cpu", artifacts=Path(folder) / "artifacts")
        for trial in range(options.trials):
            for target in DOMAINS:
                run = train(
                    algorithm="DMG",
                    dataset="MiniDigits",
                    test_envs=[target],
                    trial_seed=trial,
                    seed=trial,
                    steps=options.steps,
                    checkpoint_freq=0,
                    hparams={"validation": "predictor", **given},
                    execution=execution,
                    output_dir=Path(folder) / f"{target}-{trial}",
                )
                found[f"trial {trial}"].append(modes(run))
    rows = [row for rows in found.values() for row in rows]
    print(f"{'':22}" + "".join(f"{title:>12}" for title in (*found, "mean")))
    for name in rows[0]:
        means = [statistics.fmean(row[name] for row in each) for each in found.values()]
        print(f"{name:22}" + "".join(f"{value:12.3f}" for value in (*means, statistics.fmean(means))))


if __name__ == "__main__":
    main()
