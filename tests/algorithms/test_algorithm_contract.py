"""The contract over the registry: whatever is registered is tested."""

from __future__ import annotations

import gc

import pytest

from dfdgbench.algorithms.base import ALGORITHMS, Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.contract import Contract, ContractError, checks_of
from dfdgbench.errors import ConfigError, UnknownNameError
from dfdgbench.settings import DATA_FREE, DOMAIN_GENERALISATION


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_every_algorithm_keeps_the_contract(name):
    for _, check in checks_of(name):
        check()


def test_what_the_checks_write_goes_with_them():
    checks = checks_of("ERM")
    folder = checks[0][1].__self__.folder
    assert folder.is_dir()
    del checks
    gc.collect()
    assert not folder.exists()


def test_a_method_whose_state_is_hidden_from_snapshots_breaks_the_contract(tmp_path):
    class Forgetful(ERM):
        """Scale the loss by a counter that snapshots cannot see."""

        name, setting, paper = "Forgetful", DOMAIN_GENERALISATION, Paper("none")

        def update(self, minibatches, unlabeled=None):
            self._hidden = [getattr(self, "_hidden", [0])[0] + 1]
            metrics = super().update(minibatches)
            return {"loss": metrics["loss"] * self._hidden[0]}

    contract = Contract("Forgetful", tmp_path)
    contract.__dict__["algorithm"] = Forgetful
    ALGORITHMS._found["Forgetful"] = Forgetful
    try:
        with pytest.raises(ContractError, match="differ"):
            contract.resume()
    finally:
        del ALGORITHMS._found["Forgetful"]


def test_a_method_that_reads_more_than_its_setting_grants_cannot_be_planned(tmp_path):
    from dfdgbench.errors import AccessError

    class Greedy(ERM):
        """ERM that calls itself data-free."""

        name, setting, paper = "Greedy", DATA_FREE, Paper("none")

    ALGORITHMS._found["Greedy"] = Greedy
    try:
        with pytest.raises(
            AccessError, match="user stage 'train 1 -> 2' reads labelled images of the source domain '1'"
        ):
            Contract("Greedy", tmp_path).access()
    finally:
        del ALGORITHMS._found["Greedy"]


def test_an_algorithm_without_a_docstring_is_refused():
    with pytest.raises(ConfigError, match="no docstring"):

        @register("Silent", setting=DOMAIN_GENERALISATION, paper=Paper("none"))
        class Silent(ERM):
            pass

    with pytest.raises(UnknownNameError):
        ALGORITHMS.get("Silent")
