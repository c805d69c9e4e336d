"""A private scheduler and a sweep on it, for tests: munge, a controller and a worker with their own ports and folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dfdgbench import posing
from dfdgbench.cli.main import main
from dfdgbench.engine import records
from dfdgbench.tables import spec

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "scancel")

CONFIGURATION = """\
ClusterName=dfdgbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={worker}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={state}/state
SlurmdSpoolDir={state}/spool
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=300
MaxArraySize=5
KillWait=30
JobRequeue=1
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=500 Feature=plain State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 MaxTime=60 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def wait_for(what: str, true: Callable[[], object], seconds: float = 60.0, pause: float = 0.1) -> None:
    """Poll until ``true()``; fail with ``what`` if that takes too long."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            pytest.fail(f"after {seconds:.0f} s there was still no {what}")
        time.sleep(pause)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class NoSchedulerError(Exception):
    """A private scheduler that cannot be had here."""


@dataclass(frozen=True)
class Scheduler:
    """A private cluster of one node with two cores: partition ``high`` preempts ``low``."""

    state: Path
    requeued: dict[str, float] = field(default_factory=dict)

    def call(self, program: str, *arguments: object) -> str:
        """Standard output of one of its programs."""
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, daemon: str) -> None:
        """Start slurmctld or slurmd."""
        self.call(
            daemon, "-f", self.state / "slurm.conf", *(() if daemon == "slurmctld" else ("-N", socket.gethostname()))
        )
        wait_for(f"{daemon}.pid", lambda: (self.state / f"{daemon}.pid").exists(), 20)

    def stop(self, daemon: str) -> None:
        """End a daemon by its own pid file, and wait until it has ended."""
        file = self.state / f"{daemon}.pid"
        if not file.exists():
            return
        pid = int(file.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 20
        while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < until:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                break
            time.sleep(0.05)
        file.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether the node is ready for jobs."""
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
        return {"idle"} == set(done.stdout.split())

    def jobs(self, state: str = "") -> list[str]:
        """Ids of the jobs that have not ended, of those in ``state`` where it is given."""
        lines = self.call("squeue", "-h", "-r", "-o", "%i|%T").splitlines()
        return [job for job, _, is_in in (line.partition("|") for line in lines) if state in ("", is_in)]

    def hurry(self) -> None:
        """Have requeued jobs not wait for their two minutes, but for what ends of them before they begin again.

        A job whose start the controller had ordered when it was stopped is held until somebody releases it.
        """
        for job in self.jobs("PENDING"):
            told = self.call("scontrol", "show", "job", "-o", job)
            if "Reason=launch_failed_requeued_held" in told:
                self.call("scontrol", "release", job)
            if "Reason=BeginTime" not in told:
                continue
            if time.monotonic() - self.requeued.setdefault(job, time.monotonic()) > 3:
                del self.requeued[job]
                with contextlib.suppress(AssertionError):  # it has just started
                    self.call("scontrol", "update", f"JobId={job}", "StartTime=now")

    def finish(self, seconds: float = 120.0) -> None:
        """Wait until no job is left."""

        def empty() -> bool:
            self.hurry()
            return not self.jobs()

        try:
            wait_for("empty queue", empty, seconds, 0.3)
        except pytest.fail.Exception as late:
            pytest.fail(f"{late}: {self.call('scontrol', 'show', 'job', '-o')}\n{self.logs()}")

    def logs(self) -> str:
        """The end of both daemons' logs."""
        files = (self.state / "slurmctld.log", self.state / "slurmd.log")
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-2000:]}" for file in files if file.exists())


