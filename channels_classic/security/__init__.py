"""Protection of consumers from requests that a visitor did not mean to make."""

from __future__ import annotations
