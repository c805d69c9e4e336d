"""Where randomness comes from: DomainBed's hash, and one generator a purpose.

Nothing here looks at a global generator. A stage's seed is a hash of what the stage is; within a stage every purpose
(initial weights, batch k of domain d, an image's augmentation) has a generator of its own, named by what it is for, so
that a result depends neither on the order of the work nor on how it was spread over processes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Part = int | str | float | bool | None | list[int] | tuple[str, ...]


def seed_hash(*args: Part) -> int:
    """DomainBed's seed of its arguments, in [0, 2**31): the MD5 of the tuple's Python text.

    The text is ``repr``, so numpy scalars would hash differently from plain numbers; they are refused.

    >>> seed_hash(0, 1)
    1514274641
    """
    for value in args:
        if isinstance(value, np.generic):
            raise TypeError(
                f"seed_hash got the numpy scalar {value!r}, whose text differs from a plain number's; convert it"
            )
    return int(hashlib.md5(str(args).encode("utf-8")).hexdigest(), 16) % (2**31)


def generator(*purpose: Part) -> torch.Generator:
    """A CPU generator for one purpose, seeded by ``seed_hash(*purpose)``."""
    import torch

    return torch.Generator().manual_seed(seed_hash(*purpose))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch: what a library below us may draw from."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Leave every global generator as it was, whatever the body draws."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