@contextlib.contextmanager
def private_scheduler(state: Path) -> Iterator[Scheduler]:
    """A scheduler with all that is its own in the folder ``state``; within the body SLURM's programs ask this one.

    Raises ``NoSchedulerError`` with the reason where there can be none.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise NoSchedulerError(f"not installed: {', '.join(missing)} (Debian packages slurm-wlm and munge)")
    if os.geteuid() != 0:
        raise NoSchedulerError("a private slurmd needs root")
    for folder in ("state", "spool"):
        (state / folder).mkdir()
    facts = {"host": socket.gethostname(), "user": "root", "state": state}
    (state / "slurm.conf").write_text(CONFIGURATION.format(controller=free_port(), worker=free_port(), **facts))
    private = Scheduler(state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(state / "slurm.conf"))
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
            if name != "SLURM_CONF":
                patch.delenv(name)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        try:
            _start(private)
            yield private
        finally:
            for daemon in ("slurmd", "slurmctld", "munged"):
                private.stop(daemon)


def _start(private: Scheduler) -> None:
    state = private.state
    key = state / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    munged = [
        "munged",
        "--force",
        f"--socket={state}/munge.socket",
        f"--key-file={key}",
        f"--pid-file={state}/munged.pid",
    ]
    munged += [f"--log-file={state}/munged.log", f"--seed-file={state}/munged.seed"]
    started = subprocess.run(munged, capture_output=True, text=True, check=False)
    if started.returncode:
        raise NoSchedulerError(f"munged does not start: {started.stderr.strip()}")
    for daemon in ("slurmctld", "slurmd"):
        private.start(daemon)
    until = time.monotonic() + 30
    while not private.answers():
        if time.monotonic() > until:
            raise NoSchedulerError(f"the scheduler does not get ready: {private.logs()}")
        time.sleep(0.1)


# A sweep on it --------------------------------------------------------------------------------------------------------

TABLE = """
name: tiny
title: Rows on noise
trials: 1
options: {network: smallcnn, checkpoint_freq: 0}
hparams: {teacher.steps: 2, teacher.batch_size: 4}
parts: [{title: Debug28, dataset: Debug28, columns: {"0": first, "1": second}}]
rows:
  - {label: ERM, algorithm: ERM, options: {steps: 2}, hparams: {batch_size: 4}}
  - {label: Mean, algorithm: AvgPred}
  - {label: Slow, algorithm: "slow:Slow", options: {steps: 700, checkpoint_freq: 350}, hparams: {batch_size: 4}}
"""

SLOW = '''
"""ERM that takes its time while a file called `slowly` lies beside it."""
import time
from pathlib import Path

from dfdgbench.algorithms.erm import ERM


class Slow(ERM):
    """ERM, slowly."""

    def update(self, minibatches, unlabeled=None):
        if Path(__file__).with_name("slowly").exists():
            time.sleep(0.1)
        return super().update(minibatches, unlabeled)
'''


@dataclass
class Sweep:
    """A sweep folder `out` in a folder of its own, launched by ``dfdgbench`` in this process."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def call(self, action: str, *arguments: object) -> tuple[int, str, str]:
        """``dfdgbench sweep ACTION``: exit code and what it printed."""
        for cache in (posing.open_dataset, spec.load):
            cache.cache_clear()
        self.capsys.readouterr()
        try:
            code = main(["sweep", action, *map(str, arguments)])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        return (code, *self.capsys.readouterr())

    def launch(self, *arguments: object, launcher: str = "slurm", out: str = "out") -> str:
        """Launch; returns what was printed."""
        options = ("--launcher", launcher, "--device", "cpu", "--output-dir", out, "--artifacts", f"store-{out}")
        code, printed, errors = self.call("launch", "tiny.yaml", *options, *arguments)
        assert code == 0, errors
        return printed

    def runs(self, out: str = "out") -> list[Path]:
        """The runs' folders."""
        return sorted((self.root / out / "runs").iterdir()) if (self.root / out / "runs").exists() else []

    def records(self, out: str = "out") -> dict[str, list[dict[str, object]]]:
        """Every run's records, without times."""
        timed = ("step_time", "mem_gb", "args")
        return {
            run.name: [
                {name: value for name, value in record.items() if name not in timed}
                for record in records.read(run / "results.jsonl")
            ]
            for run in self.runs(out)
        }

    def statuses(self) -> list[dict[str, object]]:
        """What every run says of itself."""
        found = []
        for run in self.runs():
            try:
                found.append(dict(json.loads((run / "status.json").read_text())))
            except (OSError, ValueError):
                found.append({})
        return found

    def status(self) -> dict[str, object]:
        """What the only run says of itself."""
        return next(iter(self.statuses()), {})

    def under_way(self, runs: int = 1) -> bool:
        """Whether so many runs have made some steps."""
        told = [status for status in self.statuses() if status.get("state") == "running"]
        return sum(int(str(status.get("step", 0))) >= 20 for status in told) == runs

    def processes(self) -> list[int]:
        """Processes that execute its bundles; each of them hears signals, or will hear what came before it could."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                given = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if "dfdgbench" in given and "work" in given and str((self.root / "out").resolve()) in given:
                    found.append(int(entry.name))
        return found

    def logs(self) -> str:
        """What its jobs have printed."""
        return "\n".join(file.read_text() for file in sorted((self.root / "out" / "launcher").glob("*_log.*")))
