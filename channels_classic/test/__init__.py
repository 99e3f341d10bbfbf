"""What projects and authors of channel layers test with. Nothing is imported before it is asked for."""

from __future__ import annotations
