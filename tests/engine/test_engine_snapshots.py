"""Snapshots hold everything that a loop changes, and are read without running anybody's code."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfdgbench.engine import snapshots
from dfdgbench.engine.snapshots import State, pack, unpack
from dfdgbench.errors import ArtifactError
from dfdgbench.seeds import untouched_randomness


def _state(seed: int) -> State:
    torch.manual_seed(seed)
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    return State(
        layer=layer,
        optimizer=optimizer,
        both=[torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9), torch.Generator().manual_seed(seed)],
        schedule=torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
        generator=torch.Generator().manual_seed(seed),
        tensor=torch.rand(4),
        growing=torch.rand(seed + 1),
        number=seed,
        fraction=seed / 3,
        nothing=None,
        text=f"text {seed}",
        numbers=list(range(seed)),
        weights={"a": torch.rand(2)} if seed else {},
        _rebuilt=object(),
    )


def _advance(state: State) -> list[Any]:
    """A step that shows all of a state."""
    noise = torch.rand(4, 3, generator=state.generator) + torch.rand(1, generator=state.both[1])
    for optimizer in (state.optimizer, state.both[0]):
        state.layer(noise).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    state.schedule.step()
    shown = [value.tolist() for value in state.layer.state_dict().values()]
    kept = {name: value.tolist() for name, value in state.weights.items()}
    return [*shown, state.tensor.tolist(), state.growing.tolist(), state.number, state.fraction, state.nothing, state.text,
            state.numbers, kept, state.schedule.get_last_lr()]  # fmt: skip


def test_a_state_comes_back_from_disk_and_goes_on_alike(tmp_path: Path) -> None:
    with untouched_randomness():
        original, other = _state(3), _state(0)
        _advance(original)
        snapshots.save(tmp_path / "snapshot", {"state": pack(original)})
        content = snapshots.load(tmp_path / "snapshot")
        assert content is not None
        layer, rebuilt = other.layer, other._rebuilt
        restored = unpack(other, content["state"])
        assert [_advance(restored) for _ in range(3)] == [_advance(original) for _ in range(3)]
        assert restored.layer is layer, "objects are filled in place: others hold them too"
        assert restored._rebuilt is rebuilt, "what begins with an underscore is not saved"


def test_tensors_are_filled_in_place_and_keep_their_gradients_wish() -> None:
    parameter = torch.zeros(3, requires_grad=True)
    assert unpack(parameter, torch.ones(3)) is parameter
    assert parameter.tolist() == [1, 1, 1]
    assert unpack(parameter, torch.ones(4)).requires_grad


def test_global_generators_go_on_where_they_were(tmp_path: Path) -> None:
    def draws() -> list[float]:
        return [
            random.random(),
            random.gauss(),
            float(np.random.rand()),
            float(np.random.randn()),
            float(torch.rand(())),
        ]

    with untouched_randomness():
        draws()
        snapshots.save(tmp_path / "snapshot", {"generators": snapshots.global_generators()})
        expected = draws()
        content = snapshots.load(tmp_path / "snapshot")
        assert content is not None
        snapshots.set_global_generators(content["generators"])
        assert draws() == expected


def test_no_snapshot_is_none(tmp_path: Path) -> None:
    assert snapshots.load(tmp_path / "snapshot") is None


@pytest.mark.parametrize("where", ["magic", "digest", "body", "cut", "empty"])
def test_damage_is_told(tmp_path: Path, where: str) -> None:
    path = tmp_path / "snapshot"
    snapshots.save(path, {"step": 1})
    raw = bytearray(path.read_bytes())
    place = {"magic": 3, "digest": 30, "body": len(raw) - 20}.get(where)
    if place is not None:
        raw[place] ^= 1
    path.write_bytes({"cut": raw[:-1], "empty": b""}.get(where, raw))
    with pytest.raises(ArtifactError, match=f"snapshot {path} is damaged"):
        snapshots.load(path)


class _Trap:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def test_a_snapshot_that_carries_code_is_refused(tmp_path: Path) -> None:
    snapshots.save(tmp_path / "snapshot", {"trap": _Trap()})
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        snapshots.load(tmp_path / "snapshot")


def test_a_state_names_what_it_has() -> None:
    state = State(a=1)
    state.b = 2
    with pytest.raises(AttributeError, match="no 'c'; it has a, b"):
        _ = state.c
    assert not hasattr(copy.copy(state), "missing")
