"""Bad files and bad trees: each is told in one message that names the file and says what to do, or is read as it should be."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees_own import CLASSES, ORIENTATION, animated, deep, encoded, own_tree, palette, picture, rotated

from dfdgbench.datasets.check.verify import verify
from dfdgbench.datasets.disk import scan
from dfdgbench.datasets.disk.decode import read_rgb
from dfdgbench.datasets.disk.scan import Kind, files_below, folders_in, images_below
from dfdgbench.datasets.domains import folder_domain
from dfdgbench.datasets.pacs import PACS
from dfdgbench.errors import DataError, MissingDataError

NOBODY = 65534
PNG, JPEG = encoded(picture(7), "PNG"), encoded(picture(7), "JPEG")
UNDECODABLE = {
    "truncated PNG": ("a.png", PNG[:-40], "cannot be decoded"),
    "truncated JPEG": ("a.jpg", JPEG[:-200], "cannot be decoded"),
    "truncated GIF": ("a.png", encoded(picture(7), "GIF")[:200], "cannot be decoded"),
    "truncated TIFF": ("a.tif", encoded(picture(7), "TIFF")[:200], "cannot be decoded"),
    "truncated WebP": ("a.webp", encoded(picture(7), "WEBP", lossless=True)[:200], "cannot be decoded"),
    "truncated BMP": ("a.bmp", encoded(picture(7), "BMP")[:200], "cannot be decoded"),
    "damaged PNG": ("a.png", PNG[:60] + bytes(20) + PNG[80:], "cannot be decoded"),
    "zero bytes": ("a.jpg", b"", "the file is empty"),
    "text": ("a.jpg", b"hello, I am text", "not of a known image format, whatever its name says"),
    "web page": ("a.jpg", b"\n<!DOCTYPE html><html>", "a web page: a download that failed"),
    "LFS pointer": ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "type git lfs pull"),
    "bomb": ("a.png", PNG[:16] + b"\x00\x01\x00\x00" * 2 + PNG[24:], "cannot be decoded"),
}


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def pixels(folder: Path, content: bytes) -> np.ndarray:
    """What is read of a file of that content, whose ending says nothing."""
    image = read_rgb(write(folder, "file", content))
    assert image.mode == "RGB"
    return np.asarray(image)


def plain(content: bytes) -> np.ndarray:
    """What PIL alone makes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


# Decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "content", "reason"), UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_cannot_be_decoded_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=reason) as caught:
        read_rgb(path)
    assert str(caught.value).count(str(path)) == 1
    assert str(caught.value).endswith("Replace it from the original download.")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_no_damage_gets_past_as_another_error(tmp_path: Path, form: str) -> None:
    whole, draw = encoded(picture(8), form), np.random.RandomState(0)
    told = 0
    for _ in range(150):
        content = bytearray(whole[: draw.randint(len(whole))] if draw.rand() < 0.3 else whole)
        for place in draw.randint(0, max(len(content), 1), 4):
            content[place : place + 1] = bytes([draw.randint(256)])
        try:
            read_rgb(write(tmp_path, "a", bytes(content)))
        except DataError:
            told += 1
    assert told > 20


def test_an_image_that_is_gone_a_link_that_is_broken_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.png is gone since its folder was listed. See `dfdgbench data status`"):
        read_rgb(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"b.png is a link to nowhere.png, which does not exist. Put that back"):
        read_rgb(tmp_path / "b.png")
    with pytest.raises(DataError, match="Is a directory"):
        read_rgb(tmp_path)


def test_an_image_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.png", PNG)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match=r"a.png may not be read \(Permission denied\). .*chmod u\+r"):
        read_rgb(path)


