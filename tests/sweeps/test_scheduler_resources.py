"""What jobs may ask for: options that are refused, names that the cluster does not have, a site's defaults."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_slurm import Fake, plan_of, tasks_of

from dfdgbench.cli.main import main, make_parser
from dfdgbench.cli.scheduler import make_launcher
from dfdgbench.engine.config import Execution
from dfdgbench.errors import ConfigError, MissingExtraError
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers import local
from dfdgbench.sweeps.launchers.base import LAUNCHERS
from dfdgbench.sweeps.launchers.resources import Resources, minutes, resources_of
from dfdgbench.tables.spec import load

# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"partition": "gpu\n#SBATCH --uid=0"}, "--partition: 'gpu\\n#SBATCH --uid=0': holds a line break"),
        ({"partition": "gpu;reboot"}, "holds ;, which is not allowed here; type for example gpu"),
        ({"account": "$(id)"}, "holds $ ( )"),
        ({"qos": ""}, "is empty"),
        ({"qos": "--wrap=x"}, "holds ="),
        ({"account": "-x"}, "begins with -"),
        ({"constraint": "a100`id`"}, "holds `"),
        ({"gres": "gpu:1 --wrap"}, "holds  , which"),
        ({"gres": "gpu:1\u2028"}, "holds a line break"),
        ({"time": "1 hour"}, "--time: '1 hour': is no time limit; type minutes (90), HH:MM:SS"),
        ({"time": "0"}, "is no time at all"),
        ({"time": "1:2:3:4"}, "is no time limit"),
        ({"mem": "lots"}, "is no amount of memory"),
        ({"cpus": 0}, "--cpus: 0: Input should be greater than or equal to 1"),
        ({"runs_per_job": "2"}, "--runs-per-job: '2': Input should be a valid integer"),
        ({"slurm": {"wrap": "id"}}, "wrap is set by the launcher itself"),
        ({"slurm": {"partition": "x"}}, "partition has a flag of its own; type --partition VALUE"),
        ({"slurm": {"Mail Type": "x"}}, "'Mail Type' is no long option of sbatch"),
        ({"slurm": {"comment": "a\r#SBATCH"}}, "line break"),
        ({"slurm": {"comment": "it's"}}, "the value of comment holds '"),
        ({"setup": ["module load\nrm -r x"]}, "line break"),
        ({"partion": "x"}, "there is no key 'partion'. Did you mean partition"),
        ({"tasks_per_gpu": 0}, "--tasks-per-gpu: 0: Input should be greater than or equal to 1"),
        ({"kinds": {"teacher": {"partition": "a;b"}}}, "partition of --for teacher: 'a;b': holds ;"),
        ({"kinds": {"teacher": {"partion": "a"}}}, "--for teacher: there is no key 'partion'. Did you mean partition"),
        ({"kinds": {"teacher": {"kinds": {}}}}, "--for teacher cannot hold kinds of its own"),
    ],
)
def test_options_that_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        Resources.make(given)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("90", 90), (90, 90), ("90:30", 91), ("1:30:00", 90), ("2-00", 2880), ("1-2:3", 1563), ("1-02:03:04", 1564)],
)
def test_time_limits(given: object, expected: int) -> None:
    assert minutes(given) == expected


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            {"partition": "gpus"},
            "the cluster has no partition 'gpus'. Did you mean gpu? Valid names here: gpu, physics.",
        ),
        ({"partition": "physics", "account": "chemistry"}, "no account 'chemistry'. Valid names here: astro, physics"),
        ({"partition": "physics", "qos": "logn"}, "no qos 'logn'. Did you mean long?"),
        ({"constraint": "a100&h100*2"}, "no constraint 'h100'. Did you mean a100? Valid names here: a100, nvlink."),
        ({"partition": "physics", "time": "2-0"}, "2880 minutes are more than partition physics allows (1440)"),
    ],
)
def test_names_are_held_against_the_cluster(
    submit: Callable[..., str], fake: Fake, flags: dict[str, object], told: str
) -> None:
    more = "PartitionName=physics AllowAccounts=physics,astro AllowQos=long MaxTime=1-00:00:00\n"
    fake.says("scontrol-show-partition", (fake.root / "scontrol-show-partition").read_text() + more)
    with pytest.raises(ConfigError) as error:
        submit(plan_of(tasks_of(1)), **flags)
    assert told in str(error.value)
    assert not fake.scripts()


def test_one_of_several_partitions_is_enough(submit: Callable[..., str], fake: Fake) -> None:
    more = "PartitionName=short AllowAccounts=ALL AllowQos=ALL MaxTime=60\n"
    fake.says("scontrol-show-partition", (fake.root / "scontrol-show-partition").read_text() + more)
    assert "Submitted" in submit(plan_of(tasks_of(1)), partition="short,gpu", time=120)


def test_folders_that_no_script_can_name(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake.root / "it's 100%").mkdir()
    monkeypatch.chdir(fake.root / "it's 100%")
    sweep = SweepFolder("out")
    plan = plan_of(tasks_of(1))
    sweep.write(load("quickstart"), plan.runs, {})
    with pytest.raises(ConfigError, match="which a scheduler's script cannot hold"):
        LAUNCHERS.get("slurm")().check(sweep, plan)


def test_no_scheduler_here(submit: Callable[..., str], fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake.root / "nothing"))
    with pytest.raises(ConfigError, match="scontrol is not here: this machine is no SLURM login node"):
        submit(plan_of(tasks_of(1)))


def test_without_submitit(submit: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dfdgbench\[slurm\]'"):
        submit(plan_of(tasks_of(1)))


# By what a task is ----------------------------------------------------------------------------------------------------


def test_a_kinds_entry_goes_over_what_all_ask_for() -> None:
    kinds = {
        "run": {"time": "1:00:00", "slurm": {"nice": None, "comment": "r"}},
        "teacher": {"gres": None, "mem": "2g"},
    }
    found = Resources.make({"gres": "gpu:1", "slurm": {"nice": "5", "mail-type": "END"}, "kinds": kinds})
    assert found.of("inverted") == Resources.make({"gres": "gpu:1", "slurm": {"nice": "5", "mail-type": "END"}})
    assert (found.of("teacher").gres, found.of("teacher").mem) == (None, "2G")
    assert found.of("run").slurm == {"mail-type": "END", "comment": "r"}
    assert found.of("combine") == found.of("run")
    assert not found.of("teacher").asks_for_gpu
    assert found.of("run").asks_for_gpu
    assert Resources.make({"slurm": {"gpus-per-node": "1"}}).asks_for_gpu


@pytest.mark.parametrize(
    ("given", "size"), [({}, 1), ({"tasks_per_gpu": 3}, 3), ({"tasks_per_gpu": 3, "runs_per_job": 8}, 8)]
)
def test_a_job_has_as_many_tasks_as_share_its_gpu_where_nothing_else_is_said(given: dict[str, int], size: int) -> None:
    assert Resources.make(given).bundle == size


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "techer",
            "no kind of task 'techer' to give resources for. Did you mean teacher? Known: run, combine, ",
        ),
        ("ensemble", "no kind of task 'ensemble'"),
        ("combin", "Did you mean combine"),
    ],
)
def test_a_kind_that_no_task_has(submit: Callable[..., str], fake: Fake, kind: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        submit(plan_of(tasks_of(1)), kinds={kind: {"time": 5}})
    assert told in str(error.value)
    submit(plan_of(tasks_of(1)), kinds={"teacher": {"time": 5}})  # of another sweep


def test_names_of_a_kinds_entry_are_held_against_the_cluster(submit: Callable[..., str], fake: Fake) -> None:
    with pytest.raises(ConfigError) as error:
        submit(plan_of(tasks_of(1)), kinds={"combine": {"partition": "cpu"}})
    assert "Of tasks of kind combine, --partition: the cluster has no partition 'cpu'. Did you mean gpu?" in str(
        error.value
    )


# A site's file --------------------------------------------------------------------------------------------------------


def site(fake: Fake, text: str) -> None:
    folder = fake.root / ".config" / "dfdgbench"
    folder.mkdir(parents=True)
    (folder / "site.yaml").write_text(text)


def test_flags_go_over_the_sites_defaults(fake: Fake) -> None:
    site(
        fake,
        "partition: gpu\naccount: physics\nsetup: [module load cuda]\nslurm: {mail-type: END, nice: 10}\ntime: 4:00:00\ncpus: 8\n",
    )
    found = resources_of({"partition": "cpu", "qos": None}, ["nice=20"])
    assert (found.partition, found.account, found.setup) == ("cpu", "physics", ["module load cuda"])
    assert (found.time, found.cpus) == (240, 8)
    assert found.slurm == {"mail-type": "END", "nice": "20"}


def test_kinds_in_the_sites_file_and_on_the_command_line(fake: Fake) -> None:
    site(
        fake,
        """
        gres: gpu:1
        qos: null
        runs_per_job: 2
        kinds:
          combine: {partition: cpu, gres: null, runs_per_job: 50, slurm: {nice: 10}}
          teacher: {time: 8:00:00}
          fused:
        """,
    )
    pairs = [["teacher", "mem=4G", "cpus=8"], ["combine", "partition=low", "slurm.nice=", "slurm.comment=x"]]
    found = resources_of({"partition": "gpu"}, [], pairs)
    teacher, combine = found.of("teacher"), found.of("combine")
    assert (teacher.partition, teacher.gres, teacher.time, teacher.mem, teacher.cpus) == ("gpu", "gpu:1", 480, "4G", 8)
    assert (combine.partition, combine.gres, combine.runs_per_job, combine.slurm) == ("low", None, 50, {"comment": "x"})
    assert found.of("fused") == found.of("run")
    assert resources_of({}, [], [["run", "gres="]]).of("run").gres is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partion: gpu", "there is no key 'partion'. Did you mean partition"),
        ("partition: [", "cannot be read as YAML"),
        ("- gpu", "must hold keys and values"),
        ("cpus: many", "cpus of "),
        ("kinds: gpu", "kinds of "),
        ("kinds: {teacher: gpu}", "kinds.teacher of "),
        ("kinds: {teacher: {cpus: many}}", "cpus of kinds.teacher of "),
    ],
)
def test_a_sites_file_that_is_wrong(fake: Fake, text: str, told: str) -> None:
    site(fake, text)
    with pytest.raises(ConfigError) as error:
        resources_of({})
    assert told in str(error.value)
    assert "site.yaml" in str(error.value)


def test_a_sites_file_that_is_named_and_absent(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFDGBENCH_SITE", "nowhere.yaml")
    with pytest.raises(ConfigError, match="does not exist"):
        resources_of({})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ("--launcher", "local", "--partition", "gpu"),
            "--partition is for schedulers' jobs, and the launcher local makes",
        ),
        (("--launcher", "slurm", "--jobs", "2"), "--jobs is for launchers on this machine, not for slurm"),
        (("--launcher", "slurm", "--slurm", "nice"), "--slurm 'nice' is not KEY=VALUE"),
        (
            ("--launcher", "slurm", "--for", "run"),
            "--for run: there is no KEY=VALUE. Type for example --for run partition=cpu gres=",
        ),
        (("--launcher", "slurm", "--for", "run", "gpu"), "--for run: 'gpu' is not KEY=VALUE"),
        (
            ("--launcher", "slurm", "--for", "run", "setup=x"),
            "--for run: setup is for the site's file. As flags: partition",
        ),
        (("--launcher", "slurm", "--for", "run", "cpus=x"), "cpus of --for run: 'x'"),
        (("--launcher", "local", "--for", "run", "mem=1G"), "--for is for schedulers' jobs"),
        (
            ("--launcher", "debug", "--tasks-per-gpu", "2"),
            "--tasks-per-gpu is for schedulers' jobs, and the launcher debug",
        ),
    ],
)
def test_flags_that_do_not_go_together(
    fake: Fake, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    assert main(["sweep", "launch", "quickstart", *flags]) == 1
    assert told in capsys.readouterr().err


def test_the_local_launcher_takes_the_tasks_a_gpu(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    options = make_parser().parse_args(["sweep", "launch", "quickstart", "--tasks-per-gpu", "3"])
    launcher = make_launcher(options)
    started: list[tuple[int, list[str]]] = []
    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(
        local, "Pool", lambda size, gpus, *_: started.append((size, gpus)) or SimpleNamespace(work=lambda *_: 0)
    )
    plan = plan_of(tasks_of(9))
    plan.there = set()
    launcher.submit(SweepFolder("out"), plan, Execution())
    assert started == [(6, ["0", "1"])]


def test_a_refused_launch_leaves_nothing_behind(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["sweep", "launch", "quickstart", "--launcher", "slurm", "--partition", "gpus", "--output-dir", "out"])
        == 1
    )
    assert "the cluster has no partition 'gpus'" in capsys.readouterr().err
    assert not Path("out").exists()
