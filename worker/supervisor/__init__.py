"""Several worker processes under one parent, which replaces those that end."""

from __future__ import annotations
