"""Migrations of the delay app."""

from __future__ import annotations
