"""The URLs of the page, to include in those of a project."""

from __future__ import annotations

from django.urls import path

from channels_classic.dashboard import views

app_name = "channels_dashboard"

urlpatterns = [
    path("", views.page, name="page"),
    path("status.json", views.status, name="status"),
]
