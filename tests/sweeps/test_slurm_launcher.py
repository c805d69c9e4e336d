"""The SLURM launcher against programs that only look like SLURM's: scripts, splitting, what is not done twice."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_slurm import Fake, of_kinds, plan_of, tasks_of

from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS
from dfdgbench.sweeps.slurm import commands
from dfdgbench.sweeps.slurm.ledger import Ledger, noted
from dfdgbench.sweeps.slurm.script import Command, warning_seconds

# Scripts --------------------------------------------------------------------------------------------------------------

GOLDEN = """\
#!/bin/bash

# Parameters
#SBATCH --account=physics
#SBATCH --array=0-1%1
#SBATCH --chdir=ROOT/work
#SBATCH --comment='two words'
#SBATCH --constraint='a100|nvlink'
#SBATCH --cpus-per-task=4
#SBATCH --error=ROOT/work/out/launcher/%A_%a_0_log.err
#SBATCH --gres=gpu:1
#SBATCH --job-name=quickstart-level0-NAME
#SBATCH --mem=16G
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=ROOT/work/out/launcher/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=90

# setup
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output ROOT/work/out/launcher/%A_%a_%t_log.out --error ROOT/work/out/launcher/%A_%a_%t_log.err \
--cpus-per-task=4 apptainer exec --nv image.sif python -u -m submitit.core._submit ROOT/work/out/launcher
"""


def test_the_script_of_an_array(submit: Callable[..., str], fake: Fake) -> None:
    submit(
        plan_of(tasks_of(2)),
        partition="gpu",
        account="physics",
        qos="long",
        constraint="a100|nvlink",
        gres="gpu:1",
        time="1:30:00",
        mem="16g",
        cpus=4,
        slurm={"comment": "two words"},
        max_running=1,
        setup=["module load cuda"],
        python="apptainer exec --nv image.sif python",
    )
    (script,) = fake.scripts()
    script = re.sub(r"level0-[0-9a-f]{8}", "level0-NAME", script.replace(str(fake.root), "ROOT"))
    assert script == GOLDEN


def test_a_script_of_nothing_in_particular_asks_for_nothing(submit: Callable[..., str], fake: Fake) -> None:
    submit(plan_of(tasks_of(2)))
    (script,) = fake.scripts()
    options = set(re.findall(r"#SBATCH --([a-z-]+)", script))
    assert options == {
        *("array", "chdir", "error", "job-name", "nodes", "open-mode", "output", "requeue", "signal"),
    }


def test_pickles_hold_a_command_line_and_nothing_else(submit: Callable[..., str], fake: Fake) -> None:
    submit(plan_of(tasks_of(2)))
    folder = fake.root / "work" / "out" / "launcher"
    (tasks,) = folder.glob("*level0*.jsonl")
    for index in range(2):
        content = pickle.loads((folder / f"101_{index}_submitted.pkl").read_bytes())
        expected = ("sweep", "work", str(folder.parent), "--tasks", str(tasks), "--index", str(index))
        assert content.function == Command(expected)
        assert (content.args, content.kwargs) == ((), {})


@pytest.mark.parametrize(("limit", "warning"), [(None, 120), (1, 15), (4, 60), (600, 120)])
def test_the_warning_before_a_time_limit_leaves_most_of_it(limit: int | None, warning: int) -> None:
    assert warning_seconds(limit) == warning


# Arrays ---------------------------------------------------------------------------------------------------------------


def test_levels_wait_for_each_other_and_arrays_are_split(submit: Callable[..., str], fake: Fake) -> None:
    told = submit(plan_of(tasks_of(7), tasks_of(2, 1), tasks_of(1, 2)))
    assert told.startswith("Submitted 10 tasks, jobs 101, 102, 103, 104, 105.\n")
    arrays = [re.findall(r"--(?:array|dependency)=(\S+)", script) for script in fake.scripts()]
    after = "afterany:101:102:103"
    assert arrays == [["0-2%3"], ["0-2%3"], [], ["0-1%2", after], ["afterany:104"]]


def test_runs_per_job_and_max_running(submit: Callable[..., str], fake: Fake) -> None:
    submit(plan_of(tasks_of(19)), runs_per_job=2, max_running=2)  # 10 jobs in 4 arrays
    arrays = [re.findall(r"--(?:array|dependency)=(\S+)", script) for script in fake.scripts()]
    assert arrays == [["0-2%1"], ["0-2%1"], ["0-2%1", "afterany:101"], ["afterany:102"]]
    lines = (fake.root / "work" / "out" / "launcher").glob("*level0*.jsonl")
    sizes = sorted(len(json.loads(line)["tasks"]) for file in lines for line in file.read_text().splitlines())
    assert sizes == [1] + [2] * 9


def test_arrays_are_of_one_level_and_the_same_resources(submit: Callable[..., str], fake: Fake) -> None:
    plan = plan_of(
        of_kinds(0, "teacher", "inverted", "teacher"), of_kinds(1, "run", "combine", "run", "combine", "combine")
    )
    combine = {"partition": "gpu", "gres": None, "runs_per_job": 3}
    submit(plan, gres="gpu:1", kinds={"combine": combine, "teacher": {"time": 5}}, tasks_per_gpu=2)
    asked = [re.findall(r"--(?:dependency|partition|gres|time)=(\S+)", script) for script in fake.scripts()]
    assert asked == [["gpu:1", "5"], ["gpu:1"], ["afterany:101:102", "gpu:1"], ["afterany:101:102", "gpu"]]
    bundles = [
        json.loads(Path("out/launcher", given.tasks).read_text())
        for given in Ledger(Path("out/launcher")).submissions()
    ]
    assert [bundle["execution"]["device"] for bundle in bundles] == ["auto", "auto", "auto", "cpu"]
    assert [[task.get("trains", True) for task in bundle["tasks"]] for bundle in bundles] == [
        [True] * 2,
        [True],
        [True] * 2,
        [False] * 3,
    ]
    numbers = [
        pickle.loads(Path(f"out/launcher/{job}_submitted.pkl").read_bytes()).function.arguments[-2:]
        for job in (101, 104)
    ]
    assert numbers == [("--tasks-per-gpu", "2")] * 2


def test_runs_with_resources_of_their_own_hold_nobody_up(submit: Callable[..., str], fake: Fake) -> None:
    plan = plan_of(of_kinds(0, "teacher"), of_kinds(1, "combine", "inverted"), of_kinds(2, "fused"), of_kinds(3, "run"))
    submit(plan, kinds={"combine": {"time": 5}})
    after = [re.findall(r"--dependency=afterany:(\S+)", script) for script in fake.scripts()]
    assert after == [[], ["101"], ["101"], ["103"], ["104"]]


def test_one_array_where_kinds_ask_for_the_same(submit: Callable[..., str], fake: Fake) -> None:
    submit(
        plan_of(of_kinds(0, "teacher", "inverted")),
        kinds={"teacher": {"time": 5}, "inverted": {"time": "5"}},
    )
    assert len(fake.scripts()) == 1


def test_what_is_queued_is_not_submitted_again(submit: Callable[..., str], fake: Fake) -> None:
    first = tasks_of(4)
    submit(plan_of(first))
    names = [submission.name for submission in Ledger(Path("out/launcher")).submissions()]
    fake.says(
        "squeue", f"101_0|0|RUNNING|None|{names[0]}\n102|N/A|PENDING|None|{names[1]}\n7|N/A|RUNNING|None|another\n"
    )
    told = submit(plan_of(first, tasks_of(1, 1, frozenset({first[3].id}))))
    assert "Submitted 3 tasks, jobs 103, 104." in told
    assert "2 tasks are queued or running already" in told
    assert "--dependency=afterany:103:102" in fake.scripts()[-1]


def test_nothing_left_to_submit(submit: Callable[..., str], fake: Fake) -> None:
    assert submit(plan_of([])) == "Nothing is left to submit."
    assert not fake.scripts()


def test_a_busy_controller_is_asked_again_and_nothing_runs_twice(submit: Callable[..., str], fake: Fake) -> None:
    fake.says("sbatch.fails", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n")
    fake.says("squeue.fails", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
    assert "Submitted 1 tasks" in submit(plan_of(tasks_of(1)))
    (given,) = [given for given, _ in fake.calls("scancel")]
    assert given == [f"--name={Ledger(Path('out/launcher')).submissions()[0].name}"]


def test_a_refusal_is_told_at_once(submit: Callable[..., str], fake: Fake) -> None:
    fake.says("sbatch.fails", "sbatch: error: Batch job submission failed: Invalid qos specification\n")
    with pytest.raises(commands.SchedulerError, match=r"(?s)refused the array .*Invalid qos specification"):
        submit(plan_of(tasks_of(1)))
    assert len(fake.scripts()) == 1


def test_a_cut_line_of_the_ledger_loses_that_line_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(noted("first", 0, [["a"]], "f"))
    with open(ledger.file, "a") as file:
        file.write('{"name": "cut')
    ledger.add(noted("second", 0, [["b"]], "f"))
    assert [submission.name for submission in ledger.submissions()] == ["first", "second"]


def test_jobs_that_wait_for_a_person_are_told_with_what_to_type(submit: Callable[..., str], fake: Fake) -> None:
    submit(plan_of(tasks_of(4)))
    one, two = (submission.name for submission in Ledger(Path("out/launcher")).submissions())
    launcher, sweep = LAUNCHERS.get("slurm")(), SweepFolder("out")
    fake.says(
        "squeue",
        f"101_0|0|PENDING|Priority|{one}\n101_1|1|PENDING|launch failed requeued held|{one}\n102|N/A|PENDING|JobHeldUser|{two}\n",
    )
    told = launcher.jobs_told(sweep)
    assert "Jobs: 3 waiting." in told
    assert (
        "2 of the waiting ones are held (JobHeldUser, launch failed requeued held) and begin no more by themselves."
        in told
    )
    assert told.endswith("type: scontrol release 101_1 102")
    fake.says("squeue", f"101_0|0|RUNNING|JobHeldUser|{one}\n")
    assert launcher.jobs_told(sweep) == "Jobs: 1 running."


def test_states_and_cancel(submit: Callable[..., str], fake: Fake) -> None:
    runs = tasks_of(6)
    submit(plan_of(runs))
    one, two = (submission.name for submission in Ledger(Path("out/launcher")).submissions())
    fake.says(
        "squeue",
        f"101_0|0|RUNNING|None|{one}\n101_1|1|PENDING|None|{one}\n101_2|2|PENDING|None|{one}\n102_0|0|RUNNING|None|{two}\n9|0|RUNNING|None|x\n",
    )
    sweep = SweepFolder("out")
    for task, state in zip(runs, ("running", "stopped", None, None, "running", "failed"), strict=True):
        if state:
            sweep.folder(task.run).path.mkdir(parents=True)
            sweep.folder(task.run).say(state)  # type: ignore[arg-type]
    launcher = LAUNCHERS.get("slurm")()
    assert launcher.jobs_told(sweep) == "Jobs: 2 running, 2 waiting."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepFolder, "runs", lambda _: [runs[0].run])
        shared = launcher.jobs_told(sweep)
    assert shared == "Jobs: 2 running, 2 waiting, with 3 shared stages among their tasks."
    found = launcher.status(sweep)
    assert [found[task.id] for task in runs] == ["running", "preempted", "queued", "queued", "stopped", "failed"]
    assert launcher.cancel(sweep) == 4
    assert [given for given, _ in fake.calls("scancel")] == [["101_0", "101_1", "101_2", "102_0"]]
