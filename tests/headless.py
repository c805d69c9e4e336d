"""A headless browser that notes what it is asked to fetch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Browser:
    """Chromium without a window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1280, scheme: str = "light", motion: str = "reduce") -> None:
        """Show ``page`` in a window of this width, afresh."""
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        media = {"features": [{"name": name, "value": value} for name, value in wanted.items()]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function says."""
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def press(self, *keys: str) -> None:
        """Keys, to whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def complaints(self) -> list[str]:
        """What its console said since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def fetched(self) -> list[str]:
        """The beginnings of all addresses it asked for since the page was opened, but for those that its policy stopped."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked: dict[str, str] = {}
        for found in messages:
            given = found["params"]
            if found["method"] == "Network.requestWillBeSent":
                asked[given["requestId"]] = given["request"]["url"][:80]
            elif found["method"] == "Network.loadingFailed" and given.get("blockedReason") == "csp":
                asked.pop(given["requestId"], None)
        return list(asked.values())
