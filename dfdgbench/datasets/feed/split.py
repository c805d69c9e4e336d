"""A split: some images of a domain, in an order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from dfdgbench.datasets.domains import Domain, Keys, Labels

_FINGERPRINTS: WeakKeyDictionary[Domain, str] = WeakKeyDictionary()


def fingerprint_of(domain: Domain) -> str:
    """The domain's fingerprint, computed once while it is open."""
    if domain not in _FINGERPRINTS:
        _FINGERPRINTS[domain] = domain.fingerprint()
    return _FINGERPRINTS[domain]


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a domain, in an order.

    Attributes:
        keys: int64 [N], indices into ``domain``.
    """

    domain: Domain
    keys: Keys

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def labels(self) -> Labels:
        """int64 [N], the class of each image."""
        return self.domain.labels[self.keys]

    def fingerprint(self) -> str:
        """SHA-256 of the domain's fingerprint and of the keys in their order."""
        digest = hashlib.sha256(fingerprint_of(self.domain).encode())
        digest.update(np.ascontiguousarray(self.keys, dtype="<i8").tobytes())
        return digest.hexdigest()
