"""Several processes of one program under a parent, which replaces those that end and, on SIGHUP, each in turn."""

from __future__ import annotations
