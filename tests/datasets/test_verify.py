"""`dfdgbench data verify`: every file read, everything counted, every finding with what to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from trees_own import CLASSES, DOMAINS, ODD, own_tree, picture

from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.check.duplicates import Content, find_duplicates
from dfdgbench.datasets.check.examine import examine_images
from dfdgbench.datasets.check.report import EXAMPLES, LABELS, MASK_SIZE, NO_CLASS, SIZE, UNLABELLED, Report, Tally
from dfdgbench.datasets.check.verify import verify
from dfdgbench.datasets.check.workers import Workers
from dfdgbench.datasets.domains import Domain, MaskedDomain
from dfdgbench.datasets.pacs import PACS
from dfdgbench.errors import DataError, UnknownNameError

Make = Callable[..., PACS]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one's own, all of whose files are fine."""
    return own_tree(tmp_path / "tree", each=4)


def check(tree: Path, jobs: int = 1) -> Report:
    return verify(f"folder:{tree}", jobs=jobs)


def said(report: Report, wrong: bool | None = None) -> str:
    return "\n".join(finding.text for finding in report.findings if wrong in (None, finding.wrong))


# What is whole --------------------------------------------------------------------------------------------------------


def test_a_whole_tree(tree: Path) -> None:
    report = check(tree)
    assert report.ok
    assert report.findings == ()
    assert [domain.name for domain in report.domains] == list(DOMAINS)
    for domain in report.domains:
        assert (domain.state, domain.found, domain.expected, domain.duplicates) == ("ok", 12, None, 0)
        assert domain.classes == dict.fromkeys(CLASSES, 4)
        assert (domain.undecodable, domain.remarks) == ({}, {})


def test_several_processes_find_the_same(tree: Path) -> None:
    (tree / "photo" / "cat" / "pic_001.png").write_bytes(b"")
    assert check(tree, jobs=2) == check(tree, jobs=1)


def test_hashes_do_not_change_when_the_tree_moves(tree: Path, tmp_path: Path) -> None:
    before = check(tree).domains
    tree.rename(tmp_path / "elsewhere")
    after = check(tmp_path / "elsewhere").domains
    assert [(one.fingerprint, one.content) for one in after] == [(one.fingerprint, one.content) for one in before]
    assert len({one.content for one in after}) == 3


def test_the_content_hash_is_of_files_and_the_fingerprint_of_names_too(tree: Path) -> None:
    before = check(tree).domains[1]
    digests = sorted(hashlib.sha256(file.read_bytes()).digest() for file in (tree / "photo").rglob("*.png"))
    assert before.content == hashlib.sha256(b"".join(digests)).hexdigest()
    (tree / "photo" / "cat" / "pic_000.png").rename(tree / "photo" / "cat" / "renamed.png")
    renamed = check(tree).domains[1]
    assert renamed.content == before.content
    assert renamed.fingerprint != before.fingerprint
    first, second = (tree / "photo" / "dog" / f"pic_00{number}.png" for number in (0, 1))
    first.write_bytes(second.read_bytes())
    assert check(tree).domains[1].content != before.content


def test_progress_counts_every_file(tmp_path: Path) -> None:
    tree, calls = own_tree(tmp_path / "tree", each=12), []
    verify(f"folder:{tree}", jobs=1, progress=lambda *call: calls.append(call))
    assert calls == [(name, done, 36) for name in DOMAINS for done in (32, 36)]


def test_the_published_datasets_counts_are_compared(small_pacs: Make) -> None:
    dataset = small_pacs("png")
    report = verify("PACS", dataset.data_dir, jobs=1)
    assert [(row.found, row.expected, row.classes_found) for row in report.domains] == [(14, 14, 7)] * 4
    # The fixture's files are 20x16 and the same in all domains, PACS's are 227x227.
    assert all(row.state == "wrong" and row.remarks[SIZE].count == 14 for row in report.domains)
    assert "Another size than all files as published: art_painting 14, cartoon 14" in said(report, wrong=True)
    assert all(row.duplicates == 14 for row in report.domains)


# What is wrong --------------------------------------------------------------------------------------------------------


