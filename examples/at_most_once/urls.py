"""No views: only consumers work here."""

from __future__ import annotations

urlpatterns: list[object] = []
