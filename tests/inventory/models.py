"""A model with the kinds of fields that bindings have to get right."""

from __future__ import annotations

import uuid
from datetime import date
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Tag(models.Model):
    """What an item may be marked with."""

    id: models.AutoField[int, int] = models.AutoField(primary_key=True)
    name: models.CharField[str, str] = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Tag]]


class Item(models.Model):
    """A thing on a shelf."""

    id: models.UUIDField[uuid.UUID, uuid.UUID] = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name: models.CharField[str, str] = models.CharField(max_length=20)
    shelf: models.CharField[str, str] = models.CharField(max_length=20, default="top")
    added: models.DateField[date | None, date | None] = models.DateField(null=True)
    owner: models.ForeignKey[User | None, User | None] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True
    )
    tags = models.ManyToManyField(Tag)
    objects: ClassVar[models.Manager[Item]]

    @property
    def title(self) -> str:
        return self.name.title()

    def label(self) -> str:
        return f"{self.name} ({self.shelf})"
