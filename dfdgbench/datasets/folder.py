"""``folder:PATH``: any tree ``PATH/DOMAIN/CLASS/IMAGE`` as a dataset, with no code."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.disk.tree import Tree, read_tree
from dfdgbench.datasets.domains import FolderDomain, folder_domain

IMAGE_SIZE = 224


class FolderDataset(Dataset):
    """A person's own images. ``data_dir`` is not looked at.

    Attributes:
        path: the folder that holds a folder for each domain.
    """

    path: ClassVar[Path]

    @property
    def home(self) -> Path:
        return self.path

    def open(self, index: int) -> FolderDomain:
        name = self.metadata.domains[index]
        return folder_domain(name, self.path / name, self.metadata.classes, self.metadata.absent.get(name, ()))


@DATASETS.scheme("folder", "folder:PATH for images of your own in PATH/DOMAIN/CLASS/IMAGE")
def folder_dataset(path: str) -> type[FolderDataset]:
    """The dataset in ``path``: every folder in it is a domain, every folder in one of those a class.

    Domains and classes are in the order of their names, a class being in one domain at least. The files are listed when a
    domain is opened, not here. Errors as of :func:`dfdgbench.datasets.disk.tree.read_tree`.
    """
    tree = read_tree(path)
    content = {"__doc__": f"Images in {tree.root}.", "metadata": _metadata(tree), "path": tree.root}
    return type("Folder", (FolderDataset,), content | {"notices": tree.notices(), "__module__": __name__})


def _metadata(tree: Tree) -> Metadata:
    return Metadata(
        # The last part of the path alone: the name goes into names of folders, whose length is limited.
        name=f"folder:{tree.root.name}",
        description=f"{len(tree.domains)} domains of {len(tree.classes)} classes in {tree.root}",
        domains=tree.domains,
        classes=tree.classes,
        absent=dict(tree.absent),
        image_size=IMAGE_SIZE,
        network="resnet50",
        needs_data_dir=False,
        licence="your own",
        layout=f"{tree.root}/DOMAIN/CLASS/IMAGE",
    )
