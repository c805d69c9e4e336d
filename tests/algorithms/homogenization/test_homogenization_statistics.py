"""Post-hoc data homogenisation: the source's statistics, and which maps they are of."""

from __future__ import annotations

import pytest
import torch
from homogenization_rooms import gathered

from dfdgbench.losses.homogenization import statistics_loss
from dfdgbench.networks.maps import FeatureMaps
from dfdgbench.stages.homogenize import places
from dfdgbench.stages.homogenize_measures import load_images
from dfdgbench.stages.source_statistics import SourceStatistics, _combined, read_statistics


@pytest.mark.parametrize("by_class", [False, True])
def test_the_source_itself_has_the_pooled_statistics(planned, by_class):
    made, folder = gathered(planned)
    found = read_statistics(folder)
    classifier, _, _ = made.last.inputs
    work = made.engine().work(classifier)
    network = classifier.load(made.engine().ensure(classifier), work).network
    images, labels = load_images(made.problem.split(0, "in"), None, network, made.problem, work)
    for family, looked in (("network", network), ("random", found.random_network(network, made.problem))):
        with FeatureMaps(looked) as maps:
            maps_of_all = maps.of(images)[1]
        sources = found.moments(family, maps.places, by_class=by_class, variance="pooled")
        loss = statistics_loss(sources, maps_of_all, labels if by_class else None)
        assert float(loss) == pytest.approx(0, abs=1e-4)
    colour = found.colour(by_class)[:, :, None, None]
    centred = (images - (colour[labels] if by_class else colour)).flatten(1) @ found.directions(images.shape[1:])
    sources = found.moments("projection", [0], by_class=by_class, variance="pooled")
    assert float(statistics_loss(sources, [centred], labels if by_class else None)) == pytest.approx(0, abs=1e-3)


def test_the_codes_variance_is_the_mean_of_batches_own(planned):
    stage = SourceStatistics.__new__(SourceStatistics)
    stage.problem = type("P", (), {"network": type("N", (), {"num_classes": 1})})
    for batches, within, pooled, mean in (([[0, 2], [4, 6]], 1, 5, 3), ([[0, 2], [4]], 2 / 3, 8 / 3, 2)):
        totals: dict[str, torch.Tensor] = {}
        for batch in batches:
            stage._add(
                totals,
                "x",
                torch.tensor(batch, dtype=torch.float32)[:, None],
                torch.zeros(len(batch), dtype=torch.long),
            )
        found = _combined(totals, "x")
        assert float(found["mean"][0]) == pytest.approx(mean)
        assert float(found["within-batch"][0]) == pytest.approx(within)
        assert float(found["pooled"][0]) == pytest.approx(pooled)


def test_methods_read_the_published_number_of_maps():
    counts = {
        (maps, layers): len(places(maps, "code", layers)[1])
        for maps in ("nn", "nn-all", "random-nn", "rp")
        for layers in (36, 21)
    }
    assert counts == {
        ("nn", 36): 1, ("nn", 21): 1, ("nn-all", 36): 35, ("nn-all", 21): 20,
        ("random-nn", 36): 37, ("random-nn", 21): 22, ("rp", 36): 1, ("rp", 21): 1,
    }  # fmt: skip
    assert places("nn", "code", 21)[1][-1] == places("nn-all", "code", 21)[1][-1]
    assert places("nn", "paper", 21)[1] == [22]
    assert places("nn-all", "paper", 21)[1] == list(range(23))
