"""What every test has: one thread, and a cache of its own in which MiniDigits is rendered once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_a_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFDGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("DFDGBENCH_ARTIFACTS", raising=False)
        yield


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """A folder for artifacts, empty at first."""
    return tmp_path / "artifacts"
