"""What jobs may ask for: options that are refused, names that the cluster does not have, a site's defaults."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from fake_slurm import Fake, plan_of, tasks_of

from dfdgbench.cli.main import main
from dfdgbench.engine.config import Execution
from dfdgbench.errors import ConfigError, MissingExtraError
from dfdgbench.sweeps.folder import SweepFolder
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
        LAUNCHERS.get("slurm")().submit(sweep, plan, Execution())


def test_no_scheduler_here(submit: Callable[..., str], fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake.root / "nothing"))
    with pytest.raises(ConfigError, match="scontrol is not here: this machine is no SLURM login node"):
        submit(plan_of(tasks_of(1)))


def test_without_submitit(submit: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dfdgbench\[slurm\]'"):
        submit(plan_of(tasks_of(1)))


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partion: gpu", "there is no key 'partion'. Did you mean partition"),
        ("partition: [", "cannot be read as YAML"),
        ("- gpu", "must hold keys and values"),
        ("cpus: many", "cpus of "),
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
    ],
)
def test_flags_that_do_not_go_together(
    fake: Fake, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    assert main(["sweep", "launch", "quickstart", *flags]) == 1
    assert told in capsys.readouterr().err
