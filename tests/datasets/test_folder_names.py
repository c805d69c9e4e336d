"""``folder:PATH``: a person's own tree as a dataset, and what is said where it is not one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from trees_own import CLASSES, DOMAINS, own_tree, picture

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.folder import FolderDataset
from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError, DataError, DfdgbenchError, MissingDataError, UnknownNameError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three domains of three classes of two pictures."""
    return own_tree(tmp_path / "tree")


def get(path: object) -> type[Dataset]:
    return DATASETS.get(f"folder:{path}")


def notices(path: object) -> str:
    found = get(path)
    assert issubclass(found, FolderDataset)
    return "\n".join(found.notices)


def refusal(path: object, kind: type[DfdgbenchError] = ConfigError) -> str:
    with pytest.raises(kind) as caught:
        get(path)
    return str(caught.value)


# What is a tree -------------------------------------------------------------------------------------------------------


def test_metadata_is_read_from_the_tree(tree: Path) -> None:
    metadata = get(tree).metadata
    assert (metadata.name, metadata.domains, metadata.classes) == ("folder:tree", DOMAINS, CLASSES)
    assert (metadata.image_size, metadata.network, metadata.protocol) == (224, "resnet50", "domainbed")
    assert (metadata.counts, metadata.absent, metadata.needs_data_dir) == (None, {}, False)
    assert "3 domains of 3 classes" in metadata.description
    assert notices(tree) == ""


def test_domains_hand_out_images_and_labels(tree: Path) -> None:
    dataset = get(tree)()
    domain = dataset.domain(1)
    assert domain.name == "photo"
    assert domain.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert domain.image(0).mode == "RGB"
    assert dataset.home == tree


def test_a_tree_that_moves_stays_the_same(tree: Path, tmp_path: Path) -> None:
    before = [get(tree)().domain(index).fingerprint() for index in range(3)]
    tree.rename(tmp_path / "moved")
    assert [get(tmp_path / "moved")().domain(index).fingerprint() for index in range(3)] == before


@pytest.mark.parametrize("given", ["tree", "./tree", "tree/", "../{}/tree", "~/tree"])
def test_relative_paths_and_the_home_folder(tree: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(tree.parent)
    monkeypatch.setenv("HOME", str(tree.parent))
    found = get(given.format(tree.parent.name))
    assert issubclass(found, FolderDataset)
    assert found.path == tree
    monkeypatch.chdir("/")
    assert len(found().domain(0)) == 6


def test_hidden_folders_are_no_domains_and_no_classes(tree: Path) -> None:
    (tree / ".dfdgbench" / "stores").mkdir(parents=True)
    (tree / "photo" / ".cache").mkdir()
    assert get(tree).metadata.domains == DOMAINS
    assert get(tree).metadata.classes == CLASSES


def test_images_below_a_class_folder_are_found(tree: Path) -> None:
    (tree / "photo" / "cat" / "more").mkdir()
    shutil.move(tree / "photo" / "cat" / "pic_000.png", tree / "photo" / "cat" / "more")
    shutil.move(tree / "photo" / "cat" / "pic_001.png", tree / "photo" / "cat" / "more")
    assert len(get(tree)().domain(1)) == 6
    assert notices(tree) == ""


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("folder:/big/tree", "tree"),
        ("folder:/big/tree/", "tree"),
        ("folder:tree", "tree"),
        ("folder:my tree", "my-tree"),
        ("PACS", "PACS"),
    ],
)
def test_a_run_is_called_after_the_last_part_of_the_path(name: str, folder: str) -> None:
    run_id = RunConfig.make(dataset=name).run_id
    assert run_id.startswith(f"ERM-{folder}-env0-")
    assert "/" not in run_id


def test_status_lists_the_tree_and_its_notices(tree: Path) -> None:
    shutil.rmtree(tree / "photo" / "dog")
    found = status(f"folder:{tree}", None)
    assert (found.state, [row.found for row in found.domains]) == ("ok", [6, 4, 6])
    assert found.remarks == get(tree).notices


# What is allowed and told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [False, True])
def test_a_class_that_a_domain_lacks_is_told(tree: Path, empty: bool) -> None:
    shutil.rmtree(tree / "photo" / "dog")
    if empty:
        (tree / "photo" / "dog").mkdir()
        (tree / "photo" / "dog" / "notes.txt").write_text("")
    assert get(tree).metadata.absent == {"photo": ("dog",)}
    assert "The domain 'photo' has no image of 1 of the 3 classes: dog." in notices(tree)
    assert get(tree)().domain(1).labels.tolist() == [0, 0, 2, 2]


def test_a_renamed_class_is_told(tree: Path) -> None:
    (tree / "photo" / "dog").rename(tree / "photo" / "Dogs")
    assert get(tree).metadata.classes == ("Dogs", *CLASSES)
    assert "'Dogs' may be 'dog', renamed: rename the folder" in notices(tree)


