"""Masks: the numbers in a file and nothing else decide, and no number indexes where it should not."""

from __future__ import annotations

import pickle
import struct
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from trees_segmentation import blocks, deep_mask, grey_mask, palette_mask

from dfdgbench.datasets.disk.masks import MaskReader, classes_of, read_first_of_16_bits, read_indexed, table
from dfdgbench.errors import DataError

LOOKUP = table({0: 3, 7: 0, 44: 1, 200: 2})


def expected(ids: np.ndarray) -> np.ndarray:
    named = {0: 3, 7: 0, 44: 1, 200: 2}
    return np.array([[named.get(int(value), 255) for value in row] for row in ids], dtype=np.uint8)


def test_a_table_ignores_what_it_does_not_name() -> None:
    assert LOOKUP.dtype == np.uint8
    assert LOOKUP.shape == (256,)
    assert {label: int(LOOKUP[label]) for label in np.flatnonzero(LOOKUP != 255)} == {0: 3, 7: 0, 44: 1, 200: 2}


@pytest.mark.parametrize(("label", "index"), [(-1, 255), (256, 0), (3, -1), (3, 256)])
def test_a_table_refuses_ids_that_no_byte_holds(label: int, index: int) -> None:
    with pytest.raises(ValueError, match=f"label id {label} for class {index}"):
        table({label: index})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64])
def test_ids_of_any_type_become_the_same_classes(dtype: type) -> None:
    ids = np.array([[0, 7, 8], [44, 200, 255]]).astype(dtype)
    assert classes_of(ids, LOOKUP).tolist() == [[3, 0, 255], [1, 2, 255]]


def test_negative_and_large_ids_belong_to_no_class() -> None:
    everything = table(dict.fromkeys(range(256), 5))
    found = classes_of(np.array([-1, -256, 256, 300, 2**31 - 1, 255, 0]), everything)
    assert found.tolist() == [255, 255, 255, 255, 255, 5, 5]
    assert found.dtype == np.uint8


@pytest.mark.parametrize("write", [grey_mask, palette_mask])
def test_indices_are_read_whatever_their_colours(tmp_path: Path, write: object) -> None:
    ids = blocks(0, (0, 7, 8, 44, 200, 255))
    assert callable(write)
    write(tmp_path / "mask.png", ids)
    assert (read_indexed(tmp_path / "mask.png", LOOKUP) == expected(ids)).all()


def test_sixteen_bits_are_read_whole_and_from_the_first_channel(tmp_path: Path) -> None:
    # 300 is 1 in its high byte and 44 in its low one, and both are named.
    ids = np.array([[300, 44, 7], [0, 200, 65535]])
    deep_mask(tmp_path / "mask.png", ids)
    found = read_first_of_16_bits(tmp_path / "mask.png", table({0: 3, 1: 4, 7: 0, 44: 1, 200: 2}))
    assert found.tolist() == [[255, 1, 0], [3, 2, 255]]
    assert found.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_colours_are_no_label_ids(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png is an image of mode {mode}; .*mode L or P"):
        read_indexed(tmp_path / "mask.png", LOOKUP)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"8 bits in each of its channels \(3\)"),
        (np.zeros((4, 4), np.uint8), r"8 bits in each of its channels \(1\)"),
        (np.zeros((4, 4), np.uint16), r"16 bits in each of its channels \(1\)"),
        (np.zeros((4, 4, 4), np.uint16), r"16 bits in each of its channels \(4\)"),
    ],
)
def test_other_depths_and_channels_are_refused(tmp_path: Path, pixels: np.ndarray, said: str) -> None:
    assert cv2.imwrite(str(tmp_path / "mask.png"), pixels)
    with pytest.raises(DataError, match=rf"mask\.png holds {said}; 16 bits in 3 channels are expected"):
        read_first_of_16_bits(tmp_path / "mask.png", LOOKUP)


CUTS = [(0, 0), (0, 20), (0.5, 0), (0.9, 0)]


@pytest.mark.parametrize(("share", "more"), CUTS)
@pytest.mark.parametrize(("write", "read"), [(grey_mask, read_indexed), (deep_mask, read_first_of_16_bits)])
def test_a_mask_cut_short_is_named(tmp_path: Path, share: float, more: int, write: object, read: MaskReader) -> None:
    assert callable(write)
    path = tmp_path / "mask.png"
    write(path, np.random.RandomState(0).randint(0, 200, (60, 80)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share) + more])
    with pytest.raises(DataError, match=r"mask\.png cannot be decoded \(.+\)\. Replace it"):
        read(path, LOOKUP)


@pytest.mark.parametrize("read", [read_indexed, read_first_of_16_bits])
def test_text_and_nothing_are_no_masks(tmp_path: Path, read: MaskReader) -> None:
    (tmp_path / "mask.png").write_text("<html>404</html>" * 20)
    with pytest.raises(DataError, match=r"mask\.png cannot be decoded"):
        read(tmp_path / "mask.png", LOOKUP)
    with pytest.raises(DataError, match=r"gone\.png is gone"):
        read(tmp_path / "gone.png", LOOKUP)


@pytest.mark.parametrize("read", [read_indexed, read_first_of_16_bits])
def test_a_size_that_no_mask_has_is_refused(tmp_path: Path, read: MaskReader) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(DataError, match=r"mask\.png cannot be decoded"):
        read(tmp_path / "mask.png", LOOKUP)


@pytest.mark.parametrize("read", [read_indexed, read_first_of_16_bits])
def test_readers_travel_to_worker_processes(tmp_path: Path, read: MaskReader) -> None:
    write = grey_mask if read is read_indexed else deep_mask
    write(tmp_path / "mask.png", np.array([[7, 44], [1, 0]]))
    sent = pickle.loads(pickle.dumps(partial(read, lookup=LOOKUP)))
    assert sent(tmp_path / "mask.png").tolist() == [[0, 1], [255, 3]]
