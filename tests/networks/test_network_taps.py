"""Moments at batch-normalisation inputs: values by hand, gradients, groups, streams, and misuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dfdgbench.errors import ConfigError, NoBatchNormError
from dfdgbench.networks.base import Network, NetworkSpec, build
from dfdgbench.networks.norm import batch_norms, buffers_digest
from dfdgbench.networks.taps import Backend, Taps, moments, pooled_moments

BACKENDS: tuple[Backend, ...] = ("var_mean", "matmul")
both = pytest.mark.parametrize("backend", BACKENDS)
FORMATS = (torch.contiguous_format, torch.channels_last)


def teacher(name: str = "smallcnn") -> Network:
    network = build(NetworkSpec(name, 4, weights="none", image_size=32), 0).train()
    network(torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    return network.eval().requires_grad_(False)


def by_hand() -> Tensor:
    """[2, 2, 1, 2]: image 1 has the channels (1, 3) and (0, 0), image 2 (5, 7) and (2, 4)."""
    return torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]], [[[5.0, 7.0]], [[2.0, 4.0]]]], dtype=torch.float64)


@both
def test_oracle(backend: Backend) -> None:
    mean, var = moments(by_hand(), backend=backend)
    assert mean.tolist() == [[4, 1.5]]
    assert var.tolist() == [[5, 2.75]]
    _, unbiased = moments(by_hand(), unbiased=True, backend=backend)
    torch.testing.assert_close(unbiased, torch.tensor([[20 / 3, 11 / 3]], dtype=torch.float64))
    gaps = torch.linalg.vector_norm(mean[0] - torch.tensor([1, 2])), torch.linalg.vector_norm(var[0] - 1)
    assert [round(float(gap), 6) for gap in gaps] == [3.041381, 4.366062]


@both
def test_oracle_through_the_taps(backend: Backend) -> None:
    network = nn.Sequential(nn.BatchNorm2d(2)).double().eval()
    with Taps(network, backend=backend) as taps:
        network(by_hand())
        ((mean, var),) = taps.moments(groups=2)
        assert mean.tolist() == [[2, 0], [6, 3]]
        assert var.tolist() == [[1, 0], [1, 1]]
        assert taps.counts() == [4]


@both
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("unbiased", [False, True])
def test_gradcheck(backend: Backend, memory_format: torch.memory_format, unbiased: bool) -> None:
    images = torch.randn(4, 3, 2, 3, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    call: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda x: moments(x, 2, unbiased, backend)  # noqa: E731
    assert torch.autograd.gradcheck(call, (images,))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("groups", [1, 2])
def test_backends_agree_on_values_and_gradients(memory_format: torch.memory_format, groups: int) -> None:
    network = teacher().to(memory_format=memory_format)
    results = []
    for backend in BACKENDS:
        images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        images = images.to(memory_format=memory_format).requires_grad_()
        with Taps(network, groups=groups, backend=backend) as taps:
            network(images)
            found = taps.moments()
        loss = sum((mean.square().sum() + var.square().sum() for mean, var in found), torch.zeros(()))
        results.append([tensor for pair in found for tensor in pair] + list(torch.autograd.grad(loss, images)))
    for one, two in zip(*results, strict=True):
        assert one.shape == two.shape
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@both
def test_large_means_do_not_cancel(backend: Backend) -> None:
    entered = 1000 + torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = entered.double().var(dim=(0, 2, 3), correction=0)
    for layout in FORMATS:
        _, var = moments(entered.to(memory_format=layout), backend=backend)
        torch.testing.assert_close(var[0].double(), exact, atol=0, rtol=1e-4)


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_inputs_are_widened(backend: Backend, dtype: torch.dtype) -> None:
    entered = (3 + torch.randn(64, 2, 32, 32, generator=torch.Generator().manual_seed(0))).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean, var = moments(entered, backend=backend)
    assert mean.dtype == var.dtype == torch.float32
    torch.testing.assert_close(mean[0], entered.float().mean(dim=(0, 2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(var[0], entered.float().var(dim=(0, 2, 3), correction=0), atol=1e-4, rtol=0)


@both
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 2, 2, 2)])
def test_other_ranks(backend: Backend, shape: tuple[int, ...]) -> None:
    entered = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mean, var = moments(entered, groups=2, backend=backend)
    rows = entered.unflatten(0, (2, 3)).movedim(2, -1).reshape(2, -1, 3)
    torch.testing.assert_close(mean, rows.mean(1))
    torch.testing.assert_close(var, rows.var(1, correction=0))
    (gradient,) = torch.autograd.grad((mean + var).sum(), entered, retain_graph=True)
    torch.testing.assert_close(
        gradient, torch.autograd.grad((rows.mean(1) + rows.var(1, correction=0)).sum(), entered)[0]
    )


@both
def test_groups_in_one_forward_equal_separate_runs(backend: Backend) -> None:
    network = teacher().double()
    images = torch.rand(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def gradient(batch: Tensor, groups: int) -> Tensor:
        batch = batch.clone().requires_grad_()
        with Taps(network, groups=groups, backend=backend) as taps:
            network(batch)
            loss = sum((mean.norm(dim=1) + var.norm(dim=1)).sum() for mean, var in taps.moments())
        return torch.autograd.grad(loss, batch)[0]

    separate = torch.cat([gradient(half, 1) for half in images.chunk(2)])
    torch.testing.assert_close(gradient(images, 2), separate, atol=1e-12, rtol=1e-9)


def test_asking_for_other_groups_reads_again() -> None:
    network = teacher()
    images = torch.rand(4, 3, 32, 32)
    with Taps(network, groups=2) as direct, Taps(network) as later:
        network(images)
        for one, two in zip(direct.moments(), later.moments(groups=2), strict=True):
            torch.testing.assert_close(one, two)
        assert [mean.shape[0] for mean, _ in later.moments()] == [1] * 4


def test_an_input_changed_in_place_is_not_read_again() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: Tensor) -> Tensor:
            normalised: Tensor = self.norm(images)
            images.mul_(2)
            return normalised

    network, images = InPlace().eval(), torch.rand(4, 3, 2, 2)
    expected = moments(images)
    with Taps(network) as taps:
        network(images)
        torch.testing.assert_close(taps.moments()[0], expected)
        with pytest.raises(RuntimeError, match="changed in place"):
            taps.moments(groups=2)


def test_every_forward_starts_anew() -> None:
    network = teacher()
    one, two = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    with Taps(network) as taps:
        network(one)
        network(two)
        second = taps.moments()
        network.features(one)
        network.features(two)
        for first_way, second_way in zip(second, taps.moments(), strict=True):
            torch.testing.assert_close(first_way, second_way)


def test_inference_mode() -> None:
    network = teacher()
    with torch.inference_mode(), Taps(network) as taps:
        network(torch.rand(4, 3, 32, 32))
        assert [mean.shape for mean, _ in taps.moments(groups=2)] == [(2, 16), (2, 32), (2, 64), (2, 64)]


def test_order_is_that_of_registration() -> None:
    network = teacher("WRN-16-2")
    with Taps(network) as taps:
        network(torch.rand(2, 3, 32, 32))
        widths = [mean.shape[1] for mean, _ in taps.moments()]
    assert widths == [layer.num_features for _, layer in batch_norms(network)]


class Twice(nn.Module):
    """One layer on two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.norm(self.norm(images))
        return out


