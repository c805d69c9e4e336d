"""Dataset distillation from end to end on a tiny problem: what is shared, what is decoupled, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny import of_kind

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.cli.main import main
from dfdgbench.engine import records
from dfdgbench.engine.execute import Engine
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.engine.stage import Stage, walk
from dfdgbench.errors import AccessError, ConfigError, DataError, HparamError, NoBatchNormError, UnknownNameError
from dfdgbench.networks.transfer import TransferNetwork
from dfdgbench.settings import DATA_FREE, check_access
from dfdgbench.stages.pool import load_pool
from dfdgbench.stages.train import Teacher

PER_DOMAIN = ("SRe2L", "G-VBSM", "RDED", "Random-real")


def images(engine: Engine, stage: Stage) -> torch.Tensor:
    return load_pool(engine.ensure(stage)).images


# What is shared


@pytest.mark.parametrize("algorithm", PER_DOMAIN)
def test_sets_of_single_domains_are_shared_by_all_targets(planned, algorithm):
    kind = {"SRe2L": "sre2l", "G-VBSM": "g-vbsm", "RDED": "rded", "Random-real": "random-real"}[algorithm]
    keys: dict[tuple[str, int], set[str]] = {}
    for target in range(3):
        made = planned(algorithm, {"test_envs": [target]}, approach="per-domain")
        assert len({stage.domains for stage in of_kind(made, kind)}) == 2
        for stage in of_kind(made, kind):
            keys.setdefault((stage.domains[0], stage.index), set()).add(stage.key)
    assert all(len(found) == 1 for found in keys.values())
    across = [of_kind(planned(algorithm, {"test_envs": [target]}), kind)[0].key for target in range(3)]
    assert len(set(across)) == 3


def test_squeezes_of_single_domains_are_dekans_teachers(planned):
    squeezes = of_kind(planned("SRe2L", approach="per-domain"), "teacher")
    dekan = planned("DEKAN", **{"teacher.steps": 3, "teacher.batch_size": 8, "inversion.images": 256})
    teachers = of_kind(dekan, "teacher")
    assert all(isinstance(stage, Teacher) for stage in squeezes)
    assert {stage.key for stage in squeezes} == {stage.key for stage in teachers}
    frozen = planned("SRe2L", approach="per-domain", squeeze__bn="frozen")
    assert {stage.key for stage in of_kind(frozen, "teacher")}.isdisjoint(stage.key for stage in teachers)


def test_a_smaller_sre2l_set_is_the_first_part_of_a_larger_one(planned):
    small, large = (of_kind(planned("SRe2L", ipc=ipc), "sre2l") for ipc in (2, 5))
    assert [stage.key for stage in small] == [stage.key for stage in large[:2]]
    assert len(large) == 5


def test_rows_of_the_ablation_share_their_images(planned):
    rows = [{"transfer": False, "mix": False}, {"mix": False}, {}]
    keys = [[stage.key for stage in of_kind(planned("DTL-DSM", **row), "dtl")] for row in rows]
    assert keys[0] == keys[1] == keys[2]
    assert [stage.key for stage in of_kind(planned("DTL-DSM", mix=False), "transfer")] == [
        stage.key for stage in of_kind(planned("DTL-DSM"), "transfer")
    ]
    per_style = of_kind(planned("DTL-DSM", style="per-style", transfer=False, mix=False), "dtl")
    assert {stage.domains for stage in per_style} == {("1",), ("2",)}


def test_the_student_reads_nothing_but_sets_and_labels(planned):
    made = planned("DTL-DSM")
    assert made.last.reads == ()
    assert {stage.releases.value for stage in made.last.inputs} == {"synthetic set", "label records"}
    with pytest.raises(AccessError, match=r"released: synthetic set\)"):
        check_access(walk(made.last), DATA_FREE, made.problem)
    for stage in walk(made.last):
        assert all(made.problem.domain_name(read.domain) != "0" for read in stage.reads)


# What is computed


def test_groups_stepped_together_go_the_way_they_go_alone(planned):
    options = {"ipc": 4, "recover__steps": 8}
    alone, together = (planned("SRe2L", recover__groups_per_shard=size, **options) for size in (1, 4))
    engine = alone.engine()
    one = torch.cat([images(engine, stage) for stage in of_kind(alone, "sre2l")])
    all_at_once = images(engine, of_kind(together, "sre2l")[0])
    assert float((one.float() - all_at_once.float()).abs().mean()) < 0.05
    classes = planned("DTL-DSM", recover__groups_per_shard=2), planned("DTL-DSM", recover__groups_per_shard=1)
    whole, parts = (torch.cat([images(engine, stage) for stage in of_kind(made, "dtl")]).float() for made in classes)
    assert float((whole - parts).abs().mean()) < 0.05


def test_pixels_and_transfer_network_are_decoupled(planned):
    made = [planned("DTL-DSM", psi__ce_weight=weight, psi__style_weight=weight) for weight in (0.0, 1.0)]
    engine = made[0].engine()
    transfers = [of_kind(one, "transfer")[0] for one in made]
    assert [stage.key for stage in of_kind(made[0], "dtl")] == [stage.key for stage in of_kind(made[1], "dtl")]
    states = []
    for stage in transfers:
        for given in stage.inputs:
            engine.ensure(given)
        work = engine.work(stage)
        state = stage.start(work)
        for number in range(stage.steps):
            stage.step(state, work, number)
        states.append(state)
    assert torch.equal(states[0].images.pixels.values, states[1].images.pixels.values)
    weights = [torch.cat([p.flatten() for p in state.psi.parameters()]) for state in states]
    assert not torch.equal(*weights)
    recovered = torch.cat([images(engine, stage) for stage in of_kind(made[0], "dtl")]).float()
    beside = (states[0].images.pixels.images().flatten(0, 1) * 255).round()
    assert float((recovered - beside).abs().mean()) < 0.05


@pytest.mark.parametrize(
    ("steps", "visit", "classes", "updates", "of_each"), [(4, 2, 2, 8, 4), (4000, 100, 65, 260_000, 4000)]
)
def test_the_transfer_network_visits_every_class_in_every_epoch(planned, steps, visit, classes, updates, of_each):
    (stage,) = of_kind(planned("DTL-DSM", recover__steps=steps, psi__visit=visit), "transfer")
    stage.recover.numbers = range(classes)
    assert stage.steps == updates
    visits = [stage.place(number)[0] for number in range(0, stage.steps, visit)]
    assert visits == list(range(classes)) * (of_each // visit)
    last = [stage.place(number) for number in range(stage.steps - visit * classes, stage.steps)]
    assert last[0] == (0, of_each - visit)
    assert last[-1] == (classes - 1, of_each - 1)


def test_backbones_take_turns_through_the_whole_set(planned):
    made = planned("G-VBSM", recover__networks=("smallcnn", "smallcnn"), recover__steps=3, ipc=50)
    (stage,) = of_kind(made, "g-vbsm")
    assert [list(batch) for batch in stage.batches] == [[0], [1]]
    assert [(stage.first + number) % stage._count for number in range(stage.steps)] == [0, 1, 0, 1, 0, 1]
    apart = planned("G-VBSM", recover__steps=3, ipc=50, recover__ema_across="fresh")
    assert [shard.first for shard in of_kind(apart, "g-vbsm")] == [0, 3]


def test_rded_optimises_nothing_and_leaves_its_model_alone(planned, monkeypatch):
    made = planned("RDED", ipc=4)
    engine, (stage,) = made.engine(), of_kind(made, "rded")
    squeeze = engine.ensure(of_kind(made, "squeeze")[0]) / "model.safetensors"
    before = squeeze.read_bytes()
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: pytest.fail("a gradient was taken"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a gradient was taken"))
    pool = load_pool(engine.ensure(stage))
    assert pool.labels.tolist() == [0] * 4 + [1] * 4
    assert squeeze.read_bytes() == before


def test_styles_accumulate_over_batches_of_any_size(planned, monkeypatch):
    from dfdgbench.networks.base import NetworkSpec, build
    from dfdgbench.stages import statistics

    network = build(NetworkSpec("smallcnn", 2, image_size=28), seed=0).eval()
    seen = torch.rand(10, 3, 28, 28)
    weights = torch.full((10,), 0.1, dtype=torch.float64)
    whole = statistics.style_sums(network, seen, weights, "bn-in")
    for size in (1, 3):
        parts = [
            statistics.style_sums(network, seen[i : i + size], weights[i : i + size], "bn-in")
            for i in range(0, 10, size)
        ]
        for one, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            torch.testing.assert_close(torch.stack(pieces).sum(0), one, rtol=1e-5, atol=1e-6)
    m, v = statistics.style_of_sums([torch.tensor([3.5]), torch.tensor([18.5]), torch.tensor([2.5])], "per-image")
    assert (float(m), float(v)) == (3.5, 2.5)
    assert (
        float(statistics.style_of_sums([torch.tensor([3.5]), torch.tensor([18.5]), torch.tensor([2.5])], "pooled")[1])
        == 8.75
    )
    close = statistics.weighted(statistics.weighted([], [torch.ones(1)], 256 / 300), [4 * torch.ones(1)], 44 / 300)
    assert float(close[0]) == pytest.approx(256 / 300 + 4 * 44 / 300)


# Labels


def weights_of(folder: Path) -> torch.Tensor:
    tensors = read_tensors(folder / "model.safetensors")
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("approach", ["across", "per-domain"])
@pytest.mark.parametrize("algorithm", ["G-VBSM", "RDED"])
def test_stored_and_online_labels_make_the_same_student(planned, tmp_path, algorithm, approach):
    found = []
    for mode in ("stored", "online"):
        folder = tmp_path / mode
        planned(algorithm, approach=approach, relabel__mode=mode).execute(folder)
        found.append(weights_of(folder))
        (record,) = records.read(folder / "results.jsonl")
        assert record["ratio_paper"] == pytest.approx(
            2 * 2 * (2 if approach == "per-domain" else 1) / (0.8 * 2 / 3 * 48)
        )
        assert (record["ratio_with_labels"] > record["ratio_paper"]) == (mode == "stored")
        assert record["bytes_on_disk"] > 4 * 28 * 28 * 3
    assert torch.equal(*found)


def test_the_transfer_network_counts_in_the_ratio(planned, tmp_path):
    planned("DTL-DSM").execute(tmp_path / "run")
    (record,) = records.read(tmp_path / "run" / "results.jsonl")
    parameters = sum(parameter.numel() for parameter in TransferNetwork(2, 4).parameters())
    assert record["ratio_paper"] == pytest.approx((4 + 4 * parameters / (3 * 28 * 28)) / (0.8 * 2 / 3 * 48))


# What is refused


def test_no_images_and_odd_batches(planned):
    with pytest.raises(HparamError, match="ipc"):
        planned("SRe2L", ipc=0)
    with pytest.raises(ConfigError, match="ipc=60 is no multiple of the batch of 50"):
        planned("DTL-DSM", ipc=60)
    with pytest.raises(ConfigError, match=r"does not divide recover\.steps=2"):
        planned("DTL-DSM", psi__visit=4)


@pytest.mark.parametrize("algorithm", ["SRe2L", "G-VBSM", "DTL-DSM"])
def test_a_squeezed_network_needs_batch_normalisation(planned, algorithm):
    name = "recover__networks" if algorithm == "G-VBSM" else "squeeze__network"
    value = ("MNIST_CNN",) if algorithm == "G-VBSM" else "MNIST_CNN"
    with pytest.raises(NoBatchNormError, match=r"squeeze\.network=resnet18"):
        planned(algorithm, **{name: value})


def test_unknown_students_and_squeezes(planned):
    with pytest.raises(UnknownNameError, match="resnet19"):
        planned("SRe2L", {"network": "resnet19"})
    with pytest.raises(UnknownNameError, match="smalcnn"):
        planned("SRe2L", squeeze__network="smalcnn")


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"approach": "per-domain"}, "style=per-style"),
        ({"transfer": False}, "mix=false"),
        ({"style": "per-style"}, "transfer=false"),
        ({"transfer": False, "mix": False, "images": "rded"}, "--algorithm RDED"),
    ],
)
def test_rows_that_do_not_exist(planned, hparams, message):
    with pytest.raises(ConfigError, match=message):
        planned("DTL-DSM", **hparams)


class Lopsided(tiny.Compass):
    """A class is missing in the first domain."""

    def open(self, index: int) -> Any:
        opened = super().open(index)
        if index == 1:
            opened.labels[:] = 0
        return opened


def test_a_class_that_a_domain_has_not(execution, tmp_path):
    problem = tiny.problem(tmp_path / "artifacts", Lopsided())
    engine = tiny.engine(tmp_path / "artifacts", 1e9)
    for name in ("SRe2L", "RDED"):
        algorithm = ALGORITHMS.get(name)
        hparams = algorithm.Hparams.build(
            {**algorithm.tiny, "approach": "per-domain", "squeeze.network": "smallcnn"}, name
        )
        shards = [stage for stage in walk(algorithm.plan(problem, hparams)) if stage.kind in ("sre2l", "rded")]
        (wrong,) = [stage for stage in shards if stage.domains == ("east",) and stage.index == 0]
        with pytest.raises(DataError, match=r"the training split of east has no image of b, .*approach=across"):
            engine.ensure(wrong)
        hparams = algorithm.Hparams.build({**algorithm.tiny, "squeeze.network": "smallcnn"}, name)
        across = [stage for stage in walk(algorithm.plan(problem, hparams)) if stage.kind in ("sre2l", "rded")]
        assert len(load_pool(engine.ensure(across[0])))


def test_more_images_than_there_are(planned, caplog):
    made = planned("RDED", ipc=30, recover__crops=2)
    engine, (stage,) = made.engine(), of_kind(made, "rded")
    with caplog.at_level("INFO", logger="dfdgbench"):
        assert len(images(engine, stage)) == 60
    assert any("for the 120 crops that ipc=30 needs" in message for message in caplog.messages)
    made = planned("Random-real", ipc=30)
    with pytest.raises(DataError, match=r"ipc=30 asks for more\. Type --hparam ipc="):
        made.engine().ensure(of_kind(made, "random-real")[0])


def test_damaged_records_are_made_anew(planned, tmp_path, caplog):
    made = planned("RDED")
    made.execute(tmp_path / "one")
    labels = made.engine().store.path(of_kind(made, "labels")[0].address) / "labels.safetensors"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-8] + bytes(8 * [77]))
    again = planned("RDED")
    again.execute(tmp_path / "two")
    assert any("is damaged" in message and "made anew" in message for message in caplog.messages)
    assert labels.read_bytes() == whole
    assert torch.equal(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))


# Controls and the command line


CONTROLS = [
    ("SRe2L", {"recover.bn_targets": "measured"}, "measured-targets"),
    ("G-VBSM", {"squeeze.bn": "live", "student.bn": "live"}, "live-bn"),
    ("SRe2L", {"ipc": 150}, "equal-storage"),
    ("DTL-DSM", {"images": "rded"}, "rded-images"),
    ("DTL-DSM", {"dsm.share": 0.5}, "half"),
]


@pytest.mark.parametrize(("algorithm", "values", "preset"), CONTROLS)
def test_controls_are_presets(algorithm, values, preset):
    assert dict(ALGORITHMS.get(algorithm).preset(preset)) == values


@pytest.mark.parametrize(
    ("algorithm", "hparams"),
    [
        ("SRe2L", {"recover__bn_targets": "measured"}),
        ("G-VBSM", {"recover__bn_targets": "measured", "recover__drop": 0.4, "recover__ema_across": "fresh"}),
        ("DTL-DSM", {"images": "rded", "dsm__share": 0.5, "psi__schedule": "post-hoc", "psi__domains": 1}),
        (
            "DTL-DSM",
            {"recover__densify": 1.0, "styles__layers": "bn-out", "dsm__expand": True, "dsm__include_raw": True},
        ),
        ("DTL-DSM", {"style": "per-style", "normalize": False, "transfer": False, "mix": False}),
    ],
)
def test_options_run(planned, tmp_path, algorithm, hparams):
    planned(algorithm, **hparams).execute(tmp_path / "run")
    (record,) = records.read(tmp_path / "run" / "results.jsonl")
    assert np.isfinite(record["loss"])


def test_a_plan_of_the_papers_table(capsys):
    asked = ["sweep", "plan", "ddfordg-table2", "--weights", "none", "--trials", "1", "--datasets", "PACS"]
    assert main([*asked, "--algorithms", "SRe2L", "DTL-DSM"]) == 1
    told = capsys.readouterr()
    assert "32 runs share" in told.out
    assert "PACS is read from disk, and no data folder was given" in told.out + told.err
