"""System checks of the settings this package reads."""

from __future__ import annotations
