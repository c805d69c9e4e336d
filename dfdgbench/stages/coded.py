"""Sets as image files: what a codec leaves of them is what is labelled, and what the student sees."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dfdgbench.engine.snapshots import State
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.settings import Released, Side
from dfdgbench.stages.distilled import SizedPool
from dfdgbench.stages.pool import Pool, Shard

Codec = Literal["raw", "png", "jpeg75"]


class Storing(Hparams):
    """How a set is kept (spec, section 2)."""

    codec: Codec = hparam(
        "raw",
        doc="uint8 arrays, PNG files (the same pixels), or JPEG files of quality 75 (the references'), whose pixels are then what "
        "is labelled and learnt from",
    )


class Coded(Shard):
    """The images of a shard as files of ``codec``, one after the other.

    The shard itself stays as it is: the owner's other stages, such as the training of the transfer network, go on from that.
    """

    kind = "coded"
    hparams: Storing

    def __init__(self, shard: Shard, hparams: Storing) -> None:
        problem = shard.problem
        super().__init__(
            problem,
            hparams,
            domains=[problem.metadata.index(name) for name in shard.domains],
            inputs=[shard],
            side=Side.OWNER,
            releases=Released.SYNTHETIC,
            index=shard.index,
        )

    def start(self, work: Work) -> State:
        return State()

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        pool: Pool = work.input(self.inputs[0])
        files = [encoded(image, self.hparams.codec) for image in pool.images]
        np.save(folder / "files.npy", np.frombuffer(b"".join(files), dtype=np.uint8), allow_pickle=False)
        np.save(folder / "lengths.npy", np.array([len(file) for file in files]), allow_pickle=False)
        np.save(folder / "labels.npy", pool.labels.numpy().astype(np.int16), allow_pickle=False)
        return {"images": len(pool), "bytes": sum(map(len, files))}

    def load(self, folder: Path, work: Work) -> SizedPool:
        try:
            content, lengths, labels = (
                np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("files", "lengths", "labels")
            )
            images = [decoded(file.tobytes()) for file in np.split(content, lengths.cumsum()[:-1])]
            stored = sum(path.stat().st_size for path in folder.glob("*.npy"))
            return SizedPool(torch.stack(images), torch.from_numpy(labels.astype(np.int64)), stored)
        except Exception as error:  # the decoder and a wrong content raise their own
            raise ArtifactError(f"The set in {folder} cannot be read: {error}") from error


def encoded(image: Tensor, codec: Codec) -> bytes:
    """The file of an image uint8 [3, H, W]."""
    kind: dict[str, Any] = {"format": "JPEG", "quality": 75} if codec == "jpeg75" else {"format": "PNG"}
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, **kind)
    return buffer.getvalue()


def decoded(file: bytes) -> Tensor:
    """The image uint8 [3, H, W] of a file."""
    with Image.open(io.BytesIO(file)) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