def test_a_layer_used_twice_is_refused_and_hooks_go() -> None:
    network = Network(Twice(), 3, nn.Identity()).eval()
    for call in (network, network.features):
        with pytest.raises(NoBatchNormError, match=r"featurizer\.norm.*twice"), Taps(network):
            call(torch.rand(2, 3, 4, 4))
    assert not hooked(network)
    network(torch.rand(2, 3, 4, 4))


def hooked(network: nn.Module) -> bool:
    return any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())


def test_hooks_are_removed() -> None:
    network = teacher()
    with Taps(network):
        assert hooked(network)
    assert not hooked(network)
    with pytest.raises(KeyError), Taps(network):
        raise KeyError
    assert not hooked(network)


def test_a_failed_forward_leaves_the_taps_usable() -> None:
    network = teacher()
    with Taps(network) as taps:
        with pytest.raises(RuntimeError):
            network(torch.rand(2, 5, 32, 32))
        network.features(torch.rand(2, 3, 32, 32))
        assert len(taps.moments()) == 4


def test_misuse() -> None:
    network = teacher()
    with Taps(network) as taps, pytest.raises(RuntimeError, match="call network"):
        taps.moments()
    with Taps(network, groups=3), pytest.raises(ConfigError, match=r"4 images.*3 equal groups"):
        network(torch.rand(4, 3, 32, 32))
    with pytest.raises(ConfigError, match="var_mean, matmul"):
        Taps(network, backend="einsum")  # type: ignore[arg-type]
    with pytest.raises(NoBatchNormError), Taps(build(NetworkSpec("MNIST_CNN", 4), 0)):
        pass
    with pytest.raises(ConfigError, match="undefined"):
        moments(torch.rand(1, 3), unbiased=True)


@pytest.mark.parametrize("unbiased", [False, True])
def test_pooled_moments_of_chunks_are_those_of_one_pass(unbiased: bool) -> None:
    network = teacher().double()
    images = torch.rand(10, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    before = buffers_digest(network)
    chunked = pooled_moments(network, images.split([3, 4, 3]), unbiased)
    assert buffers_digest(network) == before
    assert not hooked(network)
    with Taps(network, unbiased=unbiased) as taps:
        network(images)
        for (mean, var), (all_mean, all_var) in zip(chunked, taps.moments(), strict=True):
            assert mean.dtype == torch.float64
            torch.testing.assert_close(mean, all_mean[0], atol=1e-13, rtol=1e-12)
            torch.testing.assert_close(var, all_var[0], atol=1e-13, rtol=1e-12)


def test_train_mode_targets_differ_after_the_first_layer() -> None:
    network = teacher()
    images = torch.rand(10, 3, 32, 32)
    pooled = pooled_moments(network, [images])
    with Taps(network.train()) as taps:
        network(images)
        gaps = [
            float((mean - live[0]).abs().max()) for (mean, _), (live, _) in zip(pooled, taps.moments(), strict=True)
        ]
    assert gaps[0] < 1e-5
    assert min(gaps[1:]) > 1e-3


def test_pooled_moments_refuse_train_mode_and_nothing() -> None:
    network = teacher()
    with pytest.raises(ConfigError, match="at least one batch"):
        pooled_moments(network, [])
    batch_norms(network)[2][1].train()
    with pytest.raises(RuntimeError, match="eval mode"):
        pooled_moments(network, [torch.rand(2, 3, 32, 32)])
    with pytest.raises(RuntimeError, match="eval mode"):
        pooled_moments(network.train(), [torch.rand(2, 3, 32, 32)])


def test_a_compiled_network_is_read_too() -> None:
    network = build(NetworkSpec("smallcnn", 10, image_size=32), 0).eval()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with Taps(network) as taps:
        network(images)
        plain = taps.moments()
    network.compile(backend="eager")
    network(images)
    with Taps(network) as taps:
        network(images)
        compiled = taps.moments()
    assert all(
        torch.equal(one, two) for pair in zip(plain, compiled, strict=True) for one, two in zip(*pair, strict=True)
    )
    assert network._compiled_call_impl is not None, "outside the context it is compiled again"