def test_undecodable_files_are_named_and_leave_no_content_hash_behind_where_they_cannot_be_read(tree: Path) -> None:
    photo = tree / "photo"
    (photo / "cat" / "pic_000.png").write_bytes(b"")
    (photo / "dog" / "pic_001.png").write_text("text")
    report = check(tree)
    assert [row.state for row in report.domains] == ["ok", "wrong", "ok"]
    assert set(report.domains[1].undecodable) == {"cat/pic_000.png", "dog/pic_001.png"}
    assert f"The image {photo}/cat/pic_000.png cannot be decoded (the file is empty). Replace it" in said(report, True)
    assert report.domains[1].content
    assert not report.ok


def test_a_file_that_vanishes_meanwhile(tree: Path) -> None:
    path = str(tree / "photo" / "cat" / "pic_000.png")
    os.unlink(path)
    (found,) = examine_images([path])
    assert (found.digest, found.size) == (b"", None)
    assert "is gone since its folder was listed" in found.error


def test_many_undecodable_files_are_counted_after_the_first_ten(tmp_path: Path) -> None:
    tree = own_tree(tmp_path / "tree", each=5)
    for file in (tree / "photo").rglob("*.png"):
        file.write_bytes(b"")
    report = check(tree)
    assert len(report.findings) == 11
    assert "5 more files of 'photo' cannot be decoded" in report.findings[10].text
    assert len(report.json()["domains"][1]["undecodable"]) == 15


def test_damage_to_a_published_dataset(small_pacs: Make) -> None:
    dataset = small_pacs()
    root = dataset.root() / "PACS"
    (root / "art_painting").rename(root / "art_paintings")
    (root / "cartoon" / "dog" / "pic_000.jpg").unlink()
    (root / "photo" / "stray").mkdir()
    shutil.rmtree(root / "sketch" / "dog")
    (root / "sketch" / "dog").mkdir()
    report = verify("PACS", dataset.data_dir, jobs=1)
    assert [row.state for row in report.domains] == ["missing", "wrong", "wrong", "wrong"]
    text = said(report, wrong=True)
    assert "Rename 'art_paintings' to 'art_painting'" in text
    assert "'cartoon' has 13 images instead of 14" in text
    assert "not a class: stray" in text
    assert "'sketch' has no image of dog" in text
    assert "art_paintings in" in said(report, wrong=False)
    assert "'art_paintings' may be 'art_painting', renamed" in said(report, wrong=False)


def test_a_dataset_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    report = verify("PACS", tmp_path, jobs=1)
    assert [row.state for row in report.domains] == ["missing"] * 4
    assert len(report.findings) == 1
    assert "dfdgbench data download PACS" in report.findings[0].text


def test_a_dataset_that_lies_elsewhere_is_told(small_pacs: Make) -> None:
    root = small_pacs().root()
    assert f"Type --data-dir {root}." in said(verify("PACS", root / "PACS", jobs=1), wrong=True)


def test_links_that_lead_nowhere_make_a_domain_wrong(tree: Path) -> None:
    (tree / "photo" / "cat" / "link.png").symlink_to("gone.png")
    report = check(tree)
    assert [row.state for row in report.domains] == ["ok", "wrong", "ok"]
    assert "lead nowhere: link.png" in said(report, wrong=True)


def test_an_unknown_dataset() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean PACS"):
        verify("PACs")


# What is unusual ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remark", ODD)
def test_every_remark_is_counted_and_explained(tree: Path, remark: str) -> None:
    name, content = ODD[remark]
    (tree / "photo" / "cat" / name).write_bytes(content())
    report = check(tree)
    assert report.ok
    assert report.domains[1].remarks == {remark: Tally(1, [f"cat/{name}"])}
    (finding,) = report.findings
    assert not finding.wrong
    assert f"photo 1 (for example photo/cat/{name})" in finding.text


