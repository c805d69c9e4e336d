"""``dfdgbench new``: a file to start from."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say

TEMPLATE = '''"""{name}: one line that says what it does."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.algorithms.stepwise import Minibatch, joined
from dfdgbench.engine.stage import Metrics
from dfdgbench.hparams import hparam, uniform
from dfdgbench.settings import DOMAIN_GENERALISATION


@register("{name}", setting=DOMAIN_GENERALISATION, paper=Paper("Authors, year, title"))
class {name}(ERM):
    """Cross-entropy with smoothed labels, to start from: replace the loss in ``update`` by your own.

    Say here what is minimised, with shapes and the paper's equation, and what its limits are.
    """

    class Hparams(ERM.Hparams):
        smoothing: float = hparam(0.1, search=uniform(0.0, 0.3), ge=0, lt=1, doc="weight of the uniform distribution")

    def update(self, minibatches: Sequence[Minibatch], unlabeled: Sequence[Tensor] | None = None) -> Metrics:
        images, labels = joined(minibatches)
        loss = functional.cross_entropy(self.predict(images), labels, label_smoothing=self.hparams.smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {{"loss": loss.detach()}}
'''


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "new",
        help="write a file to start from",
        description="Write one file to start from.",
        epilog="example:\n  dfdgbench new algorithm MyMethod\n  dfdgbench check mymethod:MyMethod",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=["algorithm"])
    parser.add_argument("name", metavar="NAME", help="the class's name, and the name in tables")
    parser.add_argument("--folder", type=Path, default=Path("."), metavar="DIR", help="where; default: here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file; one that is there is never overwritten."""
    from dfdgbench.errors import ConfigError

    name = options.name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(
            f"'{name}' cannot be a class's name. Letters, digits and _ are allowed, no digit first: MyMethod."
        )
    path = options.folder / f"{name.lower()}.py"
    if path.exists():
        raise ConfigError(f"The file {path} exists already. Choose another name, or --folder.")
    if keyword.iskeyword(name) or keyword.iskeyword(name.lower()) or importlib.util.find_spec(name.lower()) is not None:
        raise ConfigError(
            f"'{name}' would be a file {name.lower()}.py, which Python cannot import by that name. Choose another name."
        )
    options.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE.format(name=name), encoding="utf-8")
    target = f"{path.stem}:{name}"
    say(f"Wrote {path}. In that folder, type:")
    say(f"  dfdgbench check {target}")
    say(f"  dfdgbench train --algorithm {target} --dataset MiniDigits")
    say(f"To have it by name everywhere, give your package an entry point: [dfdgbench.algorithms] {name} = {target}")
    return 0
