"""Options of dataset distillation where the paper does not say: how sets are kept, what RDED does with too few images, weights."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from tiny import of_kind

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.engine import records
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.engine.stage import Stage, walk
from dfdgbench.errors import ArtifactError, ConfigError, DataError, HparamError, WeightsError
from dfdgbench.stages.coded import decoded, encoded
from dfdgbench.stages.pool import load_pool
from dfdgbench.stages.select_real import repeated

METHODS = ("SRe2L", "G-VBSM", "RDED", "DTL-DSM")


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in [*folder.glob("*.npy"), *folder.glob("*.safetensors")])


# How sets are kept


def test_png_keeps_every_pixel_and_jpeg_what_pil_keeps_at_75():
    image = torch.randint(0, 256, (3, 20, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(decoded(encoded(image, "png")), image)
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=75)
    assert encoded(image, "jpeg75") == buffer.getvalue()
    made = decoded(encoded(image, "jpeg75"))
    assert made.shape == image.shape
    assert not torch.equal(made, image)


def test_a_codec_is_one_more_stage_and_changes_nothing_before_it(planned):
    raw, coded = planned("SRe2L"), planned("SRe2L", store__codec="jpeg75")
    assert not of_kind(raw, "coded")
    assert [stage.key for stage in of_kind(raw, "sre2l")] == [stage.key for stage in of_kind(coded, "sre2l")]
    assert len(of_kind(coded, "coded")) == len(of_kind(coded, "sre2l")) == 2
    assert {stage.kind for stage in coded.last.inputs} == {"coded", "labels"}, "the student gets the files alone"
    dtl = planned("DTL-DSM", store__codec="jpeg75")
    (transfer,) = of_kind(dtl, "transfer")
    assert transfer.key == of_kind(planned("DTL-DSM"), "transfer")[0].key
    assert {stage.kind for stage in dtl.last.inputs} == {"coded", "labels", "transfer"}
    with pytest.raises(HparamError, match=r"store\.codec"):
        planned("SRe2L", store__codec="jpeg")


@pytest.mark.parametrize("algorithm", ["RDED", "DTL-DSM"])
def test_what_is_kept_is_labelled_learnt_from_and_counted(planned, tmp_path, algorithm):
    students, counted, seen = {}, {}, {}
    for codec in ("raw", "png", "jpeg75"):
        made = planned(algorithm, store__codec=codec)
        made.execute(tmp_path / codec)
        engine = made.engine()
        tensors = read_tensors(tmp_path / codec / "model.safetensors")
        students[codec] = torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])
        (record,) = records.read(tmp_path / codec / "results.jsonl")
        counted[codec] = record["bytes_on_disk"], sum(on_disk(engine.ensure(stage)) for stage in made.last.inputs)
        work = engine.work(made.last)
        seen[codec] = made.last.images.load(work).images
    assert all(told == found for told, found in counted.values())
    assert len({told for told, _ in counted.values()}) == 3
    assert torch.equal(seen["png"], seen["raw"])
    assert torch.equal(students["png"], students["raw"])
    expected = torch.stack([decoded(encoded(image, "jpeg75")) for image in seen["raw"]])
    assert torch.equal(seen["jpeg75"], expected)
    assert not torch.equal(students["jpeg75"], students["raw"])


def test_labels_are_of_the_coded_images(planned):
    raw, coded = planned("RDED"), planned("RDED", store__codec="jpeg75")
    engine = raw.engine()
    logits = [read_tensors(engine.ensure(of_kind(made, "labels")[0]) / "labels.safetensors") for made in (raw, coded)]
    assert torch.equal(logits[0]["crops"], logits[1]["crops"])
    assert not torch.equal(logits[0]["logits"], logits[1]["logits"])


def test_a_damaged_file_is_no_set(planned):
    made = planned("RDED", store__codec="png")
    engine, (stage,) = made.engine(), of_kind(made, "coded")
    folder = engine.ensure(stage)
    files = np.load(folder / "files.npy")
    files[:100] = 0
    np.save(folder / "files.npy", files)
    with pytest.raises(ArtifactError, match="cannot be read"):
        stage.load(folder, engine.work(stage))


# RDED with too few images


SCORES = torch.tensor([[2.0, 1.5, 1.8], [0.5, 0.7, 0.9], [1.0, 1.2, 0.4], [3.0, 0.2, 2.5]])


def test_repeated_crops_are_every_images_best_again_in_their_order():
    images, crops = repeated(SCORES, 6)
    assert images.tolist() == [3, 2, 1, 0, 3, 2]
    assert crops.tolist() == [1, 2, 0, 1, 1, 2]
    assert repeated(SCORES, 2)[0].tolist() == [3, 2]


def quarters(images: torch.Tensor) -> set[bytes]:
    """The distinct cells of stitched images [n, 3, 28, 28]."""
    cells = images.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    return {cell.contiguous().numpy().tobytes() for cell in cells}


def test_fallbacks_with_too_few_images(planned):
    found = {}
    for fallback in ("more-crops", "repeat"):
        made = planned("RDED", ipc=30, recover__crops=2, recover__fallback=fallback)
        pool = load_pool(made.engine().ensure(of_kind(made, "rded")[0]))
        assert len(pool) == 60
        found[fallback] = pool.images[pool.labels == 0]
    read = made.engine().work(of_kind(made, "rded")[0])
    there = sum(int((read.split(each).labels == 0).sum()) for each in of_kind(made, "rded")[0].reads)
    assert there < 120, "more crops are wanted than there are images"
    assert len(quarters(found["repeat"])) == there, "the best crop of every image, and no other"
    assert len(quarters(found["more-crops"])) > 2 * there


def test_fallback_may_be_an_error_which_says_what_to_type(planned):
    made = planned("RDED", ipc=30, recover__fallback="refuse")
    with pytest.raises(
        DataError, match=r"for the 120 crops that ipc=30 needs.*--hparam ipc=\d+ or less, or .*more-crops"
    ):
        made.engine().ensure(of_kind(made, "rded")[0])
    enough = [planned("RDED", ipc=1, recover__fallback=fallback) for fallback in ("more-crops", "repeat", "refuse")]
    images = [load_pool(made.engine().ensure(of_kind(made, "rded")[0])).images for made in enough]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


# Initial weights of the squeeze


def squeezes(tmp_path: Path, algorithm: str, **hparams: Any) -> list[Stage]:
    """Of a plan that loads nothing, for weights need not be here."""
    method = ALGORITHMS.get(algorithm)
    dotted = {name.replace("__", "."): value for name, value in hparams.items()}
    problem = tiny.problem(tmp_path, network="resnet50", weights="none")
    planned = method.plan(problem, method.Hparams.build({**method.tiny, **dotted}, algorithm))
    return [stage for stage in walk(planned) if stage.kind == "squeeze"]


def test_initial_weights_of_the_squeeze_are_an_option(tmp_path):
    both = ("resnet18", "resnet50")
    named = {"recover__networks": both, "squeeze__weights": ("default", "IMAGENET1K_V2")}
    found = [stage.problem.network.weights for stage in squeezes(tmp_path, "G-VBSM", **named)]
    assert found == ["default", "IMAGENET1K_V2"]
    alone = squeezes(tmp_path, "SRe2L", squeeze__network="resnet50", squeeze__weights=("IMAGENET1K_V2",))
    assert [stage.facts()["weights"] for stage in alone] == ["torchvision:resnet50-11ad3fa6.pth"]
    usual = squeezes(tmp_path, "SRe2L", squeeze__network="resnet50", squeeze__weights=("default",))
    assert [stage.facts()["weights"] for stage in usual] == ["torchvision:resnet50-0676ba61.pth"]
    given = squeezes(tmp_path, "SRe2L", squeeze__network="resnet18")
    assert [stage.problem.network.weights for stage in given] == ["none"], "the student's are random"


def test_initial_weights_of_another_number_or_name(tmp_path):
    with pytest.raises(
        ConfigError, match=r"names 1 initial weights, and 2 networks .*squeeze\.weights='\[\"default\", "
    ):
        squeezes(tmp_path, "G-VBSM", recover__networks=("resnet18", "resnet50"), squeeze__weights=("default",))
    with pytest.raises(WeightsError, match=r"'resnet18' has no weights 'IMAGENET1K_V2'\. It knows IMAGENET1K_V1"):
        squeezes(tmp_path, "SRe2L", squeeze__network="resnet18", squeeze__weights=("IMAGENET1K_V2",))


# The page


def test_every_option_that_the_page_names_exists():
    page = (Path(__file__).parents[2] / "docs" / "distillation.md").read_text(encoding="utf-8")
    table = page.partition("## What the papers leave open")[2].partition("Fixed, and why")[0]
    named = set(re.findall(r"`((?:squeeze|recover|psi|styles|dsm|relabel|student|store)\.\w+)`", table))
    known = {name for method in METHODS for name in ALGORITHMS.get(method).Hparams.names()}
    assert len(named) > 25
    assert named <= known
