"""A model with the kinds of fields that bindings have to get right."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models


class Tag(models.Model):
    """What an item may be marked with."""

    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Tag]]


class Item(models.Model):
    """A thing on a shelf."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=20)
    shelf = models.CharField(max_length=20, default="top")
    added = models.DateField(null=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    tags = models.ManyToManyField(Tag)
    objects: ClassVar[models.Manager[Item]]

    @property
    def title(self) -> str:
        return self.name.title()

    def label(self) -> str:
        return f"{self.name} ({self.shelf})"
