"""`dfdgbench data download`, typed as a person types it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_dataset import Toy, pictures, registered, source, tree, write, zipped
from web_server import Web, serving

from dfdgbench.datasets.get import archives

Cli = Callable[..., Any]
CONTENT = zipped(pictures())


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture
def toy(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """Toy as one archive, of which nothing is known beforehand."""
    web.serve("toy.zip", CONTENT)
    registered(monkeypatch, source(web.url("toy.zip"), CONTENT, known=False))
    return web


def test_a_download_and_the_same_again(toy: Web, cli: Cli, tmp_path: Path) -> None:
    first = cli("data", "download", "Toy")
    assert (first.code, first.err) == (0, "")
    assert tree(tmp_path / "data") == pictures()
    lines = first.out.splitlines()
    assert lines[0] == f"toy.zip: from {toy.url('toy.zip')}"
    assert "SHA-256" in lines[1]
    assert lines[2].startswith("Unpacking toy.zip (")
    assert lines[3:] == ["Toy is whole in data/Toy: 8 images.", "Licence: free. Cite: Nobody 2000."]
    again = cli("data", "download", "Toy")
    assert (again.code, again.out) == (0, "Toy is whole in data/Toy: 8 images. Nothing to do.\n")
    assert cli("data", "status", "Toy").code == 0


def test_archives_stay_with_keep(toy: Web, cli: Cli, tmp_path: Path) -> None:
    assert cli("data", "download", "Toy", "--keep", "--data-dir", "elsewhere").code == 0
    assert (tmp_path / "elsewhere/.dfdgbench/downloads/Toy/toy.zip").read_bytes() == CONTENT


def test_a_dry_run_does_nothing(toy: Web, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, other = source(toy.url("toy.zip"), CONTENT), source(toy.url("b.zip"), CONTENT, known=False)
    mirrored = known.model_copy(update={"urls": (*known.urls, "drive:1abc")})
    registered(monkeypatch, mirrored, other)
    write(tmp_path / "data/.dfdgbench/downloads/Toy", {"b.zip": b"x"})
    out = cli("data", "download", "Toy", "MiniDigits", "--dry-run").out.splitlines()
    assert out[0] == "Toy: 1.5 KiB to download"
    assert [line.split() for line in out[3:6]] == [
        ["toy.zip", "1.5", "KiB", "to", "come", toy.url("toy.zip")],
        ["or", "https://drive.google.com/uc?id=1abc"],
        ["b.zip", "-", "there:", "data/.dfdgbench/downloads/Toy/b.zip", toy.url("b.zip")],
    ]
    assert out[6] == "MiniDigits is embedded: nothing would be downloaded."
    assert not toy.files["toy.zip"].requests
    assert tree(tmp_path / "data") == {}


def test_a_dry_run_of_what_no_command_downloads(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, manual="Sign in at https://example.org.")
    assert cli("data", "download", "Toy", "--dry-run").out == (
        "Toy cannot be downloaded by a command. Sign in at https://example.org.\n"
    )


def test_data_behind_a_login_is_one_message(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, manual="Sign in at https://example.org.")
    outcome = cli("data", "download", "Toy")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("dfdgbench: Toy cannot be downloaded by a command. Sign in at https://example.org.\n")
    assert "Traceback" not in outcome.err


def test_offline(toy: Web, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFDGBENCH_OFFLINE", "1")
    outcome = cli("data", "download", "Toy")
    assert outcome.code == 1
    assert f"toy.zip: {toy.url('toy.zip')}" in outcome.err
    assert not toy.files["toy.zip"].requests


def test_one_that_fails_does_not_stop_the_next(toy: Web, cli: Cli) -> None:
    outcome = cli("data", "download", "--data-dir", "data", "GTA5-Cityscapes", "Toy", "MiniDigits")
    assert outcome.code == 1
    assert "GTA5-Cityscapes cannot be downloaded by a command" in outcome.err
    assert "Toy is whole in data/Toy" in outcome.out
    assert "MiniDigits needs no download" in outcome.out


def test_a_misspelt_name_is_told_before_anything_is_done(toy: Web, cli: Cli) -> None:
    outcome = cli("data", "download", "Toy", "PACSS")
    assert outcome.code == 1
    assert "Did you mean PACS?" in outcome.err
    assert not toy.files["toy.zip"].requests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_gone_on(
    toy: Web, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    real = archives.unpack

    def stopped(archive: Path, target: Path) -> None:
        real(archive, target)
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(archives, "unpack", stopped)
        outcome = cli("data", "download", "Toy")
    assert outcome.code == 130
    assert outcome.err == "dfdgbench: Stopped. The same command goes on with what has been downloaded.\n"
    assert tree(tmp_path / "data") == {}
    assert cli("data", "download", "Toy").code == 0
    assert tree(tmp_path / "data") == pictures()
    assert len(toy.files["toy.zip"].requests) == 1


def test_what_is_built_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Derived(Toy):
        @classmethod
        def build(cls, data_dir: Path) -> list[str]:
            write(data_dir, pictures("oil"))
            return ["Oil was made of ink."]

    registered(monkeypatch, base=Derived)
    write(tmp_path / "data", pictures("ink"))
    assert cli("data", "download", "Toy").out == (
        "Oil was made of ink.\nToy is whole in data/Toy: 8 images, made of what was there.\n"
    )