def test_an_upright_orientation_is_nothing_unusual(tree: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    picture(1).save(tree / "photo" / "cat" / "upright.jpg", exif=exif)
    assert check(tree).findings == ()


def test_grey_is_nothing_unusual_where_most_are(tree: Path) -> None:
    for number, file in enumerate((tree / "photo").rglob("*.png")):
        if number < 8:
            picture(500 + number).convert("L").save(file)
    assert check(tree).findings == ()


def test_few_examples_are_kept() -> None:
    tally = Tally()
    for number in range(10):
        tally.add(str(number))
    assert (tally.count, tally.examples) == (10, ["0", "1", "2"])
    assert len(tally.examples) == EXAMPLES


def test_files_that_are_not_read_are_told(tree: Path) -> None:
    photo = tree / "photo" / "cat"
    for name in ("Thumbs.db", "notes.txt", "more.txt", "a.gif"):
        (photo / name).write_text("x")
    text = said(check(tree))
    assert "Files of no format that is read: 4 (.txt 2, " in text
    assert "photo/cat/Thumbs.db" in text


def test_what_is_no_file_is_told_and_not_opened(tree: Path) -> None:
    os.mkfifo(tree / "photo" / "cat" / "pipe.jpg")
    text = said(check(tree))
    assert "Named pipes, sockets or devices, which are no files: 1, not read (photo/cat/pipe.jpg)" in text


def test_images_outside_class_folders_are_told(small_pacs: Make) -> None:
    dataset = small_pacs()
    picture(9).save(dataset.root() / "PACS" / "photo" / "loose.png")
    assert "Images in no class folder: 1, not read (photo/loose.png)" in said(verify("PACS", dataset.data_dir, jobs=1))


def test_notices_of_a_tree_are_told_once(tree: Path) -> None:
    picture(9).save(tree / "photo" / "loose.png")
    report = check(tree)
    assert len(report.findings) == 1
    assert "not read (photo/loose.png)" in report.findings[0].text


# Duplicates -----------------------------------------------------------------------------------------------------------


def test_duplicates_are_counted_by_where_they_lie(tree: Path) -> None:
    shutil.copy(tree / "clip" / "cat" / "pic_000.png", tree / "photo" / "cat" / "copy.png")
    shutil.copy(tree / "sketch" / "dog" / "pic_001.png", tree / "sketch" / "dog" / "again.png")
    shutil.copy(tree / "photo" / "dog" / "pic_002.png", tree / "photo" / "emu" / "other.png")
    report = check(tree)
    assert report.ok
    assert [row.duplicates for row in report.domains] == [1, 3, 2]
    text = said(report)
    assert "in more than one domain: 2 images (for example clip/cat/pic_000.png = photo/cat/copy.png)" in text
    assert "more than once in one domain: 4 images" in text
    assert "sketch/dog/again.png = sketch/dog/pic_001.png" in text
    assert "with different classes: 2 images (for example photo/dog/pic_002.png = photo/emu/other.png)" in text


def test_damaged_files_are_no_duplicates_of_each_other(tree: Path) -> None:
    for domain in DOMAINS:
        (tree / domain / "cat" / "pic_000.png").write_bytes(b"")
    assert [row.duplicates for row in check(tree).domains] == [0, 0, 0]


def test_groups_of_duplicates() -> None:
    labels = np.array([0, 1, -1])
    contents = [
        Content("a", ("1", "2", "3"), labels, (b"x", b"x", b"")),
        Content("b", ("1", "2", "3"), labels, (b"x", b"y", b"")),
    ]
    found = find_duplicates(contents)
    assert found.per_domain == (2, 1)
    assert (found.across.groups, found.across.images, found.across.examples) == (1, 3, ("a/1 = a/2 = b/1",))
    assert (found.within.groups, found.relabelled.groups) == (0, 1)


# Other ways to store a domain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MiniDigits", "Debug28"])
def test_arrays_are_counted_and_hashed(name: str) -> None:
    report, metadata = verify(name, jobs=1), DATASETS.get(name).metadata
    assert report.ok
    assert tuple(row.found for row in report.domains) == metadata.counts
    assert all(set(row.classes) == set(metadata.classes) for row in report.domains)
    opened = DATASETS.get(name)()
    assert [row.fingerprint for row in report.domains] == [
        opened.domain(index).fingerprint() for index in range(len(metadata.domains))
    ]


def read_mask(path: str) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


class Streets(Dataset):
    """Two domains of masks, in one folder."""

    read: ClassVar[Callable[[str], np.ndarray]] = staticmethod(read_mask)
    metadata = Metadata(
        name="Streets",
        description="two domains of masks",
        task="segmentation",
        domains=("day", "night"),
        classes=("road", "sky"),
        image_size=16,
        folder="Streets",
        layout="Streets/FILE",
    )

    def open(self, index: int) -> MaskedDomain:
        name = self.metadata.domains[index]
        files = [f"{name}_{number}.png" for number in range(3)]
        masks = [f"{name}_{number}_mask.png" for number in range(2)] + [""]
        return MaskedDomain(name, self.domain_folder(index).parent, files, masks, self.read)


@pytest.fixture
def streets(tmp_path: Path) -> Iterator[Path]:
    """The folder of Streets: three images a domain, two of them with masks of 200 pixels of road, 100 of sky, 20 of none."""
    folder = tmp_path / "Streets"
    for start, name in enumerate(("day", "night")):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            picture(10 * start + number).save(folder / f"{name}_{number}.png")
            mask = np.repeat([0, 1, 255], [200, 100, 20]).reshape(16, 20).astype(np.uint8)
            Image.fromarray(mask).save(folder / f"{name}_{number}_mask.png")
    DATASETS.add("Streets", Streets)
    yield folder
    del DATASETS._found["Streets"]


@pytest.mark.parametrize("travels", [True, False])
def test_masks_are_decoded_and_their_labels_counted(
    streets: Path, monkeypatch: pytest.MonkeyPatch, travels: bool
) -> None:
    if not travels:
        monkeypatch.setattr(Streets, "read", staticmethod(lambda path: read_mask(path)))
    report = verify("Streets", streets.parent, jobs=1 if travels else 2)
    assert report.ok
    assert report.masks
    for row in report.domains:
        assert row.classes == {"road": 400, "sky": 200, NO_CLASS: 40}
        assert (row.found, row.classes_found, row.remarks[UNLABELLED].count) == (3, 2, 1)
    assert "Images without a mask: day 1, night 1" in said(report, wrong=False)


def test_bad_masks_are_told(streets: Path) -> None:
    Image.new("L", (20, 16), 7).save(streets / "day_0_mask.png")
    Image.new("L", (10, 8), 1).save(streets / "day_1_mask.png")
    (streets / "night_1_mask.png").write_bytes(b"")
    report = verify("Streets", streets.parent, jobs=1)
    day, night = report.domains
    assert (day.state, night.state) == ("wrong", "wrong")
    assert day.remarks[LABELS].examples == ["day_0_mask.png 7"]
    assert day.remarks[MASK_SIZE].examples == ["day_1_mask.png 10x8, its image 20x16"]
    assert set(night.undecodable) == {"night_1_mask.png"}
    assert "Masks with labels of no class: day 1 (for example day/day_0_mask.png 7)" in said(report, wrong=True)
    assert "Masks of another size than their image: day 1" in said(report, wrong=False)


class Unheard(Domain):
    """A domain that alone knows how it is stored; its last image cannot be decoded."""

    def image(self, index: int) -> Image.Image:
        if index == len(self) - 1:
            raise DataError("Image #2 cannot be decoded. Replace it.")
        return picture(index)

    def fingerprint(self) -> str:
        return "f" * 64


def test_a_domain_of_another_kind_is_read_through_its_own_images(monkeypatch: pytest.MonkeyPatch) -> None:
    debug = DATASETS.get("Debug28")
    monkeypatch.setattr(debug, "open", lambda self, index: Unheard("0", np.array([0, 1, 1])))
    report = verify("Debug28", jobs=1)
    assert [row.undecodable for row in report.domains] == [{"#2": "Image #2 cannot be decoded. Replace it."}] * 3
    assert report.domains[0].content == ""


# Processes ------------------------------------------------------------------------------------------------------------


def test_what_workers_import_is_light() -> None:
    code = "import sys, dfdgbench.datasets.check.examine; print([m for m in ('torch', 'pydantic') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_tasks(jobs: int) -> None:
    with Workers(jobs) as workers:
        assert list(workers.map(abs, iter(range(-40, 0)))) == list(range(40, 0, -1))


def test_a_process_that_crashes_is_told() -> None:
    with Workers(2) as workers, pytest.raises(DataError, match="Type the same command with --jobs 1"):
        list(workers.map(os._exit, [3]))


def test_an_interrupt_ends_the_workers(tmp_path: Path) -> None:
    tree = own_tree(tmp_path / "tree", each=20)

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        verify(f"folder:{tree}", jobs=2, progress=interrupt)
    assert threading.active_count() == before


STARTS_WORKERS = """
import multiprocessing, time
from dfdgbench.datasets.check.workers import Workers
if __name__ == "__main__":
    workers = Workers(2)
    results = workers.map(abs, range(20))
    next(results)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and is not yet asked for by whom it was left to does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS_WORKERS)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()]
    assert workers
    assert all(alive(worker) for worker in workers)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)
