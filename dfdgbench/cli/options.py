"""Flags that several commands share, named as DomainBed's wherever DomainBed has one."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.errors import HparamError

if TYPE_CHECKING:
    from dfdgbench.engine.config import Execution


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return number


def device(text: str) -> str:
    """A device's name; whether there is such a device is told where something is computed."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} is not a device; allowed: auto, cpu, cuda, cuda:N, mps")
    return text


def folder(text: str) -> Path:
    """A folder to write to, which need not be there yet."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; type . for this folder")
    path = Path(text)
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file, not a folder")
    return path


class Size(argparse.Action):
    """One number as it is, more as a list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


def add_method(parser: argparse.ArgumentParser) -> None:
    """What is trained, apart from the algorithm and the problem."""
    group = parser.add_argument_group("method")
    group.add_argument("--network", metavar="NAME", help="see `dfdgbench list networks`; default: the dataset's")
    group.add_argument(
        "--weights", metavar="W", help="default (pretrained where there are any), none, a tag, or a file"
    )
    group.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        action=Size,
        metavar="PIXELS",
        help="side, or height and width of segmentation's images; default: the dataset's",
    )
    group.add_argument("--preset", metavar="NAME", help="a named set of hyper-parameters of the algorithm")
    group.add_argument("--hparams", metavar="JSON", help="overrides as DomainBed takes them: '{\"lr\": 1e-4}'")
    group.add_argument(
        "--hparam", metavar="NAME=VALUE", action="append", default=[], help="one override; may be repeated"
    )
    group.add_argument(
        "--steps", type=int, help="updates of the predictor; default: the algorithm's, else the dataset's"
    )
    group.add_argument("--checkpoint-freq", type=int, metavar="STEPS", help="steps between records; 0: one at the end")
    group.add_argument("--dtype", choices=["float32", "bfloat16"], help="networks under autocast; default float32")
    group.add_argument(
        "--channels-last", action="store_true", default=None, help="memory format of images and convolutions"
    )
    group.add_argument(
        "--data-path",
        choices=["fast", "exact"],
        help="fast keeps decoded images; exact crops from the files each time, as DomainBed does; default fast",
    )
    group.add_argument(
        "--val-augment", action="store_true", default=None, help="evaluate source domains augmented, as DomainBed does"
    )
    group.add_argument(
        "--native-size", action="store_true", default=None, help="score masks in their own size, too (native_miou, ...)"
    )
    group.add_argument("--compile", action="store_true", default=None, help="torch.compile the networks")


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Where and how it runs; nothing here changes a result."""
    group = parser.add_argument_group("execution")
    group.add_argument(
        "--device",
        type=device,
        metavar="NAME",
        default="auto",
        help="auto (a GPU where there is one), cpu, cuda, cuda:N",
    )
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads; default 1 on a CPU")
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes that decode on the exact path; default 0 on a CPU"
    )
    group.add_argument(
        "--store-dir", type=folder, metavar="DIR", help="where decoded images are kept; default: with the data"
    )
    add_local(group)
    group.add_argument(
        "--artifacts",
        type=folder,
        default=Path(os.environ.get("DFDGBENCH_ARTIFACTS", "artifacts")),
        metavar="DIR",
        help="where shared stages are kept; default ./artifacts, or $DFDGBENCH_ARTIFACTS",
    )
    group.add_argument(
        "--checkpoint-every", type=float, default=60.0, metavar="SECONDS", help="between snapshots; default 60"
    )
    group.add_argument("--skip-model-save", action="store_true", help="leave no model.safetensors")
    group.add_argument("--save-model-every-checkpoint", action="store_true", help="keep the weights of every record")


def add_local(group: Any) -> None:
    """``--local-dir``, of commands that read stores."""
    group.add_argument(
        "--local-dir",
        metavar="DIR",
        help="copy decoded images once to a disk of the machine that reads them, and read them there; variables in single "
        "quotes ('$TMPDIR') are replaced there",
    )


METHOD = (
    "network",
    "weights",
    "image_size",
    "preset",
    "steps",
    "checkpoint_freq",
    "dtype",
    "channels_last",
    "compile",
    "data_path",
    "val_augment",
    "native_size",
)


def method_options(options: argparse.Namespace) -> dict[str, Any]:
    """The given method options, by the names of ``RunConfig``."""
    return {name: getattr(options, name) for name in METHOD if getattr(options, name) is not None}


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """The hyper-parameters given by ``--hparams`` and ``--hparam``, the latter on top."""
    values: dict[str, Any] = {}
    if options.hparams:
        try:
            values = json.loads(options.hparams)
        except ValueError as error:
            raise HparamError(
                f"--hparams is no JSON ({error}): {options.hparams}. Type for example --hparams '{{\"lr\": 1e-4}}'."
            ) from error
        if not isinstance(values, dict):
            raise HparamError(
                f"--hparams must be a JSON object, not {options.hparams}. Type for example --hparams '{{\"lr\": 1e-4}}'."
            )
    for text in options.hparam:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise HparamError(f"--hparam {text} is not NAME=VALUE. Type for example --hparam lr=1e-4.")
        values[name] = _value(value)
    return values


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return {"None": None, "True": True, "False": False}.get(text, text)


def execution(options: argparse.Namespace) -> Execution:
    """How runs are executed."""
    from dfdgbench.engine.config import Execution

    return Execution.make(
        device=options.device,
        threads=options.threads,
        workers=options.workers,
        store_dir=options.store_dir,
        local_dir=options.local_dir,
        artifacts=options.artifacts,
        checkpoint_every=options.checkpoint_every,
        skip_model_save=options.skip_model_save,
        save_model_every_checkpoint=options.save_model_every_checkpoint,
    )
