"""A parent for several processes of one program: it replaces processes that end and, on SIGHUP, all in turn."""

from __future__ import annotations
