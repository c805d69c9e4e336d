"""A run's folder, which is the truth about the run.

config.json (resolved, with versions), results.jsonl, snapshot, model.safetensors, status.json, out.txt, err.txt, done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from dfdgbench.engine.progress import Progress
from dfdgbench.engine.records import RESULTS
from dfdgbench.errors import ArtifactError, ConfigError, DfdgbenchError
from dfdgbench.files import read_json, write_bytes, write_json
from dfdgbench.leases import Lease

RunState = Literal["absent", "waiting", "running", "stopped", "failed", "done"]
log = logging.getLogger("dfdgbench")
_TICK = 2.0


class RunFolder:
    """Args:
    path: the folder; made when the run starts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._told = 0.0

    config = property(lambda self: self.path / "config.json")
    results = property(lambda self: self.path / RESULTS)
    snapshot = property(lambda self: self.path / "snapshot")
    model = property(lambda self: self.path / "model.safetensors")
    pending = property(lambda self: self.path / "pending")

    @property
    def done(self) -> bool:
        """Whether the run has ended well: DomainBed's marker file is there."""
        return (self.path / "done").exists()

    def open(self, config: dict[str, Any]) -> None:
        """Make the folder for ``config``, or check that it is this run's: two runs never share one."""
        keep = self.done  # what is written of a run that is done is true of when it ran
        if self.config.exists():
            try:
                there = read_json(self.config)
            except ArtifactError:
                log.warning("%s was damaged and is written anew", self.config)
                there, keep = config, False
            if not isinstance(there, dict) or "run" not in there:
                raise ConfigError(f"{self.config} describes no run. Remove it, or choose another --output-dir.")
            if there["run"] != config["run"]:
                changed = sorted(key for key in config["run"] if there["run"].get(key) != config["run"][key])
                raise ConfigError(
                    f"The folder {self.path} holds another run: it differs in {', '.join(changed) or 'its options'}. "
                    "Choose another --output-dir, or remove that folder."
                )
        if not keep:
            write_json(self.config, config, "The run's config")

    def read_config(self) -> dict[str, Any]:
        """The config; ``ConfigError`` where the folder is no run's."""
        if not self.config.exists():
            raise ConfigError(f"{self.path} is no run's folder: it has no config.json.")
        content: dict[str, Any] = read_json(self.config)
        return content

    def status(self) -> dict[str, Any]:
        """What the run last said of itself."""
        with contextlib.suppress(ArtifactError, OSError):
            return dict(read_json(self.path / "status.json"))
        return {}

    def state(self) -> RunState:
        """The run's state, as far as the folder tells."""
        if self.done:
            return "done"
        if not self.path.exists():
            return "absent"
        state: RunState = self.status().get("state", "waiting")
        return state

    def say(self, state: RunState, **facts: Any) -> None:
        """Write status.json."""
        write_json(
            self.path / "status.json",
            {"state": state, "host": socket.gethostname(), "pid": os.getpid(), "updated": time.time(), **facts},
            "The run's status",
        )

    def tick(self, progress: Progress) -> None:
        """Note progress, at most every two seconds."""
        if time.monotonic() - self._told > _TICK:
            self._told = time.monotonic()
            self.say(
                "running",
                stage=progress.title,
                step=progress.done,
                steps=progress.total,
                rate=progress.rate,
                left=progress.left,
            )

    def finish(self, seconds: float) -> None:
        """Mark the run as done, as DomainBed does: the four bytes ``done``."""
        self.say("done", seconds=seconds)
        write_bytes(self.path / "done", b"done", "The run's marker")
        self.snapshot.unlink(missing_ok=True)

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """The body is the run: alone in the folder, its log in out.txt, its failure in err.txt and status.json."""
        handler = logging.FileHandler(self.path / "out.txt")
        handler.setFormatter(logging.Formatter("%(message)s"))
        lease = Lease(self.path / "lease")
        with lease.waiting(
            on_wait=lambda owner: log.info("waiting: the run is under way in another process (%s)", owner)
        ):
            logging.getLogger("dfdgbench").addHandler(handler)
            try:
                if not self.done:
                    self.say("running")
                yield
            except BaseException as error:
                self._fail(error)
                raise
            finally:
                logging.getLogger("dfdgbench").removeHandler(handler)
                handler.close()

    def _fail(self, error: BaseException) -> None:
        from dfdgbench.engine.interrupt import Interrupted

        with contextlib.suppress(DfdgbenchError, OSError):
            if isinstance(error, Interrupted | KeyboardInterrupt):
                self.say("stopped", error=str(error))
                return
            with open(self.path / "err.txt", "a", encoding="utf-8") as file:
                file.write(traceback.format_exc())
            self.say("failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