def test_cmyk_is_converted_as_pil_does(tmp_path: Path) -> None:
    content = encoded(picture(3).convert("CMYK"), "JPEG")
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    assert (pixels(tmp_path, content) == plain(content)).all()


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_is_resolved_without_a_warning(tmp_path: Path, transparent: bool) -> None:
    content = palette(transparent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pixels(tmp_path, content)
    assert (found == plain(content)).all()
    assert len(np.unique(found.reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_keeps_its_upper_byte(tmp_path: Path, form: str) -> None:
    found = pixels(tmp_path, encoded(deep(), form))
    assert (found[..., 0].reshape(-1) == np.arange(256)).all()


def test_mode_i_is_scaled_only_where_it_needs_two_bytes(tmp_path: Path) -> None:
    wide = encoded(Image.fromarray(np.linspace(0, 65535, 256).reshape(16, 16).astype(np.int32)), "TIFF")
    narrow = encoded(Image.fromarray(np.arange(256).reshape(16, 16).astype(np.int32)), "TIFF")
    assert Image.open(io.BytesIO(wide)).mode == "I"
    for content in (wide, narrow):
        assert (pixels(tmp_path, content)[..., 0].reshape(-1) == np.arange(256)).all()


@pytest.mark.parametrize(("form", "applied"), [("JPEG", False), ("PNG", False), ("WEBP", False), ("TIFF", True)])
def test_an_orientation_is_not_applied_but_by_pil_itself(tmp_path: Path, form: str, applied: bool) -> None:
    content = rotated(form)
    assert Image.open(io.BytesIO(content)).getexif()[ORIENTATION] == 6
    found = pixels(tmp_path, content)
    assert (found == plain(content)).all()
    assert found.shape == ((20, 16, 3) if applied else (16, 20, 3))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, form: str) -> None:
    assert Image.open(io.BytesIO(animated(form))).n_frames == 2  # type: ignore[attr-defined]
    red, green, blue = pixels(tmp_path, animated(form))[8, 8].tolist()
    assert red > 200
    assert max(green, blue) < 50


# Names ----------------------------------------------------------------------------------------------------------------

NAMES = ("日本.png", "grün é.png", os.fsdecode(b"caf\xe9.png"), "two\nlines.png", "white space.png")


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A tree with files of unusual names, one of each of which cannot be decoded."""
    tree = own_tree(tmp_path / "tree")
    for number, name in enumerate(NAMES):
        picture(5000 + number).save(tree / "photo" / "cat" / name)
        (tree / "photo" / "dog" / name).write_text(name, errors="surrogateescape")
    return tree


def test_files_of_any_name_are_listed_read_and_fingerprinted(named: Path) -> None:
    domain = folder_domain("photo", named / "photo", CLASSES)
    assert {f"cat/{name}" for name in NAMES} <= set(domain.files)
    for name in NAMES:
        assert domain.image(domain.files.index(f"cat/{name}")).size == (20, 16)
        with pytest.raises(DataError, match="cannot be decoded"):
            domain.image(domain.files.index(f"dog/{name}"))
    assert len(domain.fingerprint()) == 64


def test_files_of_any_name_are_verified_and_survive_json(named: Path) -> None:
    report = verify(f"folder:{named}", jobs=1)
    assert set(report.domains[1].undecodable) == {f"dog/{name}" for name in NAMES}
    back = json.loads(json.dumps(report.json()).encode("ascii"))
    assert set(back["domains"][1]["undecodable"]) == {f"dog/{name}" for name in NAMES}


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["table", "json"])
def test_a_strict_terminal_shows_them(named: Path, encoding: str, json_too: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "dfdgbench", "data", "verify", f"folder:{named}", "--jobs", "1", *json_too]
    ended = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert rb"caf\udce9.png" in ended.stdout


# Trees ----------------------------------------------------------------------------------------------------------------


def test_a_class_folder_that_is_missing_in_one_domain(small_pacs: Callable[..., PACS]) -> None:
    dataset = small_pacs()
    root = dataset.root() / "PACS" / "photo"
    (root / "dog").rename(root / "Dogs")
    with pytest.raises(
        DataError, match=r"photo are not .*missing: dog; not a class: Dogs; 'Dogs' may be 'dog', renamed"
    ):
        dataset.domain(2)
    assert len(dataset.domain(3)) == 14


@pytest.mark.parametrize(("renamed", "hint"), [("phtoo", "Rename 'phtoo' to 'photo'"), ("x", "Put the dataset there")])
def test_a_domain_folder_that_is_missing_or_renamed(small_pacs: Callable[..., PACS], renamed: str, hint: str) -> None:
    dataset = small_pacs()
    root = dataset.root() / "PACS"
    (root / "photo").rename(root / renamed)
    with pytest.raises(MissingDataError, match=f"photo of domain 'photo' does not exist. {hint}"):
        dataset.domain(2)
    assert dataset.strays(dataset.root()) == [renamed]
    assert [dataset.domain(index).name for index in (0, 1, 3)] == ["art_painting", "cartoon", "sketch"]


def test_loops_of_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to("..", target_is_directory=True)
    with pytest.raises(DataError, match=r"a/b/up leads back to a folder above it .* Remove the link"):
        images_below(tmp_path)
    (tmp_path / "a" / "b" / "up").unlink()
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "self.png").symlink_to("self.png")
    with pytest.raises(DataError, match="self"):
        images_below(tmp_path)
    with pytest.raises(DataError, match="self"):
        folders_in(tmp_path)


def test_one_folder_linked_twice_is_no_loop(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real", "a.png", PNG)
    for name in ("one", "two"):
        (tmp_path / name).symlink_to("real", target_is_directory=True)
    assert images_below(tmp_path) == ["one/a.png", "real/a.png", "two/a.png"]


def test_links_that_lead_nowhere_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, "whole.png", PNG)
    for number in range(5):
        (tmp_path / f"{number}.png").symlink_to("gone.png")
    (tmp_path / "notes.txt").symlink_to("gone.txt")
    with pytest.raises(DataError, match=r"^5 of the images below .* lead nowhere: 0.png, 1.png, 2.png, ... \(2 more\)"):
        images_below(tmp_path)
    kinds = dict(files_below(tmp_path))
    assert (kinds["whole.png"], kinds["0.png"], kinds["notes.txt"]) == (Kind.IMAGE, Kind.BROKEN, Kind.OTHER)


def test_a_named_pipe_called_like_an_image_is_never_opened(tmp_path: Path) -> None:
    write(tmp_path, "whole.png", PNG)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "linked.png").symlink_to("pipe.jpg")
    os.mkfifo(tmp_path / "notes.txt")
    assert images_below(tmp_path) == ["whole.png"]
    no_files = [path for path, kind in files_below(tmp_path) if kind is Kind.NO_FILE]
    assert no_files == ["linked.png", "notes.txt", "pipe.jpg"]
    with pytest.raises(DataError, match=r"^The image .*pipe.jpg cannot be decoded \(it is no file\)"):
        read_rgb(tmp_path / "pipe.jpg")  # as a published list may name it


def test_a_linked_image_is_an_image(tmp_path: Path) -> None:
    write(tmp_path, "content", PNG)
    (tmp_path / "a.png").symlink_to("content")
    assert images_below(tmp_path) == ["a.png"]
    assert read_rgb(tmp_path / "a.png").size == (20, 16)


@pytest.mark.parametrize("listed", [images_below, folders_in])
def test_a_folder_that_may_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: Callable[[Path], object]
) -> None:
    (tmp_path / "closed").mkdir()
    allowed = os.scandir

    def scandir(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(path)  # type: ignore[call-overload]

    monkeypatch.setattr(scan.os, "scandir", scandir)
    with pytest.raises(DataError, match=r"closed may not be listed \(Permission denied\). .*chmod u\+rx '.*closed'"):
        listed(tmp_path / "closed")


@contextmanager
def not_as_root() -> Iterator[None]:
    """Within the body the process has the rights of nobody, if it had root's: root may list every folder."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_closed_folder() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to nobody from the top
        os.chmod(folder, 0o755)
        (Path(folder) / "closed").mkdir(mode=0o000)
        with not_as_root(), pytest.raises(DataError, match=r"closed may not be listed \(Permission denied\)"):
            images_below(folder)


def test_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="nowhere does not exist"):
        images_below(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be listed"):
        images_below(write(tmp_path, "file", b""))


def test_a_folder_called_like_an_image_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "odd.png").mkdir()
    write(tmp_path / "odd.png", "a.png", PNG)
    assert images_below(tmp_path) == ["odd.png/a.png"]


def test_hidden_files_and_other_formats_are_left_out(tmp_path: Path) -> None:
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "a.gif", "b.JPEG", "c.Png"):
        write(tmp_path, name, PNG)
    assert images_below(tmp_path) == ["b.JPEG", "c.Png"]
    assert [path for path, kind in files_below(tmp_path) if kind is Kind.OTHER] == ["Thumbs.db", "a.gif"]


def test_the_order_is_that_of_the_parts_of_paths(tmp_path: Path) -> None:
    for path in ("b/1.png", "a-/1.png", "a/1.png", "a.png", "B/1.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        write(tmp_path, path, PNG)
    expected = sorted(images_below(tmp_path), key=lambda path: path.split("/"))
    assert images_below(tmp_path) == expected == ["B/1.png", "a/1.png", "a-/1.png", "a.png", "b/1.png"]


def test_a_hundred_thousand_files_are_listed_in_a_second_or_two(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"{folder:03d}").mkdir()
        for number in range(1000):
            os.close(os.open(tmp_path / f"{folder:03d}" / f"{number}.jpg", os.O_CREAT | os.O_WRONLY))
    began = time.perf_counter()
    found = images_below(tmp_path)
    assert time.perf_counter() - began < 5  # measured: 0.15 s
    assert len(found) == 100_000
