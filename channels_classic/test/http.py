"""The old name of `WSClient`, as 1.x projects import it. Channels 1.x had deprecated it already."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from channels_classic.test.websocket import WSClient

if TYPE_CHECKING:
    HttpClient = WSClient

__all__ = ["HttpClient"]


def __getattr__(name: str) -> object:
    if name != "HttpClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("HttpClient is the old name of channels_classic.test.WSClient.", DeprecationWarning, stacklevel=2)
    return WSClient
