"""Fixtures: a headless browser that notes what it is asked to fetch, and pages to open in it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from headless import Browser

from dfdgbench.results.report.writing import write

sys.path.append(str(Path(__file__).parents[1] / "results"))  # where the sweeps of the reports' tests are made
from report_builders import complete, hostile


def _cannot(reason: str) -> None:
    """Skip; fail where the group was asked for by name."""
    if os.environ.get("DFDGBENCH_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and DFDGBENCH_REQUIRE_BROWSER=1 asks for a real browser")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        _cannot(f"not installed: {', '.join(missing)} (Debian packages chromium and chromium-driver)")
    try:
        from selenium import webdriver
    except ImportError:
        _cannot("not installed: selenium (pip install 'dfdgbench[test]')")
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1600,1100",
        "--disable-dev-shm-usage",
    ):
        options.add_argument(flag)
    options.binary_location = str(found["chromium"])
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(found["chromedriver"])))
    except Exception as error:
        _cannot(f"chromium does not start: {error}")
    yield Browser(driver)
    driver.quit()


def _page(make: Callable[[Path], None], folder: Path) -> Path:
    make(folder / "sweep")
    return write(folder / "sweep", folder / "report.html").path


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small sweep with everything in it."""
    return _page(complete, tmp_path_factory.mktemp("complete"))


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sweep whose every text would do harm if it could."""
    return _page(hostile, tmp_path_factory.mktemp("hostile"))
