"""The old name of `channels_classic.test`, as 1.x projects import it. Channels 1.x had deprecated it already."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from channels_classic import test
from channels_classic.test import __all__ as __all__

if TYPE_CHECKING:
    from channels_classic.test import *  # noqa: F403 the same names

warnings.warn("channels_classic.tests is the old name of channels_classic.test.", DeprecationWarning, stacklevel=2)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(test, name)
    return value
