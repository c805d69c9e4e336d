"""Sweeps on a real scheduler: what it does to jobs changes no record."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest
from private_slurm import Scheduler, Sweep, wait_for

pytestmark = pytest.mark.slurm

SLOW = ("--algorithms", "Slow", "--test-envs", 0)


@pytest.fixture
def slow(sweep: Sweep) -> Sweep:
    """A sweep of one run that takes more than a minute, until the file `slowly` is removed."""
    (sweep.root / "slowly").touch()
    return sweep


def undisturbed(sweep: Sweep, *arguments: object) -> dict[str, list[dict[str, object]]]:
    """The records of the same runs, made in this process."""
    (sweep.root / "slowly").unlink(missing_ok=True)
    sweep.launch(*arguments, launcher="debug", out="here")
    return sweep.records("here")


def test_a_sweep_with_dependencies_leaves_the_records_of_one_in_this_process(
    sweep: Sweep, scheduler: Scheduler
) -> None:
    chosen = ("--algorithms", "ERM", "Mean")
    told = sweep.launch(*chosen, "--runs-per-job", 3, "--time", 10, "--mem", "100M", "--cpus", 1)
    assert re.search(r"Submitted 7 tasks, jobs \d+, \d+\.", told)
    assert "Watch them: dfdgbench sweep status out" in told
    again = sweep.launch(*chosen, "--runs-per-job", 3)
    assert "queued or running already and were not submitted again" in again
    scheduler.finish()
    assert len(sweep.runs()) == 4
    assert sweep.records() == undisturbed(sweep, *chosen)
    assert "Nothing is left to submit." in sweep.launch(*chosen)


def test_an_array_larger_than_the_scheduler_takes_is_split(sweep: Sweep, scheduler: Scheduler) -> None:
    chosen = ("--algorithms", "ERM", "--trials", 6)
    told = sweep.launch(*chosen, "--runs-per-job", 2)
    assert re.search(r"Submitted 12 tasks, jobs \d+, \d+\.", told)  # MaxArraySize=5: five jobs, and one
    assert len(scheduler.jobs()) == 6
    scheduler.finish()
    assert sum((run / "done").exists() for run in sweep.runs()) == 12


@pytest.mark.parametrize("how", ["preempted", "signalled", "terminated"])
def test_what_is_stopped_in_the_middle_of_a_stage_goes_on_by_itself(
    slow: Sweep, scheduler: Scheduler, how: str
) -> None:
    slow.launch(*SLOW)
    wait_for("run under way", slow.under_way)
    (job,) = scheduler.jobs("RUNNING")
    if how == "preempted":
        scheduler.call("sbatch", "-p", "high", "-n", 2, "-o", "/dev/null", "--wrap", "sleep 1")
    else:
        scheduler.call("scancel", f"--signal={'USR2' if how == 'signalled' else 'TERM'}", job)
    wait_for("requeued job", lambda: job in scheduler.jobs("PENDING"), 60)
    assert slow.status()["state"] == "stopped"
    (slow.root / "slowly").unlink()
    scheduler.finish()
    assert re.search(r"going on from step [1-9]\d+ of 700", slow.logs())
    assert slow.records() == undisturbed(slow, *SLOW)


def test_a_run_longer_than_its_time_limit_is_finished_by_a_second_job(slow: Sweep, scheduler: Scheduler) -> None:
    slow.launch(*SLOW, "--time", 1)
    wait_for("run under way", slow.under_way)
    (job,) = scheduler.jobs("RUNNING")
    wait_for("requeued job", lambda: job in scheduler.jobs("PENDING"), 90)
    (slow.root / "slowly").unlink()
    scheduler.finish()
    assert re.search(r"going on from step [1-9]\d+ of 700", slow.logs())
    assert slow.records() == undisturbed(slow, *SLOW)


def test_runs_that_train_nothing_go_to_a_partition_of_their_own(sweep: Sweep, scheduler: Scheduler) -> None:
    chosen = ("--algorithms", "Mean")
    sweep.launch(*chosen, "--runs-per-job", 3, "--for", "combine", "partition=high", "cpus=1", "time=5")
    lines = scheduler.call("squeue", "-h", "-r", "-o", "%P|%l|%j").splitlines()
    asked = {name.split("-")[1]: (partition, limit) for partition, limit, name in (line.split("|") for line in lines)}
    assert asked == {"level0": ("low", "1:00:00"), "level1": ("high", "5:00")}
    scheduler.finish()
    assert sweep.records() == undisturbed(sweep, *chosen)


def test_tasks_that_are_executed_at_a_time_are_preempted_together_and_queued_again_once(
    slow: Sweep, scheduler: Scheduler
) -> None:
    chosen = ("--algorithms", "Slow")
    slow.launch(*chosen, "--tasks-per-gpu", 2)
    wait_for("both runs under way", lambda: slow.under_way(2), 120)
    (job,) = scheduler.jobs("RUNNING")
    scheduler.call("sbatch", "-p", "high", "-n", 2, "-o", "/dev/null", "--wrap", "sleep 1")
    wait_for("requeued job", lambda: job in scheduler.jobs("PENDING"), 60)
    assert [status["state"] for status in slow.statuses()] == ["stopped"] * 2
    assert "Restarts=1" in scheduler.call("scontrol", "show", "job", "-o", job)
    (slow.root / "slowly").unlink()
    scheduler.finish()
    assert len(re.findall(r"going on from step [1-9]\d+ of 700", slow.logs())) == 2
    assert slow.records() == undisturbed(slow, *chosen)


def test_a_job_that_is_stopped_again_and_again_before_its_first_step_gives_up(
    slow: Sweep, scheduler: Scheduler
) -> None:
    slow.launch(*SLOW)
    (job,) = scheduler.jobs()
    for _ in range(4):
        wait_for("process that hears signals", lambda: scheduler.hurry() or slow.processes())
        scheduler.call("scancel", "--signal=USR2", job)
        wait_for("end of the process", lambda: not slow.processes())
    wait_for("end of the queue", lambda: not scheduler.jobs())
    told = scheduler.call("scontrol", "show", "job", "-o", job)
    assert "JobState=FAILED" in told
    assert "Restarts=3" in told
    assert "Queued again 3 times, and not one step was kept" in slow.logs()
    (slow.root / "slowly").unlink()
    slow.launch(*SLOW)
    scheduler.finish()
    assert (slow.runs()[0] / "done").exists()


def test_runs_make_the_artifacts_of_a_job_that_was_killed(sweep: Sweep, scheduler: Scheduler) -> None:
    chosen = ("--algorithms", "Mean")
    sweep.launch(*chosen, "--runs-per-job", 3)
    wait_for("running job", lambda: scheduler.jobs("RUNNING"))
    scheduler.call("scancel", "--signal=KILL", *scheduler.jobs("RUNNING"))
    scheduler.finish()
    assert "teacher 1: made" not in sweep.logs().split("AvgPred")[0]
    assert sweep.records() == undisturbed(sweep, *chosen)


def test_a_killed_run_is_lost_and_goes_on_when_launched_again(slow: Sweep, scheduler: Scheduler) -> None:
    slow.launch(*SLOW, "--checkpoint-every", 0.2)
    wait_for("run under way", slow.under_way)
    os.kill(int(str(slow.status()["pid"])), signal.SIGKILL)
    wait_for("end of the job", lambda: not scheduler.jobs())
    (slow.root / "slowly").unlink()
    assert "Submitted 1 tasks" in slow.launch(*SLOW)
    scheduler.finish()
    assert re.search(r"going on from step [1-9]\d* of 700", slow.logs())
    assert slow.records() == undisturbed(slow, *SLOW)


def test_a_drained_node_only_delays(sweep: Sweep, scheduler: Scheduler) -> None:
    chosen = ("--algorithms", "Mean")
    sweep.launch(*chosen, "--runs-per-job", 3)
    wait_for("running job", lambda: scheduler.jobs("RUNNING"))
    node = scheduler.call("sinfo", "-h", "-N", "-o", "%N").split()[0]
    scheduler.call("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    wait_for("end of what ran", lambda: not scheduler.jobs("RUNNING") and not scheduler.jobs("COMPLETING"))
    time.sleep(2)
    assert len(scheduler.jobs("PENDING")) == 1
    scheduler.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
    scheduler.finish()
    assert sum((run / "done").exists() for run in sweep.runs()) == 2


def test_a_controller_that_restarts_delays_launches_and_loses_no_job(sweep: Sweep, scheduler: Scheduler) -> None:
    chosen = ("--algorithms", "Mean")
    scheduler.stop("slurmctld")
    later = threading.Timer(2.0, scheduler.start, ["slurmctld"])
    later.start()
    assert "Submitted 5 tasks" in sweep.launch(*chosen, "--runs-per-job", 3)
    later.join()
    wait_for("running job", lambda: scheduler.jobs("RUNNING"))
    scheduler.stop("slurmctld")
    scheduler.start("slurmctld")
    scheduler.finish()
    assert sum((run / "done").exists() for run in sweep.runs()) == 2


def test_a_wrong_partition_is_told_with_the_valid_ones(sweep: Sweep, scheduler: Scheduler) -> None:
    code, _, told = sweep.call("launch", "tiny.yaml", "--device", "cpu", "--launcher", "slurm", "--partition", "hihg")
    assert code == 1
    assert "the cluster has no partition 'hihg'. Did you mean high? Valid names here: low, high." in told
    assert not scheduler.jobs()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--constraint", "plane"), "no constraint 'plane'. Did you mean plain?"),
        (("--time", "2:00:00"), "120 minutes are more than partition low allows (60)"),
        (("--gres", "gpu:1"), "refused the array"),
    ],
)
def test_what_the_cluster_would_refuse_is_told(
    sweep: Sweep, scheduler: Scheduler, flags: tuple[str, ...], told: str
) -> None:
    code, _, errors = sweep.call("launch", "tiny.yaml", "--device", "cpu", "--launcher", "slurm", *flags)
    assert code == 1
    assert told in errors
    assert not scheduler.jobs()


def test_cancel_ends_this_sweeps_jobs_alone_and_for_good(slow: Sweep, scheduler: Scheduler) -> None:
    scheduler.call("sbatch", "-p", "low", "-o", "/dev/null", "--wrap", "sleep 300")
    slow.launch(*SLOW)
    wait_for("run under way", slow.under_way)
    other, ours = sorted(scheduler.jobs("RUNNING"), key=lambda job: int(job.split("_")[0]))
    code, printed, errors = slow.call("cancel", "out")
    assert (code, errors) == (0, "")
    assert "Asked 1 jobs of the launcher slurm to stop." in printed
    wait_for("end of the job", lambda: scheduler.jobs() == [other], 60)
    assert "JobState=CANCELLED" in scheduler.call("scontrol", "show", "job", "-o", ours)
    assert slow.status()["state"] == "stopped"
    assert list((slow.runs()[0]).glob("snapshot*"))