def test_a_class_without_any_image_is_told(tree: Path) -> None:
    (tree / "photo" / "yak").mkdir()
    assert notices(tree).startswith("The class folders yak hold no image in any domain")


def test_stray_files_are_told(tree: Path) -> None:
    (tree / "README").write_text("")
    picture(0).save(tree / "photo" / "loose.png")
    assert "Files in no class folder: 2, not read (README, photo/loose.png)" in notices(tree)
    assert len(get(tree)().domain(1)) == 6


def test_domains_called_as_splits_are_told(tmp_path: Path) -> None:
    own_tree(tmp_path / "t", ("train", "val"))
    assert "The domains train, val are called as splits" in notices(tmp_path / "t")


# What is not a tree ---------------------------------------------------------------------------------------------------


def test_a_path_that_does_not_exist_is_told_with_what_is_beside_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    said = refusal("teee/photo", MissingDataError)
    assert f"{tree.parent}/teee/photo does not exist (relative paths are taken from {tree.parent})" in said
    assert f"Did you mean folder:{tree}?" in said
    assert "relative" not in refusal(tree.parent / "nowhere", MissingDataError)


def test_no_path_is_told() -> None:
    assert "Type folder:PATH. Expected: PATH/DOMAIN/CLASS/IMAGE" in refusal("")


def test_an_unknown_user_is_told() -> None:
    assert "Type the path without ~" in refusal("~no_such_user_here/tree")


@pytest.mark.parametrize(("name", "hint"), [("tree.zip", "Unpack it"), ("picture.png", "a folder is expected")])
def test_a_file_is_told(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_text("")
    said = refusal(tmp_path / name)
    assert "is a file" in said
    assert hint in said


def test_a_missing_level_of_domains_is_told_with_the_path_that_was_meant(tree: Path) -> None:
    said = refusal(tree / "photo")
    assert "has class folders directly (cat, dog, emu): the level of domains is missing" in said
    assert f"Did you mean folder:{tree}?" in said
    assert "PATH/DOMAIN/CLASS/IMAGE" in said


def test_a_path_one_level_too_high_is_told_with_the_path_that_was_meant(tree: Path) -> None:
    assert f"has one domain, 'tree', where two or more are expected. Did you mean folder:{tree}?" in refusal(
        tree.parent
    )
    own_tree(tree.parent / "other", ("x",), ("left", "right"))
    said = refusal(tree.parent)
    assert "No class in" in said
    assert f"Did you mean folder:{tree}?" in said


def test_images_directly_in_a_domain_are_told(tree: Path) -> None:
    for name in CLASSES:
        for file in (tree / "photo" / name).iterdir():
            file.rename(tree / "photo" / f"{name}_{file.name}")
        (tree / "photo" / name).rmdir()
    assert "photo in" in refusal(tree)
    assert "hold images directly, for example photo/cat_pic_000.png. Put them into folders" in refusal(tree)


def test_images_directly_in_the_folder_are_told(tree: Path) -> None:
    assert "holds images directly" in refusal(tree / "photo" / "cat")


def test_nothing_at_all_is_told(tmp_path: Path) -> None:
    assert "holds no folder" in refusal(tmp_path)


@pytest.mark.parametrize("inside", [False, True])
def test_a_domain_without_images_is_told(tree: Path, inside: bool) -> None:
    (tree / "docs" / "cat" if inside else tree / "docs").mkdir(parents=True)
    said = refusal(tree, DataError)
    assert f"The folders docs in {tree} hold no image" in said
    assert "Fill them or move them away" in said


def test_a_single_class_is_told(tree: Path) -> None:
    for domain in DOMAINS:
        shutil.rmtree(tree / domain / "cat")
        shutil.rmtree(tree / domain / "dog")
    assert "have one class, emu; two or more are expected" in refusal(tree)


def test_splits_in_place_of_classes_are_told(tmp_path: Path) -> None:
    for domain in DOMAINS:
        own_tree(tmp_path / "t" / domain, ("train", "test"))
    assert "are splits, where the classes are expected" in refusal(tmp_path / "t")


def test_a_name_that_is_not_utf_8_is_told(tree: Path) -> None:
    os.rename(os.fsencode(tree / "photo"), os.fsencode(tree) + b"/caf\xe9")
    assert r"is not UTF-8: b'caf\xe9'. Rename it" in refusal(tree)


def test_a_loop_of_links_is_told(tree: Path) -> None:
    (tree / "photo" / "dog" / "again").symlink_to(tree / "photo" / "dog", target_is_directory=True)
    (tree / "photo" / "dog" / "pic_000.png").unlink()
    (tree / "photo" / "dog" / "pic_001.png").unlink()
    assert "a loop of symbolic links" in refusal(tree, DataError)


def test_an_unknown_dataset_is_told_of_the_form() -> None:
    with pytest.raises(UnknownNameError, match=r"Or type folder:PATH for images of your own"):
        DATASETS.get("/some/tree")
