"""The embedded channel layer: the processes of one machine share a store that one of them hosts."""

from __future__ import annotations

from channels_classic.layers.local.layer import LocalChannelLayer

__all__ = ["LocalChannelLayer"]
