"""A context in which hooks watch a network's layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from typing_extensions import Self


class Hooked(ABC):
    """Context manager whose hooks are on ``network`` inside, and gone afterwards, after an exception as well."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._handles: list[RemovableHandle] = []
        self._compiled: Any = None

    @abstractmethod
    def _hooks(self) -> Iterator[RemovableHandle]:
        """Register them."""

    @abstractmethod
    def _forget(self) -> None:
        """Let go of what was seen."""

    def __enter__(self) -> Self:
        # A compiled network does not run hooks of its layers; inside the context it is run as written.
        self._compiled = getattr(self.network, "_compiled_call_impl", None)
        self.network._compiled_call_impl = None
        self._handles.extend(self._hooks())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self.network._compiled_call_impl = self._compiled
        self._handles = []
        self._forget()
