"""No views: the project has consumers only."""

from __future__ import annotations

urlpatterns: list[object] = []
