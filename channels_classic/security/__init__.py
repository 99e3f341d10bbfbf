"""Guards around consumers."""

from __future__ import annotations
